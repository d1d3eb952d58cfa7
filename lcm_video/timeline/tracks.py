"""Keyframes or points in film order, and where a frame lies between them."""

from bisect import bisect_right
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from lcm_video.timeline.easings import pace
from lcm_video.timeline.film import ALONE, Film
from lcm_video.timeline.moments import positions


class Track:
    """What stands at moments, each with an easing: ``keys`` in film order, and `between` any two of them.

    With ``loop`` the last key leads back to the first, so ``keys`` begins and ends with a copy from beyond the seam.
    """

    def __init__(
        self, moments: Mapping[str, Any], *, fps: Fraction | float, frames: int, loop: bool = False, film: Film = ALONE
    ) -> None:
        placed = positions(moments, fps=fps, frames=frames, loop=loop, tempo=film.tempo, first=film.first)
        marks = [(at, moments[moment]) for at, moment in placed.items()]
        if loop:  # the neighbours beyond the seam: the last before the film begins, the first after it ends
            (first_at, first), (last_at, last) = marks[0], marks[-1]
            marks = [(last_at - frames, last), *marks, (first_at + frames, first)]
        self.times = [at for at, _ in marks]
        self.keys = [key for _, key in marks]
        self.paces = [pace(key.ease) for key in self.keys]

    def between(self, frame: int) -> tuple[int, int, float]:
        """The keys left and right of a frame, and the share of the right one."""
        after = bisect_right(self.times, frame)
        left, right = max(after - 1, 0), min(after, len(self.times) - 1)
        if left == right:
            return left, left, 0.0
        progress = (frame - self.times[left]) / (self.times[right] - self.times[left])
        return left, right, self.paces[left](progress)
