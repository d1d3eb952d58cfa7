"""Who watches a render: progress bars, previews, a service's own display, tests."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lcm_video.storyboard import Scene
from lcm_video.types import Frame

if TYPE_CHECKING:
    from lcm_video.pipeline import Pipeline
    from lcm_video.wave import Turn


@runtime_checkable
class Watch(Protocol):
    """Is told of a render as it goes on. A class of your own may leave out what it does not care for."""

    def stage(self, name: str, total: int = 1) -> None:
        """A stage begins, of so many parts; the one before it is over."""

    def done(self, count: int) -> None:
        """So many parts of the stage are done."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def turn(self, shot: Scene, turn: "Turn", pipeline: "Pipeline") -> None:
        """Some frames of a shot took a step."""

    def frame(self, number: int, frame: Frame) -> None:
        """A frame of the film has been handed on."""


class Silent(Watch):
    """A watch that does nothing with what it is told."""


class Watches(Watch):
    """Tells several what it is told; each may know only some of the calls."""

    def __init__(self, *watches: Any) -> None:
        self.watches = watches

    def _tell(self, name: str, *facts: Any) -> None:
        for watch in self.watches:
            if call := getattr(watch, name, None):
                call(*facts)

    def stage(self, name: str, total: int = 1) -> None:
        self._tell("stage", name, total)

    def done(self, count: int) -> None:
        self._tell("done", count)

    def note(self, text: str) -> None:
        self._tell("note", text)

    def turn(self, shot: Scene, turn: "Turn", pipeline: "Pipeline") -> None:
        self._tell("turn", shot, turn, pipeline)

    def frame(self, number: int, frame: Frame) -> None:
        self._tell("frame", number, frame)


@dataclass
class Tally:
    """What a job has done so far.

    seconds: by what they were spent on: load model, denoise, decode, store
    drawn, reused: frames that were computed, and that were read from the store
    windows: windows that were computed
    fallbacks: what the model could not do as it was asked to, and what it did instead, in sentences
    """

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    drawn: int = 0
    reused: int = 0
    windows: int = 0
    fallbacks: list[str] = field(default_factory=list)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Adds the seconds that pass within to ``what``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began
