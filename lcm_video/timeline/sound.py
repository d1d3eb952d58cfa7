"""A sound as the source of a curve: what of it is heard, and which numbers it becomes."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.types import STRICT

BANDS: dict[str, tuple[float, float]] = {
    "all": (20, 20_000),
    "low": (20, 250),
    "mid": (250, 4000),
    "high": (4000, 20_000),
}
"""Hertz from and to."""

Hertz: TypeAlias = Annotated[float, Field(ge=0, le=24_000)]

Band: TypeAlias = Annotated[
    Annotated[Literal["all", "low", "mid", "high"], Tag("<name>")] | Annotated[tuple[Hertz, Hertz], Tag("<hertz>")],
    Discriminator(lambda value: "<name>" if isinstance(value, str) else "<hertz>"),
]

Seconds: TypeAlias = Annotated[
    float,
    Field(ge=0, le=36_000),
    BeforeValidator(
        lambda value: value.removesuffix("s") if isinstance(value, str) else value, json_schema_input_type=float | str
    ),
]
"""Seconds, written ``0.2`` or ``0.2s``."""

Number: TypeAlias = Annotated[float, Field(ge=-1e9, le=1e9)]


@dataclass(frozen=True, config=STRICT)
class Heard:
    """A curve that follows a sound. Its loudest moment is 1, silence 0, and ``range`` says what they become.

    audio: a sound or video file
    band: which frequencies: low (20 to 250 Hz), mid (250 to 4000), high (4000 to 20000), all, or [from, to] in hertz
    kind: loudness, or onsets: how suddenly it gets louder, as on every beat
    range: the values of silence and of the loudest moment; the first may be the higher one
    smooth: seconds over which values are averaged, before and after each moment alike
    attack: seconds that a rise takes; 0 follows at once
    release: seconds that a fall takes; 0 follows at once
    start: seconds of the source that are skipped, as in output.audio
    loop: whether a source shorter than the film starts again, as in output.audio
    """

    audio: Annotated[str, Field(min_length=1)]
    band: Band = "all"
    kind: Literal["loudness", "onsets"] = "loudness"
    range: tuple[Number, Number] = (0.0, 1.0)
    smooth: Seconds = 0.0
    attack: Seconds = 0.0
    release: Seconds = 0.0
    start: Seconds = 0.0
    loop: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.band, tuple) and not self.band[0] < self.band[1]:
            low, high = self.band
            message = f"the band from {low:g} to {high:g} Hz holds nothing"
            raise StoryboardError(message, remedy="write the lower frequency first: [20, 200]", field="band")

    @property
    def hertz(self) -> tuple[float, float]:
        """The band's lowest and highest frequency."""
        return BANDS[self.band] if isinstance(self.band, str) else self.band

    def scaled(self, levels: Sequence[float]) -> tuple[float, ...]:
        """Levels from 0 to 1 within ``range``, its ends exactly."""
        low, high = self.range
        return tuple(high if level == 1 else low + (high - low) * level for level in levels)


Hear: TypeAlias = Callable[[Heard, Fraction, int, int], Sequence[float]]
"""(what to hear, frames per second, first frame in the film, frames) → a level from 0 to 1 for each frame."""
