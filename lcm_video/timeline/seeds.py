"""Seeds that change over time: each moment begins with noise of its own, and noise may travel from one to the next."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.timeline.curves import short
from lcm_video.timeline.easings import TravelEasing
from lcm_video.timeline.film import ALONE, Film
from lcm_video.timeline.moments import Moment
from lcm_video.timeline.prompts import Blend
from lcm_video.timeline.tracks import Track
from lcm_video.types import STRICT

Seed: TypeAlias = Annotated[int, Field(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, config=STRICT)
class SeedPoint:
    """A seed at a moment.

    value: the seed, 0 to 2^63-1
    ease: hold keeps this seed's noise until the next moment; any other easing lets the noise travel there, turning
        from one to the other at full strength
    """

    value: Seed
    ease: TravelEasing = "hold"


def _begun(seeds: dict[str, SeedPoint]) -> dict[str, SeedPoint]:
    if not seeds:
        raise StoryboardError("seeds need at least one moment", remedy="write a number, or {0: 1, 2s: 7}")
    return seeds


Seeds: TypeAlias = Annotated[
    Annotated[Seed, Tag("<seed>")]
    | Annotated[
        dict[Moment, Annotated[SeedPoint, short("value", int | SeedPoint)]], AfterValidator(_begun), Tag("<seeds>")
    ],
    Discriminator(lambda value: "<seeds>" if isinstance(value, Mapping) else "<seed>"),
]
"""A seed, or seeds at moments: ``42`` or ``{"0": 42, "2s": {"value": 7, "ease": "smooth"}}``."""


def seeds(
    curve: Seeds, *, fps: Fraction | float, frames: int, loop: bool = False, film: Film = ALONE
) -> tuple[Blend, ...]:
    """The two seeds of every frame and how far its noise has turned from the left one to the right.

    >>> seeds({"0": SeedPoint(5, "linear"), "2": SeedPoint(9)}, fps=8, frames=3)[1]
    Blend(left=5, right=9, mix=0.5)
    """
    if not isinstance(curve, Mapping):
        return (Blend(curve, curve, 0.0),) * frames
    track = Track(curve, fps=fps, frames=frames, loop=loop, film=film)

    def blend(frame: int) -> Blend:
        left, right, mix = track.between(frame)
        here, there = track.keys[left].value, track.keys[right].value
        return Blend(here, here, 0.0) if mix == 0 or here == there else Blend(here, there, mix)

    return tuple(map(blend, range(frames)))
