"""Which encoder writes which ending.

An encoder makes a `Sink`: frames go in as they are decoded, a finished file comes out at the end, so that one pass over
the frames feeds any number of files and a film is never held in memory. To add a format, write a Sink, list it in
ENCODERS and describe it in `output.FORMATS`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from lcm_video.media.animated import ApngSink, WebpSink
from lcm_video.media.film import Film
from lcm_video.media.gif import GifSink
from lcm_video.media.stills import FramesSink
from lcm_video.media.video import VideoSink
from lcm_video.types import Frame


@runtime_checkable
class Sink(Protocol):
    """Takes frames one by one. ``trouble`` says what a finished file lacks; "" = nothing."""

    trouble: str

    def add(self, frame: Frame, /) -> None:
        """Takes the next frame."""

    def close(self) -> Path:
        """Completes the file and returns where it is: still hidden, beside where it will be."""
        ...

    def abandon(self) -> None:
        """Lets go of everything open; may be called at any time and twice."""


@runtime_checkable
class Stoppable(Protocol):
    """A sink whose ``close`` does more than complete what it has written, and which can leave that out."""

    def stop(self) -> Path:
        """Completes the hidden file so that it plays to its last frame, and returns where it is. May come twice."""
        ...


def stopped(sink: Sink) -> Path:
    """Where a film that ends early is, complete as far as it goes: as quickly as its sink can."""
    return sink.stop() if isinstance(sink, Stoppable) else sink.close()


ENCODERS: dict[str, Callable[[Path, Film], Sink]] = {
    "mp4": VideoSink,
    "mov": VideoSink,
    "mkv": VideoSink,
    "webm": VideoSink,
    "gif": GifSink,
    "webp": WebpSink,
    "apng": ApngSink,
    "png": FramesSink,
    "jpg": FramesSink,
}
"""File ending → (hidden path to write to, facts about the film) → sink."""
