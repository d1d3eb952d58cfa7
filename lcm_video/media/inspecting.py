"""What is in a media file, for `lcm-video info` and for the check of what was just written."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.reformatter import ColorRange

from lcm_video.media.colour import BT601_MATRICES, BT709
from lcm_video.media.delays import delays
from lcm_video.media.embedded_text import about
from lcm_video.media.opening import IMAGES, frames_in, open_media, open_regular, sniff
from lcm_video.media.reading import opened_image, video_stream

IDR = {"h264": (5,), "hevc": (19, 20)}
"""Network abstraction layer types of pictures that nothing after them looks past."""


@dataclass(frozen=True)
class MediaFacts:
    """Facts about one file.

    container, codec, pixels: as FFmpeg and Pillow name them; codec is "" for images
    frames: pictures, counted
    fps: frames a second; None for stills and uneven timing
    duration: seconds, exact; 0 for stills
    width, height: pixels as stored
    colour: matrix and range, for example "bt709 limited"
    closed_gop: whether every key frame starts afresh; None where that cannot be seen
    faststart: whether an MP4's or MOV's index comes first; None for other containers
    audio: codec, rate and length of the sound; "" = none
    has_about: whether it carries the storyboard it was made from
    """

    container: str
    codec: str
    pixels: str
    frames: int
    fps: Fraction | None
    duration: Fraction
    width: int
    height: int
    colour: str = ""
    closed_gop: bool | None = None
    faststart: bool | None = None
    audio: str = ""
    has_about: bool = False


def facts(path: str | Path) -> MediaFacts:
    """The facts about a film, image, sound or folder of frames. Raises InputError if it is none of these."""
    path = Path(path)
    if path.is_dir():
        files = frames_in(path)
        first = facts(files[0])
        return MediaFacts(
            container="folder", codec=first.container, pixels=first.pixels, frames=len(files), fps=None,
            duration=Fraction(0), width=first.width, height=first.height, has_about=first.has_about,
        )  # fmt: skip
    has_about = about(path) is not None
    with open_regular(path) as file:
        kind = sniff(file)
        if kind in IMAGES:
            return _image(file, kind, has_about)
        with open_media(file, kind) as container:
            return _video(container, file, kind, has_about)


def _image(file: BinaryIO, kind: str, has_about: bool) -> MediaFacts:
    duration = sum(delays(file, kind), Fraction(0))
    with opened_image(file, kind) as image:
        whole, one = image.properties(index=...), image.properties(index=0)
        frames = whole.n_images or 1
    height, width = one.shape[:2]
    return MediaFacts(
        container="apng" if kind == "png" and frames > 1 else kind, codec="", pixels=f"{one.dtype} {one.shape}",
        frames=frames, fps=frames / duration if duration else None, duration=duration, width=width, height=height,
        has_about=has_about,
    )  # fmt: skip


def _video(container: InputContainer, file: BinaryIO, kind: str, has_about: bool) -> MediaFacts:
    audio = _audio(container)
    if not container.streams.video:
        return MediaFacts(container.format.name, "", "", 0, None, Fraction(0), 0, 0, audio=audio, has_about=has_about)
    stream = video_stream(container, Path(file.name))
    context = stream.codec_context
    frames, closed = _count(container, stream)
    rate = _rate(stream, kind)
    return MediaFacts(
        container=container.format.name,
        codec=context.codec.canonical_name,
        pixels=context.pix_fmt or "",
        frames=frames,
        fps=rate,
        duration=frames / rate if rate else Fraction(0),
        width=stream.width,
        height=stream.height,
        colour=_colour(context),
        closed_gop=closed,
        faststart=_index_first(file) if kind == "mp4" else None,
        audio=audio,
        has_about=has_about,
    )


def _rate(stream: av.VideoStream, kind: str) -> Fraction | None:
    rate = stream.average_rate or stream.guessed_rate
    if rate and kind == "matroska":
        # Matroska stores whole nanoseconds: what is that near to a broadcast rate (n · 1000/1001) was meant as one.
        broadcast = Fraction(round(rate * 1001 / 1000) * 1000, 1001)
        return broadcast if abs(broadcast - rate) < rate / 10**7 else rate
    return rate


def _audio(container: InputContainer) -> str:
    if not container.streams.audio:
        return ""
    stream = container.streams.audio[0]
    length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
    return f"{stream.codec_context.name} {stream.rate} Hz" + (f" {float(length):.3f} s" if length else "")


def _count(container: InputContainer, stream: av.VideoStream) -> tuple[int, bool | None]:
    """Packets that hold a picture, and whether all key frames are closed (H.264, H.265; others know no open ones)."""
    frames, closed = 0, True
    kinds = IDR.get(stream.codec_context.name)
    for packet in container.demux(stream):
        if packet.size:
            frames += 1
            if packet.is_keyframe and kinds:
                closed = closed and bool({*kinds} & {*_unit_types(bytes(packet), stream.codec_context.name)})
    return frames, closed


def _unit_types(data: bytes, codec: str) -> list[int]:
    """Types of the length-prefixed units in an MP4 or Matroska packet."""
    types, start = [], 0
    while start + 5 <= len(data):
        types.append(data[start + 4] & 31 if codec == "h264" else data[start + 4] >> 1 & 63)
        start += 4 + int.from_bytes(data[start : start + 4], "big")
    return types


def _colour(context: av.VideoCodecContext) -> str:
    matrix = {BT709: "bt709", **dict.fromkeys(BT601_MATRICES, "bt601"), 9: "bt2020", 0: "rgb"}
    ranges = {ColorRange.MPEG: "limited", ColorRange.JPEG: "full"}
    return f"{matrix.get(context.colorspace, 'untagged')} {ranges.get(ColorRange(context.color_range), '')}".strip()


def _index_first(file: BinaryIO) -> bool:
    """Whether the moov atom comes before mdat."""
    file.seek(0)
    while len(head := file.read(16)) >= 8:
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        if name in (b"moov", b"mdat"):
            return name == b"moov"
        size = int.from_bytes(head[8:], "big") if size == 1 else size
        if size < 8:
            break
        file.seek(size - len(head), 1)
    return False
