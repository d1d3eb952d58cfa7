"""The windows of every step: which frames a motion module sees together. No tensors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from lcm_video.windows.options import Settled, Windows

Window: TypeAlias = tuple[int, ...]
"""Frame numbers in the order in which the motion module sees them."""


@dataclass(frozen=True)
class WindowPlan:
    """The windows of every step: ``plan(timestep)`` gives those to denoise when the sampler is at that timestep."""

    options: Settled
    frames: int
    loop: bool
    steps: Mapping[float, int]

    def __call__(self, timestep: float) -> tuple[Window, ...]:
        """The windows at a timestep; at one that is not in the plan, those of the first step."""
        return cut(self.options, frames=self.frames, step=self.steps.get(timestep, 0), loop=self.loop)


def plan_windows(
    options: Windows,
    *,
    frames: int,
    levels: Sequence[tuple[float, float]],
    loop: bool = False,
    window: int | None = None,
) -> WindowPlan:
    """The windows of a shot of ``frames`` frames, for a sampler that follows ``levels`` (timestep, ᾱ).

    Steps at the same timestep have the same windows. ``window`` is the motion module's (see `Windows.settled`).
    """
    steps: dict[float, int] = {}
    for step, (timestep, _) in enumerate(levels[:-1]):
        steps.setdefault(timestep, step)
    return WindowPlan(options.settled(window), frames, loop, steps)


def cut(options: Windows | Settled, *, frames: int, step: int, loop: bool = False) -> tuple[Window, ...]:
    """The windows of one step, in the order in which they are blended.

    >>> cut(Windows(length=4, overlap=1), frames=8, step=0)
    ((0, 1, 2, 3), (3, 4, 5, 6), (4, 5, 6, 7))
    >>> cut(Windows(length=4, overlap=1), frames=6, step=1, loop=True)
    ((3, 4, 5, 0), (0, 1, 2, 3))
    """
    options = (options.settled() if isinstance(options, Windows) else options).at(step)
    phase = halving(step) if options.schedule == "uniform" else 0.0
    layer = _around if loop else _along
    return tuple(
        dict.fromkeys(chain.from_iterable(layer(options, frames, phase, by) for by in _scales(options, frames)))
    )


def _scales(options: Settled, frames: int) -> Iterator[int]:
    """Yields how far apart a window's frames are: 1, and as many of 2, 4, 8 … as asked for and of use."""
    yield 1
    for level in range(1, options.stride):
        if (scale := 2**level) * options.length < 2 * frames:
            yield scale


def _along(options: Settled, frames: int, phase: float, scale: int) -> Iterator[Window]:
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


def _around(options: Settled, frames: int, phase: float, scale: int) -> Iterator[Window]:
    """Yields windows of a film whose end meets its beginning; they run across the seam."""
    length = min(options.length, frames)
    starts = _walk(options, frames, phase, scale, until=frames) if length == options.length else [round(frames * phase)]
    for start in starts:
        window = tuple((start + i * scale) % frames for i in range(length))
        if len(set(window)) == length:  # at a large scale, a window may come round to where it began
            yield window


def _walk(options: Settled, frames: int, phase: float, scale: int, *, until: int) -> range:
    """Where windows start, the film being a circle that is entered at ``phase`` of its length."""
    entry = round(frames * phase)
    return range(entry + int(phase * scale), entry + max(until, 1), options.length * scale - options.overlap)


def halving(step: int) -> float:
    """The van der Corput sequence, 0 ½ ¼ ¾ ⅛ …: each number is as far as can be from all before it.

    >>> [halving(step) for step in range(5)]
    [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    return int(f"{step:064b}"[::-1], 2) / 2**64
