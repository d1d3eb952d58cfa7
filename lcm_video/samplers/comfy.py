"""ComfyUI's schedulers: where k-diffusion samplers start each step, as a list of σ (comfy/samplers.py, behaviour only).

Each takes the number of steps and the grid of timesteps the model knows: all 1000, or for LCM 50 of them, which is
what ComfyUI's node ModelSamplingDiscrete "lcm" and AnimateDiff Evolved's beta schedule "lcm" do.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gamma

from lcm_video.samplers.levels import TIE, Grid

Spacing = Callable[[int, Grid], Sequence[float]]


def normal(steps: int, grid: Grid) -> list[float]:
    """Evenly spaced timesteps, both ends included: the last step starts at the smallest noise."""
    return [grid.sigma(grid.last - grid.last * i / max(steps - 1, 1)) for i in range(steps)]


def sgm_uniform(steps: int, grid: Grid) -> list[float]:
    """Evenly spaced timesteps, the smallest noise left out."""
    return [grid.sigma(grid.last - grid.last * i / steps) for i in range(steps)]


def simple(steps: int, grid: Grid) -> list[float]:
    """Evenly spaced points of the grid itself, rounded up."""
    return [grid.sigmas[grid.last - int(i * len(grid.sigmas) / steps)] for i in range(steps)]


def ddim_uniform(steps: int, grid: Grid) -> list[float]:
    """Every n-th point of the grid from its second on; may give a step or more beyond those asked for."""
    return grid.sigmas[1 :: max(len(grid.sigmas) // steps, 1)][::-1]


def karras(steps: int, grid: Grid) -> list[float]:
    """σ whose seventh root falls evenly (arXiv:2206.00364, equation 5)."""
    high, low = grid.sigmas[-1] ** (1 / 7), grid.sigmas[0] ** (1 / 7)
    return [(high + (low - high) * i / max(steps - 1, 1)) ** 7 for i in range(steps)]


def beta(steps: int, grid: Grid) -> list[float]:
    """Points of the grid at the quantiles of a beta distribution, α = β = 0.6: dense at both ends (arXiv:2407.12173).

    Quantiles that fall on the same point count once, so that there may be fewer steps than asked for.
    """
    points = dict.fromkeys(int(_quantile(1 - i / steps) * grid.last + 0.5 + TIE) for i in range(steps))
    return [grid.sigmas[point] for point in points]


@lru_cache(maxsize=4096)
def _quantile(share: float, *, shape: float = 0.6) -> float:
    """Where ``share`` of a symmetric beta distribution lies below."""
    if share > 0.5:
        return 1 - _quantile(1 - share, shape=shape)
    low, high = 0.0, 0.5
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, shape) < share else (low, middle)
    return (low + high) / 2


def _below(x: float, shape: float) -> float:
    """The regularized incomplete beta function I_x(shape, shape) for x up to 1/2, by its power series."""
    term, total = 1.0, 1 / shape
    for n in range(1, 40):
        term *= (n - shape) / n * x
        total += term / (shape + n)
    return x**shape * total * gamma(2 * shape) / gamma(shape) ** 2


COMFY: dict[str, Spacing] = {
    "comfy_normal": normal,
    "comfy_sgm_uniform": sgm_uniform,
    "comfy_simple": simple,
    "comfy_ddim_uniform": ddim_uniform,
    "comfy_karras": karras,
    "comfy_beta": beta,
}
