"""How a storyboard may say that long shots are cut. No tensors."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.types import STRICT


@dataclass(frozen=True, config=STRICT)
class Windows:
    """How a film is cut into windows, in frames.

    length: frames the motion module sees at once, 1 to 1024; left out, as many as its card in motion_modules/ says
    overlap: frames shared by neighbours, less than length, blended so that no seam shows; left out, a quarter of it
    stride: how many time scales there are, 1 to 8: 1 sees neighbouring frames, 2 also every second frame, 3 also every
        fourth …; each costs about half as much as the one before, and applies only where the film is long enough
    schedule: uniform windows drift from step to step; static ones stay, as many as needed and no more
    blend: how much a window counts where several overlap: most at its centre (pyramid), everywhere the same (flat), or
        fading in and out over the overlap (overlap_linear)
    early: for how many of the first steps neighbours share nothing, which saves a quarter of those steps' work at the
        usual overlap: approximate, for what these steps draw is blended by the later ones only
    noise: whether every frame begins with noise of its own (own), or frames beyond the first window with that of the
        frames of the first window again, in the same order (repeat) or in another in every stretch between two windows
        (shuffle): so a long film stays with what it shows (FreeNoise, arXiv:2310.15169)
    """

    length: Annotated[int, Field(ge=1, le=1024)] | None = None
    overlap: Annotated[int, Field(ge=0, le=1023)] | None = None
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    schedule: Literal["uniform", "static"] = "uniform"
    blend: Literal["pyramid", "flat", "overlap_linear"] = "pyramid"
    early: Annotated[int, Field(ge=0, le=1000)] = 0
    noise: Literal["own", "repeat", "shuffle"] = "own"

    def __post_init__(self) -> None:
        if self.length is not None:
            self._check(self.length, field="overlap")

    def settled(self, window: int | None = None) -> "Settled":
        """With nothing left open, for a motion module that draws ``window`` frames best (`USUAL`, if not known).

        Raises StoryboardError for an overlap that such a window has no room for.
        """
        length = self.length or window or USUAL
        self._check(length, field="windows.overlap")
        overlap = length // 4 if self.overlap is None else self.overlap
        return Settled(length, overlap, self.stride, self.schedule, self.early)

    def _check(self, length: int, *, field: str) -> None:
        if self.overlap is not None and self.overlap >= length:
            message = f"{self.overlap} is not below the window length, {length}"
            raise StoryboardError(message, remedy=f"a quarter of the length is usual: {length // 4}", field=field)


USUAL = 16
"""Frames that most motion modules were trained on."""


class Settled(NamedTuple):
    """`Windows` with every number known."""

    length: int
    overlap: int
    stride: int = 1
    schedule: str = "uniform"
    early: int = 0

    def at(self, step: int) -> "Settled":
        """What holds at a step."""
        return self._replace(overlap=0) if step < self.early else self
