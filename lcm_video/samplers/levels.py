"""Noise levels: how much of a frame is signal at each of the 1000 timesteps that models are trained on. No tensors."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import mul
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from lcm_video.types import STRICT

TRAINED = 1000
"""Timesteps that models are trained on: 0 is nearly clean, 999 nearly all noise."""

Alphas: TypeAlias = Sequence[float]
"""ᾱ by timestep: the share of variance that is signal."""


@dataclass(frozen=True, config=STRICT)
class Betas:
    """The noise schedule a model was trained with.

    start: variance that timestep 0 adds, above 0 and below 1
    end: variance that timestep 999 adds, above 0 and below 1
    schedule: what grows in equal steps between: the variance (linear) or its square root (scaled_linear). These are
        diffusers' names; ComfyUI's ``sqrt_linear`` is linear here, and its ``linear`` is scaled_linear. ``average``
        is half-way between both in ᾱ: for a motion module trained on the one with a LoRA trained on the other
    """

    start: Annotated[float, Field(gt=0, lt=1)] = 0.00085
    end: Annotated[float, Field(gt=0, lt=1)] = 0.012
    schedule: Literal["linear", "scaled_linear", "average"] = "scaled_linear"

    def alphas(self) -> tuple[float, ...]:
        """ᾱ of each of the 1000 timesteps, falling from nearly 1 to nearly 0."""
        linear, scaled = (_alphas(self.start, self.end, power) for power in (1.0, 0.5))
        half_way = tuple((a + b) / 2 for a, b in zip(linear, scaled, strict=True))
        return {"linear": linear, "scaled_linear": scaled, "average": half_way}[self.schedule]


@lru_cache(maxsize=16)
def _alphas(start: float, end: float, power: float) -> tuple[float, ...]:
    first, last = start**power, end**power
    betas = ((first + (last - first) * t / (TRAINED - 1)) ** (1 / power) for t in range(TRAINED))
    return tuple(accumulate((1 - beta for beta in betas), mul))


class Level(NamedTuple):
    """How noisy latents are: the timestep that the model is told, and ᾱ, the share of variance that is signal."""

    timestep: float
    alpha: float

    @property
    def sigma(self) -> float:
        """Noise relative to signal, as k-diffusion and ComfyUI count it: 0 is clean."""
        return sigma_of(self.alpha)


def sigma_of(alpha: float) -> float:
    """σ = √((1-ᾱ)/ᾱ)."""
    return math.sqrt((1 - alpha) / alpha)


def alpha_of(sigma: float) -> float:
    """ᾱ = 1/(1+σ²), the inverse of `sigma_of`."""
    return 1 / (1 + sigma * sigma)


def landing(levels: Iterable[Level], *, alpha: float = 1.0) -> tuple[Level, ...]:
    """``levels``, and the level that the last step lands on: clean, unless said otherwise."""
    return (*levels, Level(0.0, alpha))


class Grid:
    """Some of the trained timesteps, evenly spread and ending at 999, with the noise of each and between.

    A position is an index into them that may lie between two; log σ is linear there (k-diffusion, external.py).
    """

    def __init__(self, alphas: Alphas, *, points: int = TRAINED) -> None:
        self.skip = TRAINED // points
        self.last = points - 1
        self.sigmas = [sigma_of(alphas[TRAINED - 1 - self.skip * i]) for i in reversed(range(points))]
        self.logs = [math.log(sigma) for sigma in self.sigmas]

    def timestep(self, position: float) -> float:
        """The timestep at a position."""
        return TRAINED - 1 - (self.last - position) * self.skip

    def sigma(self, position: float) -> float:
        """σ at a position."""
        low = min(int(position), self.last)
        high = min(low + 1, self.last)
        share = position - low
        return math.exp((1 - share) * self.logs[low] + share * self.logs[high])

    def position(self, sigma: float) -> float:
        """Where σ lies, no further than the ends."""
        log = min(max(math.log(sigma), self.logs[0]), self.logs[-1])
        low = min(max(bisect_right(self.logs, log) - 1, 0), self.last - 1)
        return low + (log - self.logs[low]) / (self.logs[low + 1] - self.logs[low])

    def level(self, sigma: float, *, whole: bool = True) -> Level:
        """The level with this σ; the model is told the nearest timestep, or with ``whole`` off, one between."""
        position = self.position(sigma)
        return Level(self.timestep(math.ceil(position - 0.5 - TIE) if whole else position), alpha_of(sigma))


TIE = 1e-9
"""What lies half-way between two timesteps goes to the lower one; floating point must not decide that."""
