"""``lcm-video render``: a job, watched, and written to files."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lcm_video.cli.events import Teller, teller
from lcm_video.cli.reporting import SeamsSeen, caption, settings, write_facts
from lcm_video.cli.sources import refuse_existing, targets
from lcm_video.cli.stopping import Stop
from lcm_video.errors import Interrupted
from lcm_video.job import Job, Pipelines, Watches
from lcm_video.job.files import model_files
from lcm_video.media import picked, preflight, sheet, write
from lcm_video.media.locking import locked
from lcm_video.media.space import check_space
from lcm_video.models.slots import check_files
from lcm_video.plan import Plan, plan
from lcm_video.report import Origin, about, changed_models
from lcm_video.storyboard import Storyboard
from lcm_video.types import Frame
from lcm_video.work import Store

SHEET_FRAMES = 12
PACKED = 0.6
"""Bytes that a stored frame takes for each of its own: photographs half, drawings far less."""


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for beside the storyboard.

    sheet: also a contact sheet
    overwrite: a film that exists may be replaced
    fresh: nothing that is stored is used
    keep_work: what is stored is not cleared away
    called: what the storyboard is called where work is listed
    """

    sheet: bool = False
    overwrite: bool = False
    fresh: bool = False
    keep_work: bool = False
    called: str = ""


def render(
    opened: tuple[Storyboard, Origin | None], wishes: Wishes | None = None, *, style: str = "", stop: Stop | None = None
) -> None:
    """Renders a storyboard (see `sources.opened`), and writes the film, its report and, if asked, a contact sheet."""
    board, origin = opened
    with teller(style) as tell:
        Render(plan(board), tell=tell, stop=stop or Stop(), origin=origin, wishes=wishes or Wishes()).run()


@dataclass
class Render:
    """One film from plan to report. Everything it needs is handed in, so that many can follow one another.

    planned: the film
    tell: shows how it goes
    stop: is asked whether to stop
    origin: where the storyboard comes from, if a film carried it
    wishes: see `Wishes`
    pipelines: loads models, and keeps them for the next film
    watches: others who want to know: each may have any of the methods of `job.Watch`, and ``facts`` for the report
    """

    planned: Plan
    tell: Teller
    stop: Stop = field(default_factory=Stop)
    origin: Origin | None = None
    wishes: Wishes = Wishes()
    pipelines: Pipelines = field(default_factory=Pipelines)
    watches: Sequence[Any] = ()

    def __post_init__(self) -> None:
        self.board = self.planned.board
        self.notes: list[str] = []
        self.watches = [SeamsSeen(self.planned), *self.watches]
        self.seconds: dict[str, float] = {}
        self._ended = 0.0
        self.store = Store()
        self.job = Job(
            self.planned,
            load=self._load,
            store=self.store,
            watch=Watches(self.tell, self, *self.watches),
            stop=self.stop,
            fresh=self.wishes.fresh,
            pin=self.wishes.keep_work,
            called={"storyboard": self.wishes.called, "target": self.board.output.path_of(self._ending).name},
        )

    def run(self) -> tuple[Path, ...]:
        """Draws what is not drawn yet, writes, reports; gives the films' paths. Raises what stands in the way."""
        self._check()
        with locked(self.board.output) as notes:
            self.tell.film(self.board.output.path_of(self._ending).name, self.planned.frames)
            files = tuple(model_files(self.board.model, self.board.runtime.folders))
            changed = changed_models(self.origin, files) if self.origin else []
            for text in (*notes, *self.planned.warnings, *changed):
                self.tell.note(text)
            films, kept = self._film(partial(about, self.board, files))
            write_facts(self, films, about(self.board, files, self._ending))
            if self.wishes.sheet:
                self._sheet(films[0], kept)
        self.store.sweep()
        return films

    def note(self, text: str) -> None:
        """Remembers what the user was told, for the report."""
        self.notes.append(text)

    @property
    def _ending(self) -> str:
        return self.board.output.endings[0]

    def _check(self) -> None:
        """Everything that would stop the render, before a model is loaded."""
        board, video = self.board, self.board.video
        if not self.wishes.overwrite:
            refuse_existing(targets(board.output, self.planned.frames))
        check_files(board.model, board.runtime.folders)
        size = {"width": video.width, "height": video.height, "fps": video.fps, "frames": self.planned.frames}
        preflight(board.output, **size)
        stored = round(self.job.left() * video.width * video.height * 3 * PACKED)
        check_space(board.output, **size, more={self.store.folder: stored})

    def _load(self) -> Any:
        return self.pipelines(self.board, self.job.sources)

    def _film(self, carried: Any) -> tuple[tuple[Path, ...], dict[int, Frame]]:
        """Writes the film; gives its paths, and the frames for the contact sheet."""
        kept: dict[int, Frame] = {}
        with self.stop.gently(), self._going_on():
            films = write(
                self._frames(kept),
                self.board.output,
                fps=self.board.video.fps,
                frames_expected=self.planned.frames,
                loop=self.board.video.loop,
                about=carried,
                parameters=partial(settings, self.planned),
            )
        self.seconds |= {"encode": films.encoding, "wait for encoder": films.waiting}
        self.seconds["verify"] = time.perf_counter() - self._ended
        return films, kept

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Says how to go on after a stop, where it is not by the same command."""
        try:
            yield
        except Interrupted as stopped:
            if self.wishes.fresh:
                stopped.remedy = "run the same command again without --fresh: it goes on from here"
            raise

    def _frames(self, kept: dict[int, Frame]) -> Iterator[Frame]:
        """Yields the film's frames; those wanted for the sheet are ``kept``."""
        wanted = picked(self.planned.frames, SHEET_FRAMES) if self.wishes.sheet else []
        for number, frame in enumerate(self.job.frames()):
            if number in wanted:
                kept[number] = frame
            yield frame
        self.tell.stage("verify")
        self._ended = time.perf_counter()

    def _sheet(self, film: Path, kept: dict[int, Frame]) -> None:
        path = film.with_name((film.name if film.is_dir() else film.stem) + ".sheet.png")
        pictures = [(number, frame, caption(self.planned, number)) for number, frame in kept.items()]
        title = f"{film.name} · {self.planned.frames} frames"
        sheet(pictures, path, title=title, fps=float(self.board.video.fps))
        self.tell.result(path=str(path), about="contact sheet")
