"""What every encoder needs to know about the film."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from lcm_video.media.output import Output


@dataclass(frozen=True)
class Film:
    """Facts that hold for every frame.

    width, height: pixels
    fps: frames a second, exact
    output: how it is compressed
    about: text that each file carries; "" = none
    repeat: whether animated images begin again
    expected: frames that will come, where that is known
    parameters: per frame number, text that PNG frames carry for other tools
    """

    width: int
    height: int
    fps: Fraction
    output: Output
    about: str = ""
    repeat: bool = True
    expected: int | None = None
    parameters: Callable[[int], str] | None = None

    def ticks(self, frame: int, per_second: int) -> int:
        """How many ticks ``frame`` lasts when delays are whole ticks: they alternate so that the sum stays exact.

        >>> film = Film(64, 48, Fraction(8), Output())
        >>> [film.ticks(frame, 100) for frame in range(4)]
        [12, 13, 13, 12]
        """
        return round((frame + 1) * per_second / self.fps) - round(frame * per_second / self.fps)


def finished(partial: Path) -> Path:
    """Where a sink that writes in two passes puts its result: ``.fox.12.part.mp4`` → ``.fox.12.done.mp4``."""
    return partial.with_name(partial.name.replace(".part.", ".done."))
