"""How a render tells what it is doing: progress bars, a line per stage, JSON, or nothing.

Whoever reads it may go away at any time (``| head``): the render goes on, and tells nobody.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from lcm_video.cli.streams import silence
from lcm_video.cli.tables import tabulated


def as_event(event: str, **facts: Any) -> str:
    """One line of JSON."""
    return json.dumps({"event": event, **facts}, ensure_ascii=False)


def say(text: str, stream: TextIO | None) -> None:
    """Prints a line; if nobody reads it, or can, nothing happens."""
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        silence(stream)
    except (OSError, ValueError):  # a full disk behind it, or closed
        pass


class Teller:
    """A watch (`job.Watch`) that is also told of results; this one keeps it all to itself.

    ``place`` is which film this is of how many, where several follow one another.
    """

    place: tuple[int, int] = (1, 1)

    def __enter__(self) -> "Teller":
        return self

    def __exit__(self, *error: object) -> None: ...

    def film(self, name: str, frames: int) -> None:
        """A film begins, of so many frames."""

    def stage(self, name: str, total: int = 1) -> None:
        """A stage begins; the one before it is over."""

    def done(self, count: int) -> None:
        """So much of the stage's total is done."""

    def turn(self, shot: Any, turn: Any, pipeline: Any) -> None:
        """Some frames took a step."""

    def frame(self, number: int, frame: Any) -> None:
        """A frame of the film has been handed on."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def result(self, **facts: Any) -> None:
        """What came out: one file."""

    def failed(self, name: str, text: str, *, exit_code: int) -> None:
        """One film of several failed; the others go on."""
        told = text if text.startswith(name) else f"{name}: {text}"
        say(f"error: {told}", sys.stderr)

    def queue(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """What became of several films: the name of each, done or failed, and why."""

    def placed(self, name: str) -> str:
        """A stage's name, after that of the film's place among others."""
        number, total = self.place
        return f"film {number} of {total} · {name}" if total > 1 else name


def teller(style: str) -> Teller:
    """The one for ``style``: ``json``, ``quiet``, or otherwise what the terminal can show."""
    if style in ("json", "quiet"):
        return Json() if style == "json" else Teller()
    console = Quietening(stderr=True)
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines()


class Quietening(Console):
    """A console that falls silent when nobody reads it, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file)


class Json(Teller):
    """One JSON object per line on standard output."""

    def __init__(self) -> None:
        self.name, self.total, self.all = "", 0, 0

    def film(self, name: str, frames: int) -> None:
        self.all = frames
        self._say("film", name=name, frames=frames)

    def stage(self, name: str, total: int = 1) -> None:
        self.name, self.total = name, total
        self._say("stage", stage=name, total=total)

    def done(self, count: int) -> None:
        self._say("progress", stage=self.name, done=count, total=self.total)

    def frame(self, number: int, frame: Any) -> None:
        self._say("frame", number=number, total=self.all)

    def note(self, text: str) -> None:
        self._say("note", text=text)

    def result(self, **facts: Any) -> None:
        self._say("written", **facts)

    def failed(self, name: str, text: str, *, exit_code: int) -> None:
        self._say("failed", name=name, message=text, exit_code=exit_code)
        super().failed(name, text, exit_code=exit_code)

    def queue(self, rows: Sequence[tuple[str, str, str]]) -> None:
        films = [{"name": name, "state": state, "why": why} for name, state, why in rows]
        self._say("queue", results=films)

    def _say(self, event: str, **facts: Any) -> None:
        number, total = self.place
        place = {"film": number, "films": total} if total > 1 else {}
        say(as_event(event, **place, **facts), sys.stdout)


class Lines(Teller):
    """A line for each stage, for logs and pipes."""

    known: frozenset[str] = frozenset()

    def stage(self, name: str, total: int = 1) -> None:
        say(f"{self.placed(name)} …", sys.stderr)

    def note(self, text: str) -> None:
        # Not through rich: in a log, a long line should stay one line.
        if self.is_news(text):
            say(f"note: {text}", sys.stderr)

    def is_news(self, text: str) -> bool:
        """Whether something is told for the first time: what films share is not told of each."""
        known, self.known = text in self.known, self.known | {text}
        return not known

    def result(self, **facts: Any) -> None:
        say(facts["path"] if not facts.get("about") else f"{facts['path']}  {facts['about']}", sys.stdout)

    def queue(self, rows: Sequence[tuple[str, str, str]]) -> None:
        for line in tabulated(("film", "", ""), rows):
            say(line, sys.stderr)


class Bars(Lines):
    """A bar for each stage, with the time that is left."""

    def __init__(self, console: Console) -> None:
        self._stage: TaskID | None = None
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
        )

    def __enter__(self) -> "Teller":
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error):
            self._finish()
        self.progress.stop()

    def film(self, name: str, frames: int) -> None:
        for task in self.progress.task_ids:  # those of the film before stand above
            self.progress.remove_task(task)
        self._stage = None
        self.progress.start()

    def stage(self, name: str, total: int = 1) -> None:
        self._finish()
        self._stage = self.progress.add_task(self.placed(name), total=total)

    def done(self, count: int) -> None:
        if self._stage is not None:
            self.progress.update(self._stage, completed=count)

    def note(self, text: str) -> None:
        if self.is_news(text):
            self.progress.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def result(self, **facts: Any) -> None:
        self._finish()
        self.progress.stop()
        super().result(**facts)

    def _finish(self) -> None:
        if self._stage is not None:
            task = self.progress.tasks[self.progress.task_ids.index(self._stage)]
            self.progress.update(self._stage, completed=task.total)
