"""Copies finished video packets into the final container, with sound and tags."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet

from lcm_video.media.audio import RATE, Track
from lcm_video.media.embedded_text import KEY, fitting
from lcm_video.media.film import Film
from lcm_video.media.output import FORMATS

MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska", "webm": "webm"}

# The index first, so that a browser plays while it loads; our own key, which would otherwise be dropped silently;
# lengths to the sound's sample instead of the millisecond.
QUICKTIME = {"movflags": "+faststart+use_metadata_tags", "movie_timescale": f"{RATE}"}
OPTIONS = {"mp4": QUICKTIME, "mov": QUICKTIME, "mkv": {}, "webm": {}}


def mux(source: Path, target: Path, film: Film, *, frames: int) -> str:
    """Writes ``target`` and returns what is missing in it: "" or a sentence about the sound.

    Nothing varies from run to run: no dates, no random identifiers, no versions.
    """
    ending = target.suffix.removeprefix(".")
    options = {"fflags": "+bitexact", **OPTIONS[ending]}
    track = None
    with (
        av.open(str(source)) as partial,
        av.open(str(target), "w", format=MUXERS[ending], container_options=options) as container,
    ):
        packets = partial.demux(video=0)
        stream = container.add_stream_from_template(partial.streams.video[0], opaque=True)
        stream.codec_context.framerate = film.fps  # VP9 and AV1 streams do not know theirs
        if stream.codec_context.name in ("hevc", "libx265") and ending in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # Apple plays no hev1
        if film.output.audio.source and FORMATS[ending].audio:
            track = Track(film.output.audio, container, codec=FORMATS[ending].audio, length=frames / film.fps)
        if film.about:
            container.metadata[KEY] = fitting(film.about, ending)
        _interleave(container, ((packet, stream) for packet in _from_zero(packets)), track)
    return track.trouble if track else ""


def _interleave(
    container: OutputContainer, video: Iterator[tuple[Packet, av.VideoStream]], track: Track | None
) -> None:
    """Muxes video and sound in the order of time, so that neither piles up in memory."""
    sound = track.packets() if track else iter(())
    ahead = next(sound, None)
    for packet, stream in video:
        time = _seconds(packet)
        while ahead is not None and _seconds(ahead) <= time:
            container.mux(ahead)
            ahead = next(sound, None)
        packet.stream = stream
        container.mux(packet)
    while ahead is not None:
        container.mux(ahead)
        ahead = next(sound, None)


def _from_zero(packets: Iterator[Packet]) -> Iterator[Packet]:
    """The pictures' packets, the first shown at 0: the growing partial starts late by the encoder's reordering."""
    start = None
    for packet in packets:
        if packet.size and packet.pts is not None:
            start = packet.pts if start is None else start
            packet.pts -= start
            packet.dts = packet.dts - start if packet.dts is not None else None
            yield packet


def _seconds(packet: Packet) -> Fraction:
    time = packet.dts if packet.dts is not None else packet.pts
    return (time or 0) * packet.time_base
