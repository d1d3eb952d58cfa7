"""Context windows: a motion module sees 16 to 32 frames; longer films are denoised in overlapping windows.

Each window is denoised alone, and where windows overlap their predictions are blended. From step to step the windows
drift, so that no frame is always at a window's edge. Whatever the numbers, at every step every frame lies in a window,
no window holds a frame twice, and all have the same length.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from itertools import chain
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.types import STRICT, Clips, Denoiser, FrameNumbers, Latents

Window: TypeAlias = tuple[int, ...]
"""Frame numbers in the order in which the motion module sees them."""


@dataclass(frozen=True, config=STRICT)
class Windows:
    """How a film is cut into windows, in frames.

    length: frames the motion module sees at once, 1 to 1024; its card in motion_modules/ says the best value
    overlap: frames shared by neighbours, less than length, blended so that no seam shows
    stride: how many time scales there are, 1 to 8: 1 sees neighbouring frames, 2 also every second frame, 3 also every
        fourth …; each costs about half as much as the one before, and applies only where the film is long enough
    schedule: uniform windows drift from step to step; static ones stay, as many as needed and no more
    blend: how much a window counts where several overlap: most at its centre (pyramid), everywhere the same (flat), or
        fading in and out over the overlap (overlap_linear)
    """

    length: Annotated[int, Field(ge=1, le=1024)] = 16
    overlap: Annotated[int, Field(ge=0, le=1023)] = 4
    stride: Annotated[int, Field(ge=1, le=8)] = 1
    schedule: Literal["uniform", "static"] = "uniform"
    blend: Literal["pyramid", "flat", "overlap_linear"] = "pyramid"

    def __post_init__(self) -> None:
        if self.overlap >= self.length:
            message = f"{self.overlap} is not below the window length, {self.length}"
            remedy = f"a quarter of the length is usual: {self.length // 4}"
            raise StoryboardError(message, remedy=remedy, field="overlap")


@plain_dataclass(frozen=True)
class WindowPlan:
    """The windows of every step: ``plan(timestep)`` gives those to denoise when the sampler is at that timestep."""

    options: Windows
    frames: int
    loop: bool
    steps: Mapping[float, int]

    def __call__(self, timestep: float) -> tuple[Window, ...]:
        """The windows at a timestep; at one that is not in the plan, those of the first step."""
        return cut(self.options, frames=self.frames, step=self.steps.get(timestep, 0), loop=self.loop)


def plan_windows(
    options: Windows, *, frames: int, levels: Sequence[tuple[float, float]], loop: bool = False
) -> WindowPlan:
    """The windows of a shot of ``frames`` frames, for a sampler that follows ``levels`` (timestep, ᾱ).

    Steps at the same timestep have the same windows.
    """
    steps: dict[float, int] = {}
    for step, (timestep, _) in enumerate(levels[:-1]):
        steps.setdefault(timestep, step)
    return WindowPlan(options, frames, loop, steps)


def cut(options: Windows, *, frames: int, step: int, loop: bool = False) -> tuple[Window, ...]:
    """The windows of one step, in the order in which they are blended.

    >>> cut(Windows(length=4, overlap=1), frames=8, step=0)
    ((0, 1, 2, 3), (3, 4, 5, 6), (4, 5, 6, 7))
    >>> cut(Windows(length=4, overlap=1), frames=6, step=1, loop=True)
    ((3, 4, 5, 0), (0, 1, 2, 3))
    """
    phase = halving(step) if options.schedule == "uniform" else 0.0
    layer = _around if loop else _along
    return tuple(
        dict.fromkeys(chain.from_iterable(layer(options, frames, phase, by) for by in _scales(options, frames)))
    )


def _scales(options: Windows, frames: int) -> Iterator[int]:
    """Yields how far apart a window's frames are: 1, and as many of 2, 4, 8 … as asked for and of use."""
    yield 1
    for level in range(1, options.stride):
        if (scale := 2**level) * options.length < 2 * frames:
            yield scale


def _along(options: Windows, frames: int, phase: float, scale: int) -> Iterator[Window]:
    """Yields windows of a film with two ends: those that would run over the end are moved back to it."""
    length = min(options.length, frames)
    latest = frames - 1 - (length - 1) * scale
    if latest < 0:
        return
    starts = [start % frames for start in _walk(options, frames, phase, scale, until=frames - options.overlap)]
    if scale == 1 and any(start > latest for start in starts):
        starts.append(0)  # what ran over the end was to cover the beginning
    for start in starts:
        first = min(start, latest)
        yield tuple(range(first, first + length * scale, scale))


def _around(options: Windows, frames: int, phase: float, scale: int) -> Iterator[Window]:
    """Yields windows of a film whose end meets its beginning; they run across the seam."""
    length = min(options.length, frames)
    starts = _walk(options, frames, phase, scale, until=frames) if length == options.length else [round(frames * phase)]
    for start in starts:
        window = tuple((start + i * scale) % frames for i in range(length))
        if len(set(window)) == length:  # at a large scale, a window may come round to where it began
            yield window


def _walk(options: Windows, frames: int, phase: float, scale: int, *, until: int) -> range:
    """Where windows start, the film being a circle that is entered at ``phase`` of its length."""
    entry = round(frames * phase)
    return range(entry + int(phase * scale), entry + max(until, 1), options.length * scale - options.overlap)


def halving(step: int) -> float:
    """The van der Corput sequence, 0 ½ ¼ ¾ ⅛ …: each number is as far as can be from all before it.

    >>> [halving(step) for step in range(5)]
    [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    return int(f"{step:064b}"[::-1], 2) / 2**64


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
            return denoise(latents, timestep, frames)
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
