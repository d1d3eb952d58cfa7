"""The windows of one step, the other way round: which windows see a frame, and how much each counts there."""

from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor

from lcm_video.types import Latents
from lcm_video.windows import BLENDS, Window, WindowPlan


class Layout:
    """The windows of one step.

    windows: in the order in which they are blended
    calls: which windows are computed in one call, by their places in ``windows``: neighbours in time, and always the
        same ones, whatever is asked for and wherever a render was cut, because a GPU's rounding may depend on a batch
    lone: whether there is one window, which passes straight through
    """

    def __init__(self, windows: tuple[Window, ...], plan: WindowPlan, *, blend: str, batch: int) -> None:
        self.windows, self._plan, self._blend = windows, plan, BLENDS[blend]
        in_time = sorted(range(len(windows)), key=lambda number: windows[number][0])
        self.calls = [tuple(in_time[first : first + batch]) for first in range(0, len(in_time), batch)]
        self.lone = windows == (tuple(range(plan.frames)),)
        self._call = array("L", bytes(8 * len(windows)))
        for call, numbers in enumerate(self.calls):
            for number in numbers:
                self._call[number] = call
        # One flat list and where each frame's part begins: some bytes a frame, where lists would take a hundred.
        pairs = sorted((frame, number) for number, window in enumerate(windows) for frame in window)
        self._over = array("L", (number for _, number in pairs))
        counts = array("L", bytes(8 * plan.frames))
        self._totals = array("d", bytes(8 * plan.frames))
        for window in windows:  # in this order, as `windows.shares` does it: sums round
            for frame, weight in zip(window, self._blend(window, plan), strict=True):
                counts[frame] += 1
                self._totals[frame] += weight
        self._first = array("L", accumulate(counts, initial=0))

    def over(self, frame: int) -> Sequence[int]:
        """The windows that see a frame, in the order in which they are blended."""
        return self._over[self._first[frame] : self._first[frame + 1]]

    def call(self, number: int) -> int:
        """The call that computes a window."""
        return self._call[number]

    def seen(self, call: int) -> list[int]:
        """The frames that a call sees, window by window: some may come twice."""
        return [*chain.from_iterable(self.windows[number] for number in self.calls[call])]

    def _shares(self, number: int) -> dict[int, float]:
        """How much a window contributes to each of its frames."""
        window = self.windows[number]
        weights = self._blend(window, self._plan)
        return {frame: weight / self._totals[frame] for frame, weight in zip(window, weights, strict=True)}

    def blend(self, predicted: Mapping[tuple[int, int], Tensor], frames: Sequence[int], latents: Latents) -> Latents:
        """What all windows together predict for ``frames``, whose latents are given for their precision.

        ``predicted`` is by (window, frame). The bits are those of `windows.windowed`.
        """
        if self.lone:
            return torch.stack([predicted[0, frame] for frame in frames])
        total = (latents if latents.element_size() >= 4 else latents.float()).new_zeros(latents.shape)
        place = {frame: i for i, frame in enumerate(frames)}
        for number in sorted({number for frame in frames for number in self.over(frame)}):
            shares = self._shares(number)
            own = [frame for frame in self.windows[number] if frame in place]
            rows = torch.stack([predicted[number, frame] for frame in own])
            by_frame = total.new_tensor([shares[frame] for frame in own]).view(-1, 1, 1, 1)
            total[[place[frame] for frame in own]] += by_frame * rows
        return total.to(latents.dtype)
