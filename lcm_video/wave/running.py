"""The wave itself: which windows are due, and what is blended, advanced, handed out and dropped when they are done."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from lcm_video.chunks import CHUNK, chunks_of
from lcm_video.errors import NumbersError
from lcm_video.samplers import SAMPLERS, Step
from lcm_video.types import Clips, FrameNumbers, Latents
from lcm_video.wave.demand import Demand, dues
from lcm_video.wave.known import Known, Live
from lcm_video.wave.layout import Layout
from lcm_video.wave.take import Map, Take
from lcm_video.windows import Window

BREADTH = 4
"""Windows for each that runs beside others, so that few wait for the last of them."""


def breadth(take: Take, *, threads: int = 1) -> int:
    """How many chunks to work on at once, so that ``threads`` have enough windows, and batches are not cut.

    It changes no bit, only how many latents are alive.
    """
    beside = threads * take.batch
    hop = take.windows.options.length - take.windows.options.overlap
    return 1 if beside == 1 else ceil(BREADTH * beside * hop / CHUNK)


@dataclass(frozen=True)
class Turn:
    """Some frames took one step.

    step: which, from 0
    timestep: where it started
    frames: those that took it; none, where a chunk is handed out that had been finished before
    denoised: the clean latents that it predicted for them
    stretch: the frames that are worked towards; where some are finished, exactly a chunk that was asked for
    finished: that chunk's latents, in its last turn
    """

    step: int
    timestep: float
    frames: tuple[int, ...]
    denoised: Latents
    stretch: range
    finished: Float[Tensor, "chunk channels height width"] | None = None


class Wave:
    """Draws chunks of a shot in the order asked for, and as little else as possible.

    Iterate to run it: each `Turn` is one step of some frames. Iterating again goes on, after an exception as well, even
    one that ``map`` raised between two windows: those before it are kept. At any such moment, and between turns,
    ``live()`` is all that is needed to go on in another wave of the same shot, in this process or another, whichever
    chunks either is for; what does not help there is left out. Nothing of this changes a bit.

    Right after a turn that finished a chunk, ``live()`` still holds the chunk. It is dropped when the iteration goes
    on. So whoever stores ``live()`` then, or stores the chunk before going on, never computes anything twice.

    windows: how many windows the chunks take in all, if nothing is known
    """

    def __init__(
        self,
        take: Take,
        chunks: Sequence[range] | None = None,
        *,
        live: Live | None = None,
        map: Map = map,
        breadth: int = 1,
    ) -> None:
        self.take, self._map, self._breadth = take, map, breadth
        self._left = chunks_of(take.frames) if chunks is None else [*chunks]
        asked = [*chain.from_iterable(self._left)]
        if len({*asked}) < len(asked) or not {*asked} <= {*range(take.frames)} or not all(self._left):
            raise ValueError(f"chunks must lie within {take.frames} frames and not overlap: {self._left}")
        sampler = SAMPLERS[take.sampler]
        self._sample, self._steps = sampler.sample, len(take.levels) - 1
        self._known = Known(self._steps, looks_back=sampler.looks_back)
        self._layouts = _layouts(take)
        self._demand = self._owed()
        self.windows = self._demand.windows
        if live:
            self._known.take_up(live, shape=take.shape)
            self._demand = self._owed()

    @property
    def done(self) -> int:
        """How many windows are done, or not needed thanks to what was known."""
        return self.windows - self._demand.windows

    @property
    def held(self) -> int:
        """How many frames' latents are alive: what memory grows with, and with a film's length does not."""
        return self._known.count()

    def live(self) -> Live:
        """All that is needed to go on from here."""
        return self._known.live()

    def __iter__(self) -> Iterator[Turn]:
        self._demand = self._owed()
        while self._left:
            yield from self._towards(self._left[: self._breadth])

    def _owed(self) -> Demand:
        goal = chain.from_iterable(self._left)
        return Demand(goal, self._layouts, self._known, frames=self.take.frames)

    def _towards(self, chunks: Sequence[range]) -> Iterator[Turn]:
        """Yields the turns that finish ``chunks``."""
        stretch = range(chunks[0].start, chunks[-1].stop)
        owed = [*dues(chain.from_iterable(chunks), self._layouts, self._known)]
        for step, frames, calls in reversed(owed):
            self._run(step, calls)
            if step < self._steps - 1:
                # Frames that are not due yet, but lack nothing, go on as well: blended, they take less room.
                seen = frames.union(*map(self._layouts[step].seen, calls))
                if ready := self._ready(step, seen):
                    yield self._advance(step, ready, stretch)
        for chunk in chunks:
            yield self._finish(chunk)
            self._demand.goal.difference_update(chunk)
            self._demand.release(self._steps, chunk)

    def _run(self, step: int, calls: Sequence[int]) -> None:
        """Computes calls of a step, keeping what each predicts as soon as it is done."""
        layout = self._layouts[step]
        seen = [layout.seen(call) for call in calls]
        clip = len(layout.windows[0])
        numbers = [Clips(frames, length=clip) if len(frames) > clip else frames for frames in seen]
        cuts = (self._stacked(step, frames)[0] for frames in seen)
        timesteps = [self.take.levels[step].timestep] * len(calls)
        made = self._map(self.take.denoise, cuts, timesteps, numbers)
        for call, frames, predicted in zip(calls, seen, made, strict=True):
            for number, rows in zip(layout.calls[call], predicted.split(clip), strict=True):
                for frame, row in zip(layout.windows[number], rows, strict=True):
                    if self._demand.moving[step][frame]:
                        self._known.predicted[step][number, frame] = row.clone()
            self._demand.calls[step][call] = False
            self._demand.release(step, frames)

    def _stacked(self, step: int, frames: Sequence[int]) -> list[Latents]:
        """What frames bring to a step: their latents, and where the sampler looks back what was predicted before."""
        states = self._known.states[step]
        if step == 0 and (lacking := sorted({*frames} - states.keys())):
            begun = self.take.begin(0, lacking)
            states.update((frame, (row.clone(),)) for frame, row in zip(lacking, begun, strict=True))
        return [torch.stack(rows) for rows in zip(*(states[frame] for frame in frames), strict=True)]

    def _ready(self, step: int, frames: Iterable[int]) -> list[int]:
        """Those of ``frames`` that must take the step and have all that it needs."""
        layout, predicted = self._layouts[step], self._known.predicted[step]
        moving = (frame for frame in {*frames} if self._demand.moving[step][frame])
        return sorted(frame for frame in moving if all((window, frame) in predicted for window in layout.over(frame)))

    def _finish(self, chunk: range) -> Turn:
        """The turn that hands out a chunk."""
        states, last = self._known.states[self._steps], self._steps - 1
        lacking = [frame for frame in chunk if frame not in states]
        turn = self._advance(last, lacking, chunk) if lacking else None
        self._left.remove(chunk)
        finished = torch.stack([states[frame][0] for frame in chunk])
        if turn is None:
            return Turn(last, self.take.levels[last].timestep, (), finished[:0], chunk, finished)
        return replace(turn, finished=finished)

    def _advance(self, step: int, frames: Sequence[int], stretch: range) -> Turn:
        """Lets frames take one step of the sampler, which sees them as if they were all there is."""
        known, take = self._known, self.take
        parts = self._stacked(step, frames)
        # A sampler that does not look back is told its latents where the clean ones would be.
        start = Step(step - 1, take.levels[step - 1].timestep, parts[0], parts[-1]) if step else parts[0]

        def blended(latents: Latents, timestep: float, numbers: FrameNumbers) -> Latents:
            return self._layouts[step].blend(known.predicted[step], numbers, latents)

        around = take.around(blended)

        def denoise(latents: Latents, timestep: float, rows: FrameNumbers) -> Latents:
            return around(latents, timestep, [frames[row] for row in rows])

        def noise(index: int, rows: FrameNumbers) -> Latents:
            return take.noise(index, [frames[row] for row in rows])

        taken = next(self._sample(denoise, start, take.levels, noise))
        self._check(taken, frames)
        for frame, *rows in zip(frames, taken.latents, taken.denoised, strict=True):
            known.states[step + 1][frame] = tuple(row.clone() for row in rows[: known.depth])
            self._demand.moving[step][frame] = False
        self._demand.release(step, frames)
        return Turn(step, taken.timestep, tuple(frames), taken.denoised, stretch)

    def _check(self, taken: Step, frames: Sequence[int]) -> None:
        """Raises NumbersError for latents that are none, and forgets what they were made from."""
        broken = [f for f, row in zip(frames, taken.latents, strict=True) if not row.isfinite().all()]
        if not broken:
            return
        layout, predicted = self._layouts[taken.index], self._known.predicted[taken.index]
        windows = sorted({window for frame in broken for window in layout.over(frame)})
        for frame in broken:
            for window in layout.over(frame):
                del predicted[window, frame]
        raise NumbersError(
            f"step {taken.index + 1} of {self._steps}: the latents of {_listed('frame', broken)} are not numbers, "
            f"computed in {_listed('window', windows)} of that step",
            remedy="a model's weights may be damaged, or its values too large for 16 bits: set runtime.dtype=float32",
        )


def _listed(noun: str, numbers: Sequence[int]) -> str:
    """``frame 3``, or ``frames 3 to 18`` for several between which there may be gaps."""
    return f"{noun} {numbers[0]}" if len(numbers) == 1 else f"{noun}s {numbers[0]} to {numbers[-1]}"


def _layouts(take: Take) -> list[Layout]:
    """One layout per step; steps with the same windows share one."""
    known: dict[tuple[Window, ...], Layout] = {}
    for level in take.levels[:-1]:
        windows = take.windows(level.timestep)
        if windows not in known:
            known[windows] = Layout(windows, take.windows, blend=take.blend, batch=take.batch)
    return [known[take.windows(level.timestep)] for level in take.levels[:-1]]
