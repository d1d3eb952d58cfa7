"""``lcm-video render``, one film or many: all are read and checked before anything loads, then drawn one by one.

    sources → films (their sweeps, too) → plans → targets that nothing stands in the way of → renders, by model

What is wrong with one film does not stop the others: it is told at once, and again at the end.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcm_video.cli.events import Teller, teller
from lcm_video.cli.queued import Queued, gathered, refuse_clashes
from lcm_video.cli.rendering import Render, Wishes
from lcm_video.cli.stopping import Stop
from lcm_video.errors import Interrupted, LcmVideoError
from lcm_video.job import Pipelines
from lcm_video.storyboard import Storyboard
from lcm_video.work import Sources

if TYPE_CHECKING:
    from lcm_video.cli.sweep_sheet import SweepSheet
    from lcm_video.pipeline import Pipeline

BESIDE = "beside"
"""Where previews go unless a file is named: beside the film."""


@dataclass(frozen=True)
class Asked:
    """What the command line says of all films.

    arguments: storyboards, presets, films, folders, and key=value
    sweep: field=values, for a grid
    output: the film's file; a folder for several films
    allow_paths: folders that storyboards may write to
    preview: a file to show the film in while it is drawn, or BESIDE
    style: see `events.teller`
    """

    arguments: Sequence[str]
    sweep: Sequence[str] = ()
    output: str = ""
    allow_paths: Sequence[Path] = ()
    preview: str = ""
    style: str = ""


@dataclass(eq=False)
class Outcome:
    """What became of one film or storyboard: ``done``, ``failed``, or ``not begun``."""

    name: str
    state: str = "not begun"
    why: str = ""
    exit_code: int = 0


def render_all(asked: Asked, wishes: Wishes, *, stop: Stop) -> int:
    """Renders everything that is asked for; returns 0, or the exit code of the first failure.

    A single film's error is raised, and so is what makes the whole queue impossible.
    """
    found = gathered(asked.arguments, sweep=asked.sweep, output=asked.output, allow_paths=asked.allow_paths)
    if found.sources == 1 and found.failed:
        raise found.failed[0].error
    refuse_clashes(found.films, overwrite=wishes.overwrite)
    with teller(asked.style) as tell:
        for text in found.notes:
            tell.note(text)
        queue = Queue(found.films, asked, wishes, tell, stop)
        for failed in found.failed:
            queue.failed(Outcome(failed.source), failed.error)
        return queue.run()


class Queue:
    """Films, drawn one after the other, those of one model in a row.

    What they share is kept between them: the model is loaded once, and each prompt is encoded once.
    """

    def __init__(self, films: Sequence[Queued], asked: Asked, wishes: Wishes, tell: Teller, stop: Stop) -> None:
        self.asked, self.wishes, self.tell, self.stop = asked, wishes, tell, stop
        self.outcomes: list[Outcome] = []
        self.films = [*_by_model(films)]
        self.sheets = {number: sheet for number in {film.source for film in films} if (sheet := _sheet(films, number))}
        self.pipelines = SharedPipelines()

    def run(self) -> int:
        """Draws all films; returns 0, or the exit code of the first failure."""
        if len(self.films) == 1 and not self.outcomes:
            self._draw(self.films[0])
            self._write_sheets()
            return 0
        waiting = [(Outcome(str(film.targets[0])), film) for film in self.films]
        self.outcomes += [outcome for outcome, _ in waiting]
        try:
            for number, (outcome, film) in enumerate(waiting, start=1):
                self.tell.place = number, len(waiting)
                with self._noted(outcome):
                    self._draw(film)
                    outcome.state = "done"
        finally:
            self.tell.place = 1, 1
            self._write_sheets()
            self._tell_outcomes()
        return next((outcome.exit_code for outcome in self.outcomes if outcome.exit_code), 0)

    @contextmanager
    def _noted(self, outcome: Outcome) -> Iterator[None]:
        """Notes a failure within and lets the queue go on; what stops the queue is noted and raised."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            outcome.state = "interrupted"
            raise
        except Exception as error:
            self.failed(outcome, error)

    def failed(self, outcome: Outcome, error: Exception) -> None:
        """Tells of a failure at once, and remembers it for the end."""
        outcome.state, outcome.exit_code = "failed", getattr(error, "exit_code", 1)
        text = str(error) if isinstance(error, LcmVideoError) else f"{type(error).__name__}: {error} (a bug: report it)"
        outcome.why = (error.message if isinstance(error, LcmVideoError) else text).partition("\n")[0]
        if outcome not in self.outcomes:
            self.outcomes.append(outcome)
        self.tell.failed(outcome.name, text, exit_code=outcome.exit_code)

    def _draw(self, film: Queued) -> None:
        """Renders one film, with a preview if one is wanted."""
        opened = film.opened
        watches: list[Any] = []
        if sheet := self.sheets.get(film.source):
            watches.append(sheet.watch(opened.settings))
        with self._previewed(film) as previews:
            Render(
                film.planned,
                tell=self.tell,
                stop=self.stop,
                origin=opened.origin,
                wishes=replace(self.wishes, called=opened.source),
                pipelines=self.pipelines,
                watches=[*watches, *previews],
            ).run()

    @contextmanager
    def _previewed(self, film: Queued) -> Iterator[Sequence[Any]]:
        """The preview that watches a film, if one is wanted; in the end it shows the film's last state, and stays."""
        if not self.asked.preview:
            yield ()
            return
        from lcm_video.preview import Preview

        target = film.targets[0]
        usual = target.with_name(f"{target.stem if target.suffix else target.name}.preview.png")
        path = usual if self.asked.preview == BESIDE else Path(self.asked.preview)
        preview = Preview(path, film.planned, note=self.tell.note)
        self.tell.note(f"preview in {path}")
        try:
            yield (preview,)
        finally:
            preview.close()

    def _write_sheets(self) -> None:
        for sheet in self.sheets.values():
            if path := sheet.write():
                self.tell.result(path=str(path), about="the sweep on a sheet")

    def _tell_outcomes(self) -> None:
        """How it went: all films in one table."""
        rows = [(outcome.name, outcome.state, outcome.why) for outcome in self.outcomes]
        self.tell.queue(rows)


