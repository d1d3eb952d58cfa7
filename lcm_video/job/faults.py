"""What can go wrong while a film is drawn, beside what its parts find out: a lost GPU, frames without a picture."""

from collections.abc import Iterator
from contextlib import contextmanager

from lcm_video.errors import NumbersError, ResourceError
from lcm_video.job.watch import Watch
from lcm_video.types import Frame

GRID = 16
"""Most frames are told to have a picture in them by every so many-th pixel of theirs."""


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turns what torch raises about a device into a ResourceError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # By name and text: torch has no class for most of it, and older ones have not AcceleratorError.
        name, text = type(error).__name__, str(error)
        if name in ("OutOfMemoryError", "MemoryError"):
            settings = "a smaller windows.length, runtime.window_batch or runtime.decode_batch"
            message = f"memory ran out while {doing}"
            remedy = f"choose {settings}, smaller frames, or runtime.device=cpu"
            raise ResourceError(message, remedy=remedy) from error
        if name == "AcceleratorError" or "CUDA error" in text or "CUDNN_STATUS" in text:
            message = f"the device failed while {doing}: {text.splitlines()[0]}"
            remedy = "run the same command again: a new process goes on from what was kept"
            raise ResourceError(message, remedy=remedy) from error
        raise


def is_flat(frame: Frame) -> bool:
    """Whether a frame is of one colour all over: black, most often, and then no picture."""
    if (frame[::GRID, ::GRID] != frame[0, 0]).any():
        return False
    return bool((frame == frame[0, 0]).all())


class Flat:
    """Looks for frames of one colour in a shot. With ``strict`` the first raises NumbersError, else they are told."""

    def __init__(self, label: str, *, strict: bool) -> None:
        self.label, self.strict = label, strict
        self.seen, self.flat = 0, []

    def look(self, frame: Frame) -> None:
        """Looks at the shot's next frame."""
        if is_flat(frame):
            self.flat.append((self.seen, "black" if not frame.any() else "of one colour"))
            if self.strict:
                raise NumbersError(self._told(), remedy="look at it with --preview, or render without --strict")
        self.seen += 1

    def tell(self, watch: Watch) -> None:
        """Notes the frames found, if any."""
        if self.flat:
            watch.note(self._told())

    def _told(self) -> str:
        first, how = self.flat[0]
        count = f"{len(self.flat)} of {self.seen} frames are" if len(self.flat) > 1 else f"frame {first} is"
        return f"{self.label}{count} {how}" + (f", the first is {first}" if len(self.flat) > 1 else "")
