"""Everything this package raises on purpose.

LcmVideoError            exit code
├── StoryboardError      3    the storyboard asks for something that does not exist
├── CheckpointError      4    a weight file is missing, damaged, or of another family
├── InputError           4    an image, video or audio file cannot be used
├── ResourceError        5    memory or disk do not suffice
└── EncodeError          6    frames could not be written, or what was written failed verification

Each error says where, what, and what to do about it: ``where: what`` and ``→ remedy`` on the next line.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class LcmVideoError(Exception):
    """Base class: ``message`` says what is wrong, ``remedy`` says what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


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


class EncodeError(LcmVideoError):
    """Raised while writing frames."""

    exit_code = 6


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown name: the closest known one, then all of them.

    >>> did_you_mean("eular", ["lcm", "euler"])
    "did you mean 'euler'? known: euler, lcm"
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}known: {', '.join(known)}"