class SharedPipelines(Pipelines):
    """Loads models, each once for all films that need it in a row, with a text encoder that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self._given: tuple[Pipeline, Pipeline] | None = None

    def __call__(self, board: Storyboard, sources: Iterable[Sources]) -> "Pipeline":
        """The pipeline that ``board`` names."""
        from lcm_video.prompts.remembering import Remembering

        if self._given and self._loaded is not self._given[0]:
            self._given = None
        loaded = super().__call__(board, sources)
        if not self._given or self._given[0] is not loaded:
            self._given = loaded, replace(loaded, text=Remembering(loaded.text))
        return self._given[1]


def _by_model(films: Sequence[Queued]) -> Iterator[Queued]:
    """Yields films in their order, but those of one model in a row: a model is loaded once, and is alone in memory."""
    left = [*films]
    while left:
        first = left[0].planned.board
        alike = [
            film
            for film in left
            if (film.planned.board.model, film.planned.board.runtime) == (first.model, first.runtime)
        ]
        yield from alike
        left = [film for film in left if not any(film is other for other in alike)]


def _sheet(films: Sequence[Queued], source: int) -> "SweepSheet | None":
    """The sheet of one source's sweep; None if it sweeps over nothing."""
    own = [film for film in films if film.source == source]
    if not own[0].opened.settings:
        return None
    from lcm_video.cli.sweep_sheet import SweepSheet

    path = own[0].opened.path
    settings = [film.opened.settings for film in own]
    return SweepSheet(
        path.with_name(f"{path.stem}.sweep.png"), path.stem, settings, [film.planned.frames for film in own]
    )
