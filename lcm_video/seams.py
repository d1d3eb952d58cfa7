"""Whether seams show: at the place where a loop closes, and where the windows of a long shot meet.

A change between two neighbouring frames is the root mean square of their pixels' differences. A seam shows when the
change across it is larger than changes usually are: both scores are such ratios, and 1 is a seam like any other place.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from statistics import median

import numpy as np

from lcm_video.types import Frame, FrameNumbers


class Seams:
    """Takes one shot's frames as they come; keeps two of them, and one number for each.

    loop: whether the last frame leads to the first
    """

    def __init__(self, loop: bool = False) -> None:
        self.loop = loop
        self.changes: list[float] = []  # from each frame but the first: how far it is from the one before
        self._first: Frame | None = None
        self._last: Frame | None = None

    def add(self, frame: Frame) -> None:
        """Looks at the next frame."""
        if self._last is None:
            self._first = frame
        else:
            self.changes.append(change(self._last, frame))
        self._last = frame

    def loop_score(self) -> float | None:
        """The change from the last frame to the first, over the usual change; up to 1.5 no eye finds the seam.

        None where there is nothing to tell: a shot that is no loop, has fewer than three frames, or stands still.
        """
        usual = median(self.changes) if len(self.changes) > 1 else 0.0
        return self._closing() / usual if self.loop and usual else None

    def window_score(self, borders: Iterable[int]) -> float | None:
        """The mean change across window borders (see `borders`), over the usual change elsewhere.

        None where there is nothing to tell: no borders, nothing but borders, or a shot that stands still elsewhere.
        """
        every = dict(enumerate(self.changes, start=1))
        if self.loop and len(self.changes) > 1:
            every[0] = self._closing()
        marked = {*borders}
        across = [size for number, size in every.items() if number in marked]
        usual = median([size for number, size in every.items() if number not in marked] or [0.0])
        return sum(across) / len(across) / usual if across and usual else None

    def _closing(self) -> float:
        return 0.0 if self._first is None or self._last is None else change(self._last, self._first)


def change(before: Frame, after: Frame) -> float:
    """How far two pictures are from each other, 0 (equal) to 255 (black and white)."""
    apart = before.astype(np.float32) - after.astype(np.float32)
    return float(np.sqrt(np.mean(apart * apart, dtype=np.float64)))


def borders(windows: Sequence[FrameNumbers], *, frames: int, loop: bool) -> list[int]:
    """The frames at which a window begins, or the one after a window's end: the seam lies before each.

    The film's own two ends are none, unless it loops. Windows that leave frames out have ends everywhere: they are
    not counted.

    >>> borders([range(0, 8), range(6, 14)], frames=14, loop=False)
    [6, 8]
    >>> borders([range(0, 8), (6, 7, 8, 9, 0, 1, 2, 3)], frames=10, loop=True)
    [0, 4, 6, 8]
    """
    found = set()
    for window in windows:
        if _runs_on(window, frames):
            found |= {window[0], (window[-1] + 1) % frames}
    return sorted(found if loop else found - {0})


def _runs_on(window: FrameNumbers, frames: int) -> bool:
    """Whether a window's frames follow each other, the film being a circle."""
    return all((after - before) % frames == 1 for before, after in pairwise(window))


def scores(seams: Collection[Seams], across: Sequence[Iterable[int]]) -> dict[str, float]:
    """Both scores of a film of several shots, rounded: the worst of them. What cannot be told is left out."""
    found: dict[str, float] = {}
    for shot, shot_borders in zip(seams, across, strict=True):
        for name, score in (("loop", shot.loop_score()), ("windows", shot.window_score(shot_borders))):
            if score is not None:
                found[name] = max(found.get(name, 0.0), round(score, 3))
    return found
