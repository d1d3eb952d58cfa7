"""How a render tells what it is doing: a progress bar, a line per stage, JSON, or nothing."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn


def as_event(event: str, **facts: Any) -> str:
    """One line of JSON."""
    return json.dumps({"event": event, **facts}, ensure_ascii=False)


class Teller:
    """Is told of each stage as it begins, how far it is, and what is worth knowing; this one keeps it to itself."""

    def __enter__(self) -> "Teller":
        return self

    def __exit__(self, *error: object) -> None: ...

    def stage(self, name: str, total: int = 1) -> None:
        """A stage begins; the one before it is over."""

    def done(self, count: int) -> None:
        """So much of the stage's total is done."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def result(self, **facts: Any) -> None:
        """What came out: one file."""


def teller(style: str) -> Teller:
    """The one for ``style``: ``json``, ``quiet``, or otherwise what the terminal can show."""
    if style in ("json", "quiet"):
        return Json() if style == "json" else Teller()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Json(Teller):
    """One JSON object per line on standard output."""

    def __init__(self) -> None:
        self.name, self.total = "", 0

    def stage(self, name: str, total: int = 1) -> None:
        self.name, self.total = name, total
        self._say("stage", stage=name, total=total)

    def done(self, count: int) -> None:
        self._say("progress", stage=self.name, done=count, total=self.total)

    def note(self, text: str) -> None:
        self._say("note", text=text)

    def result(self, **facts: Any) -> None:
        self._say("written", **facts)

    def _say(self, event: str, **facts: Any) -> None:
        print(as_event(event, **facts), flush=True)


class Lines(Teller):
    """A line for each stage, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def stage(self, name: str, total: int = 1) -> None:
        self._say(f"{name} …")

    def note(self, text: str) -> None:
        self._say(f"note: {text}")

    def result(self, **facts: Any) -> None:
        print(facts["path"] if not facts.get("about") else f"{facts['path']}  {facts['about']}", flush=True)

    def _say(self, text: str) -> None:
        # Not through rich: in a log, a long line should stay one line.
        print(text, file=sys.stderr, flush=True)


class Bars(Lines):
    """A bar for each stage, with the time that is left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
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

    def stage(self, name: str, total: int = 1) -> None:
        self._finish()
        self.progress.add_task(name, total=total)

    def done(self, count: int) -> None:
        self.progress.update(self.progress.task_ids[-1], completed=count)

    def note(self, text: str) -> None:
        self.progress.console.print(f"note: {text}", style="yellow", highlight=False, markup=False)

    def result(self, **facts: Any) -> None:
        self._finish()
        self.progress.stop()
        super().result(**facts)

    def _finish(self) -> None:
        if self.progress.task_ids:
            last = self.progress.tasks[-1]
            self.progress.update(last.id, completed=last.total)
