"""Everything this package raises on purpose.

LcmVideoError            exit code
├── StoryboardError      3    the storyboard asks for something that does not exist
├── CheckpointError      4    a weight file is missing, damaged, or of another family
├── InputError           4    an image, video or audio file cannot be used
├── ResourceError        5    memory or disk do not suffice
├── NumbersError         6    what was drawn is not a number: nothing that could be shown
├── EncodeError          6    frames could not be written, or what was written failed verification
├── LockedError          7    somebody else is writing the same file
└── Interrupted        130    stopped on request (143: by SIGTERM); the next run goes on from there

Each error says where, what, and what to do about it: ``where: what`` and ``→ remedy`` on the next line.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class LcmVideoError(Exception):
    """Base class: ``message`` says what is wrong, ``remedy`` says what to do; notes that were added come last."""

    exit_code: int = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        notes = getattr(self, "__notes__", [])
        return "\n".join([self.message, *([f"  → {self.remedy}"] if self.remedy else []), *(f"  {n}" for n in notes)])


class StoryboardError(LcmVideoError, ValueError):
    """Raised for a storyboard's values.

    A ValueError too, so that pydantic collects it beside all others when a dataclass is checked; ``field`` names
    the wrong field within that dataclass, so that the reader can add its line.
    """

    exit_code = 3

    def __init__(self, message: str, *, remedy: str = "", field: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


class CheckpointError(LcmVideoError):
    """Raised while finding or loading weights."""

    exit_code = 4


class InputError(LcmVideoError):
    """Raised while reading an image, video or audio file."""

    exit_code = 4


class ResourceError(LcmVideoError):
    """Raised when memory or disk run out."""

    exit_code = 5


class NumbersError(LcmVideoError):
    """Raised when latents or pixels are infinite or not a number: there is no picture in them."""

    exit_code = 6


class EncodeError(LcmVideoError):
    """Raised while writing frames."""

    exit_code = 6


class LockedError(LcmVideoError):
    """Raised when another process is writing the same file."""

    exit_code = 7


class Interrupted(LcmVideoError):
    """Raised to stop a render on request, between two pieces of work that are kept.

    exit_code: 130 after Ctrl-C (128 + SIGINT), 143 after SIGTERM, as shells have it
    """

    def __init__(
        self, message: str = "stopped", *, remedy: str = "run the same command again: it goes on from here",
        exit_code: int = 130,
    ) -> None:  # fmt: skip
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the closest known one, then all of them.

    >>> did_you_mean("eular", ["lcm", "euler"])
    "did you mean 'euler'? known: euler, lcm"
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(known)}"
