"""Video files: H.264, H.265, AV1, VP9 and ProRes in MP4, MOV, Matroska and WebM, all by PyAV.

Two passes. While frames arrive, a hidden partial grows that can be played at any moment, even after the process is
killed. At the end its packets are copied, together with sound and tags, into the finished file (`muxing.py`).
To add a codec, describe it in CODECS and name it in `output.FORMATS`.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.error import FFmpegError

from lcm_video.media.colour import tag, to_video
from lcm_video.media.film import Film, finished
from lcm_video.media.muxing import MUXERS, mux
from lcm_video.types import Frame

THREADS = "4"
"""Fixed, because x264's result depends on the number of threads."""


@dataclass(frozen=True)
class Codec:
    """encoder: FFmpeg's name; pixels: format by chroma; options: from (quality, film)."""

    encoder: str
    pixels: dict[str, str]
    options: Callable[[Film], dict[str, str]]

    def multiple(self, chroma: str) -> tuple[int, int]:
        """What width and height must be multiples of: half the colour samples in one or both directions."""
        name = self.pixels[chroma]
        return (2, 2) if "420" in name else (2, 1) if "422" in name else (1, 1)


def _h264(film: Film) -> dict[str, str]:
    # Where rows are not whole groups of 8 macroblocks, x264's macroblock tree (AVX-512 code) reads memory that was
    # never written: the same film gets other bytes from run to run. Without it a film is 5 % larger, 0.8 dB worse.
    tree = film.width % 128 == 0
    return {"crf": f"{film.output.quality}", "threads": THREADS, "x264-params": f"mbtree={tree:d}"}


def _h265(film: Film) -> dict[str, str]:
    # open-gop=0: players can start at every key frame. info=0: no build details in the stream.
    # x265 4.1 leaves the time stamps of films shorter than its reordering undefined: no B frames for those.
    short = "" if film.expected and film.expected > 4 else ":bframes=0"
    tree = film.width >= 128  # as for H.264: below, the same film would get other bytes
    params = f"log-level=none:info=0:open-gop=0:frame-threads=1:pools={THREADS}:cutree={tree:d}{short}"
    return {"crf": f"{film.output.quality}", "x265-params": params}


def _av1(film: Film) -> dict[str, str]:
    os.environ.setdefault("SVT_LOG", "0")  # fatal errors only; the library knows no other way to keep it quiet
    return {"crf": f"{max(1, _of_63(film))}", "preset": "6", "svtav1-params": "lp=2"}


def _vp9(film: Film) -> dict[str, str]:
    # b=0: constant quality rather than a bit rate.
    return {"crf": f"{_of_63(film)}", "b": "0", "deadline": "good", "cpu-used": "2", "threads": THREADS}


def _prores(film: Film) -> dict[str, str]:
    quality = film.output.quality
    profile = "hq" if quality <= 20 else "standard" if quality <= 30 else "lt"
    return {"profile": "4444" if film.output.chroma == "444" else profile, "vendor": "apl0", "threads": THREADS}


def _of_63(film: Film) -> int:
    return round(film.output.quality * 63 / 51)


CODECS: dict[str, Codec] = {
    "h264": Codec("libx264", {"420": "yuv420p", "444": "yuv444p10le"}, _h264),
    "h265": Codec("libx265", {"420": "yuv420p", "444": "yuv444p10le"}, _h265),
    # 10 bits cost AV1 nothing and every AV1 player knows them: no bands in skies.
    "av1": Codec("libsvtav1", {"420": "yuv420p10le"}, _av1),
    "vp9": Codec("libvpx-vp9", {"420": "yuv420p", "444": "yuv444p"}, _vp9),
    "prores": Codec("prores_ks", {"420": "yuv422p10le", "444": "yuv444p10le"}, _prores),
}

_QUICKTIME = {"movflags": "+hybrid_fragmented+frag_every_frame"}
_MATROSKA = {"cluster_time_limit": "1"}
PLAYABLE = {"mp4": _QUICKTIME, "mov": _QUICKTIME, "mkv": _MATROSKA, "webm": _MATROSKA}
"""What makes a growing film playable to the last frame that its encoder has let go: each is written for itself.

After `kill -9` only the encoder's look-ahead is missing, measured at 24 frames a second: 41 frames of H.264 (fewer at
lower rates: two seconds and two frames), 28 of H.265, 83 of AV1, 24 of VP9, 1 of ProRes. The finished file has none of
this.
"""


def configure(context: av.VideoCodecContext, film: Film, name: str) -> None:
    """Sets an encoder up for the film: size, pixel format, colour tags, a key frame every two seconds, quality."""
    codec = CODECS[name]
    context.width, context.height = film.width, film.height
    context.pix_fmt = codec.pixels[film.output.chroma]
    context.framerate, context.time_base = film.fps, 1 / film.fps
    context.gop_size = max(1, round(2 * film.fps))
    context.options = codec.options(film)
    tag(context)


class VideoSink:
    """Frames to a video file."""

    def __init__(self, path: Path, film: Film) -> None:
        self.path, self.film, self.trouble = path, film, ""
        self.ending = path.suffix.removeprefix(".")
        self.name = film.output.codec_of(self.ending)
        self.count, self.ended = 0, False
        options = {"fflags": "+bitexact", "flush_packets": "1", **PLAYABLE[self.ending]}
        self.container = av.open(str(path), "w", format=MUXERS[self.ending], container_options=options)
        stream = self.container.add_stream(CODECS[self.name].encoder, rate=film.fps)
        assert isinstance(stream, av.VideoStream)
        self.stream = stream
        configure(self.stream.codec_context, film, self.name)

    def add(self, frame: Frame) -> None:
        """Encodes the next frame."""
        pixels = CODECS[self.name].pixels[self.film.output.chroma]
        video = to_video(frame, pixels, number=self.count, fps=self.film.fps)
        self.container.mux(self.stream.encode(video))
        self.count += 1

    def stop(self) -> Path:
        """Completes the partial: it plays to its last frame."""
        if not self.ended:
            self.ended = True
            self.container.mux(self.stream.encode(None))
            self.container.close()
        return self.path

    def close(self) -> Path:
        """Completes the partial, then copies it with sound and tags into a file that starts playing at once."""
        self.stop()
        path = finished(self.path)
        self.trouble = mux(self.path, path, self.film, frames=self.count)
        self.path.unlink()
        return path

    def abandon(self) -> None:
        """Closes what is open; the partial stays for the caller to remove."""
        with suppress(FFmpegError, OSError):  # a full disk, which is why it is abandoned
            self.container.close()
