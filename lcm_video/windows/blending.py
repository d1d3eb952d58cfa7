"""Windows denoised one by one, and their predictions blended where they overlap."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from lcm_video.types import Clips, Denoiser, FrameNumbers, Latents
from lcm_video.windows.cutting import Window, WindowPlan


def pyramid(window: Window, plan: WindowPlan) -> list[float]:
    """Weights that trust a window most at its centre, where motion has context on both sides: 1 2 3 2 1."""
    return [float(min(i + 1, len(window) - i)) for i in range(len(window))]


def flat(window: Window, plan: WindowPlan) -> list[float]:
    """Weights that trust all of a window alike."""
    return [1.0] * len(window)


def overlap_linear(window: Window, plan: WindowPlan) -> list[float]:
    """Weights that rise and fall over the overlap with a neighbour; at the film's own ends there is none."""
    overlap = min(plan.options.overlap, len(window))
    ramp = [max(i / max(overlap - 1, 1), FAINT) for i in range(overlap)] + [1.0] * (len(window) - overlap)
    fades_in, fades_out = plan.loop or min(window) > 0, plan.loop or max(window) < plan.frames - 1
    rising = ramp if fades_in else flat(window, plan)
    falling = ramp[::-1] if fades_out else flat(window, plan)
    return [min(pair) for pair in zip(rising, falling, strict=True)]


FAINT = 1e-6
"""The least weight, so that a frame which lies only at windows' ends still has an average."""

BLENDS: dict[str, Callable[[Window, WindowPlan], list[float]]] = {
    "pyramid": pyramid,
    "flat": flat,
    "overlap_linear": overlap_linear,
}
"""(window, plan) → how much each of its frames counts."""


def shares(windows: Sequence[Window], plan: WindowPlan, *, blend: str) -> list[list[float]]:
    """How much each window contributes to each of its frames; over all windows a frame's shares add up to 1."""
    weights = [BLENDS[blend](window, plan) for window in windows]
    totals = [0.0] * plan.frames
    for window, row in zip(windows, weights, strict=True):
        for frame, weight in zip(window, row, strict=True):
            totals[frame] += weight
    return [[w / totals[frame] for frame, w in zip(*pair, strict=True)] for pair in zip(windows, weights, strict=True)]


def windowed(
    denoise: Denoiser,
    plan: WindowPlan,
    *,
    blend: str = "pyramid",
    map: Callable[..., Iterable[Any]] = map,
    batch: int = 1,
) -> Denoiser:
    """Denoises each window alone and blends the predictions, in float32 at least; one window passes straight through.

    Windows do not depend on each other, so ``map`` may be a thread pool's, and up to ``batch`` of them may share one
    call (as `Clips`). They are always added up in the same order: neither changes a bit, if it changes none in
    ``denoise``.
    """

    def denoise_windows(latents: Latents, timestep: float, frames: FrameNumbers) -> Latents:
        windows = plan(timestep)
        if windows == (tuple(range(len(latents))),):
            return denoise(latents, timestep, frames).contiguous()
        groups = [windows[first : first + batch] for first in range(0, len(windows), batch)]
        places = [[*chain.from_iterable(group)] for group in groups]
        cuts = [latents[place] for place in places]
        numbers = [_numbers(frames, place, clip=len(windows[0])) for place in places]
        predictions = map(denoise, cuts, [timestep] * len(groups), numbers)

        total = (latents if latents.element_size() >= 4 else latents.float()).new_zeros(latents.shape)
        apart = chain.from_iterable(predicted.split(len(windows[0])) for predicted in predictions)
        for window, row, predicted in zip(windows, shares(windows, plan, blend=blend), apart, strict=True):
            total[[*window]] += total.new_tensor(row).view(-1, 1, 1, 1) * predicted
        return total.to(latents.dtype)

    return denoise_windows


def _numbers(frames: FrameNumbers, places: Sequence[int], *, clip: int) -> FrameNumbers:
    """The frame numbers at ``places``; where they are several clips, they say so."""
    numbers = [frames[place] for place in places]
    return Clips(numbers, length=clip) if len(numbers) > clip else numbers
