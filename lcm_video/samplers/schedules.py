"""Schedules: at which noise each step starts, by the names that a storyboard's ``sampling.timesteps`` takes.

Tools agree on the samplers but not on their timesteps: every table here reproduces one tool's. To add a schedule,
write a function like `trailing` and list it in the tables it suits.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

from lcm_video.errors import StoryboardError
from lcm_video.samplers import comfy
from lcm_video.samplers.levels import TRAINED, Alphas, Grid, Level, alpha_of, landing, sigma_of

Levels: TypeAlias = tuple[Level, ...]
"""Where each step starts, and where the last one lands."""

Full: TypeAlias = Callable[[int, Alphas], Levels]
"""(steps, ᾱ by timestep) → levels from pure noise."""

Schedule: TypeAlias = Callable[[int, Alphas, float], Levels]
"""(steps, ᾱ by timestep, strength) → levels from the noise that ``strength`` stands for."""

DISTILLED = 50
"""LCM-LoRAs were distilled on every 20th timestep: 19, 39 … 999 (arXiv:2310.04378, section 4.3)."""

MOST_STEPS = 10_000


def lcm(steps: int, alphas: Alphas, strength: float = 1.0, *, points: int = DISTILLED) -> Levels:
    """diffusers' LCMScheduler: ``steps`` timesteps evenly from the distilled ones, 999 759 499 259.

    Below strength 1 there are still ``steps`` of them, out of the first ``strength`` of the distilled ones.

    >>> [level.timestep for level in lcm(4, [0.5] * 1000)]
    [999, 759, 499, 259, 0.0]
    """
    grid = _distilled(steps, strength, points)
    return _at([grid[i * len(grid) // steps] for i in range(steps)], alphas)


def lcm_authors(steps: int, alphas: Alphas, strength: float = 1.0) -> Levels:
    """The LCM authors' own scheduler: every n-th distilled timestep, 999 759 519 279."""
    grid = _distilled(steps, strength, DISTILLED)
    return _at(grid[:: len(grid) // steps][:steps], alphas)


def _distilled(steps: int, strength: float, points: int) -> list[int]:
    grid = [TRAINED // points * i - 1 for i in range(int(points * strength), 0, -1)]
    if steps > len(grid):
        message = f"{steps} steps at start.strength {strength:g}: LCM knows {len(grid)} timesteps there"
        fewer = f"lower sampling.steps to {len(grid)}, " if grid else ""
        more = f"raise start.strength to {math.ceil(100 * steps / points) / 100:g} or more, " if strength < 1 else ""
        raise StoryboardError(message, remedy=f"{fewer}{more}or choose other sampling.timesteps", field="steps")
    return grid


def leading(steps: int, alphas: Alphas, *, final: bool = False) -> Levels:
    """diffusers' ``leading`` with offset 1, as in Stable Diffusion's own settings: for 8 steps 876 751 … 126 1."""
    return _at([min(TRAINED // steps * i + 1, TRAINED - 1) for i in reversed(range(steps))], alphas, final=final)


def trailing(steps: int, alphas: Alphas, *, final: bool = False) -> Levels:
    """diffusers' ``trailing``: from 999 in steps of 1000/steps, for 8 steps 999 874 … 249 124."""
    return _at([round(TRAINED - i * TRAINED / steps) - 1 for i in range(steps)], alphas, final=final)


def linspace(steps: int, alphas: Alphas) -> Levels:
    """diffusers' DDIM ``linspace``: both ends included, whole timesteps; a single step starts at 999."""
    return _at([round(t) for t in _evenly(steps)], alphas, final=True)


def fractional_linspace(steps: int, alphas: Alphas) -> Levels:
    """diffusers' Euler ``linspace``: both ends included, timesteps and σ interpolated; a single step starts at 999."""

    def level(t: float) -> Level:
        low, high = math.floor(t), math.ceil(t)
        return Level(t, alpha_of(_lerp(sigma_of(alphas[low]), sigma_of(alphas[high]), t - low)))

    return landing(map(level, _evenly(steps)))


def open_leading(steps: int, alphas: Alphas) -> Levels:
    """diffusers' DPM-Solver ``leading`` with offset 1: as if there were one step more, the last left out."""
    stride = max(TRAINED // (steps + 1), 1)
    return _at([min(stride * i + 1, TRAINED - 1) for i in range(steps, 0, -1)], alphas)


def open_linspace(steps: int, alphas: Alphas) -> Levels:
    """diffusers' DPM-Solver ``linspace``: as if there were one step more, the last left out: for 10 steps 999 … 100."""
    return _at([round(t) for t in _evenly(steps + 1)[:-1]], alphas)


def karras(steps: int, alphas: Alphas, *, whole: bool = True) -> Levels:
    """σ as in arXiv:2206.00364, equation 5; the model is told the nearest timestep, or one between (``whole`` off)."""
    grid = Grid(alphas)
    return landing(grid.level(sigma, whole=whole) for sigma in comfy.karras(steps, grid))


def spaced(spacing: comfy.Spacing, steps: int, alphas: Alphas, *, points: int = TRAINED, whole: bool = True) -> Levels:
    """ComfyUI's spacings, and A1111's, whose models are told fractional timesteps (``whole`` off)."""
    grid = Grid(alphas, points=points)
    return landing(grid.level(sigma, whole=whole) for sigma in spacing(steps, grid))


def listed(text: str, steps: int, alphas: Alphas, strength: float = 1.0) -> Levels:
    """The timesteps of a list such as ``999, 679, 339, 19``; they may lie between whole ones."""
    try:
        timesteps = [float(number) for number in text.replace(",", " ").split()]
    except ValueError:
        raise StoryboardError(
            f"{text[:40]!r} is not a list of timesteps", remedy="write 999, 679, 339, 19", field="timesteps"
        ) from None
    if any(not 0 <= t < TRAINED for t in timesteps) or timesteps != sorted(set(timesteps), reverse=True):
        message = f"timesteps must fall, within {TRAINED - 1} and 0"
        raise StoryboardError(message, remedy="write 999, 679, 339, 19", field="timesteps")
    if len(timesteps) != steps:
        message = f"{len(timesteps)} timesteps are listed, sampling.steps is {steps}"
        raise StoryboardError(message, remedy=f"set sampling.steps to {len(timesteps)}", field="timesteps")
    return sliced(lambda *_: _between(timesteps, alphas))(steps, alphas, strength)


def sliced(full: Full) -> Schedule:
    """Below strength 1, the last ``int(steps · strength)`` steps of the full schedule, as diffusers and A1111 do."""

    def levels(steps: int, alphas: Alphas, strength: float) -> Levels:
        run = int(steps * strength + 1e-9)
        if not run:
            message = f"start.strength {strength:g} of {steps} steps leaves no step to run"
            enough = math.ceil(100 / steps) / 100
            raise StoryboardError(message, remedy=f"raise start.strength to {enough:g} or more", field="steps")
        every = full(steps, alphas)
        return every if strength == 1 else every[-run - 1 :]

    return levels


def stretched(full: Full) -> Schedule:
    """Below strength 1, still ``steps`` steps: the last of ``int(steps / strength)``, as ComfyUI's denoise does."""

    def levels(steps: int, alphas: Alphas, strength: float) -> Levels:
        every = int(steps / strength) if strength > 0 else math.inf
        if every > MOST_STEPS:
            message = f"start.strength {strength:g} is too little for {steps} steps"
            enough = math.ceil(100 * steps / MOST_STEPS) / 100
            raise StoryboardError(message, remedy=f"raise start.strength to {enough:g} or more", field="steps")
        return full(steps, alphas) if strength == 1 else full(int(every), alphas)[-steps - 1 :]

    return levels


def _at(timesteps: Sequence[int], alphas: Alphas, *, final: bool = False) -> Levels:
    """Levels at trained timesteps; with ``final`` the last step lands on timestep 0's noise, as DDIM's does."""
    return landing((Level(t, alphas[t]) for t in timesteps), alpha=alphas[0] if final else 1.0)


def _between(timesteps: Iterable[float], alphas: Alphas) -> Levels:
    grid = Grid(alphas)
    return landing(Level(t, alphas[int(t)] if t == int(t) else alpha_of(grid.sigma(t))) for t in timesteps)


def _evenly(points: int) -> list[float]:
    return [(TRAINED - 1) * (points - 1 - i) / (points - 1) for i in range(points)] if points > 1 else [TRAINED - 1.0]


def _lerp(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _everywhere(points: int = TRAINED) -> dict[str, Schedule]:
    """What every sampler offers: the spacings of ComfyUI and A1111, on a grid of ``points`` timesteps."""
    a1111 = partial(spaced, comfy.normal, points=points, whole=points < TRAINED)
    named = {name: stretched(partial(spaced, spacing, points=points)) for name, spacing in comfy.COMFY.items()}
    return {"lcm": lcm, "lcm_authors": lcm_authors, "a1111": sliced(a1111), **named}


def _table(default: str, **full: Full) -> dict[str, Schedule]:
    table = _everywhere() | {name: sliced(levels) for name, levels in full.items()}
    return {"diffusers": table[default], **table}


DDIM = _table(
    "leading",
    linspace=linspace,
    leading=partial(leading, final=True),
    trailing=partial(trailing, final=True),
    karras=karras,
)
EULER = _table(
    "linspace", linspace=fractional_linspace, leading=leading, trailing=trailing, karras=partial(karras, whole=False)
)
DPM = _table("linspace", linspace=open_linspace, leading=open_leading, trailing=trailing, karras=karras)
LCM: dict[str, Schedule] = {
    **DDIM,
    **{
        name: sliced(levels)
        for name, levels in {"linspace": linspace, "leading": leading, "trailing": trailing}.items()
    },
    **_everywhere(DISTILLED),
    "diffusers": lcm,
}
