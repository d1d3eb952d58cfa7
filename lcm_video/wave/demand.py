"""What is still owed for the frames that are asked for, step by step and window by window."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lcm_video.wave.known import Known
from lcm_video.wave.layout import Layout


class Due(NamedTuple):
    """What one step owes: the frames that must take it, and the calls that they wait for."""

    step: int
    frames: set[int]
    calls: list[int]


def dues(frames: Iterable[int], layouts: Sequence[Layout], known: Known) -> Iterator[Due]:
    """Yields what each step owes, from the last step to the first, so that ``frames`` can take all of them."""
    wanted = {*frames}
    for step in range(len(layouts) - 1, -1, -1):
        layout, predicted = layouts[step], known.predicted[step]
        moving = wanted - known.states[step + 1].keys()
        calls = {layout.call(w) for frame in moving for w in layout.over(frame) if (w, frame) not in predicted}
        wanted = moving.union(*map(layout.seen, calls))
        yield Due(step, moving, sorted(calls))


class Demand:
    """All that is owed, of which facts can be dropped as soon as nothing asks for them.

    goal: frames to be handed out
    moving: by step, by frame: whether it must still take the step
    calls: by step, by call: whether it must still be computed
    """

    def __init__(self, goal: Iterable[int], layouts: Sequence[Layout], known: Known, *, frames: int) -> None:
        self.goal, self._layouts, self._known = {*goal}, layouts, known
        self.moving = [bytearray(frames) for _ in layouts]
        self.calls = [bytearray(len(layout.calls)) for layout in layouts]
        for due in dues(self.goal, layouts, known):
            for frame in due.frames:
                self.moving[due.step][frame] = True
            for call in due.calls:
                self.calls[due.step][call] = True
        for taken, states in enumerate(known.states):
            self.release(taken, [*states])

    @property
    def windows(self) -> int:
        """How many windows must still be computed."""
        return sum(
            len(layout.calls[call])
            for layout, owed in zip(self._layouts, self.calls, strict=True)
            for call, still in enumerate(owed)
            if still
        )

    def release(self, taken: int, frames: Iterable[int]) -> None:
        """Drops what nothing needs any more of ``frames`` that have taken so many steps."""
        for frame in frames:
            if not self._needs(taken, frame):
                self._known.states[taken].pop(frame, None)
                if taken < len(self._layouts):
                    for window in self._layouts[taken].over(frame):
                        self._known.predicted[taken].pop((window, frame), None)

    def _needs(self, taken: int, frame: int) -> bool:
        if taken == len(self._layouts):
            return frame in self.goal
        layout, owed = self._layouts[taken], self.calls[taken]
        return bool(self.moving[taken][frame]) or any(owed[layout.call(window)] for window in layout.over(frame))
