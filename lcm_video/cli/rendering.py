"""``lcm-video render``: the pipeline, watched."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lcm_video.cli.events import Teller, teller
from lcm_video.cli.sources import refuse_existing
from lcm_video.media import Output, picked, preflight, sheet, write
from lcm_video.models.slots import check_files
from lcm_video.plan import Plan, ShotPlan, plan
from lcm_video.report import Origin, about, changed_models, parameters, write_report
from lcm_video.samplers import Step
from lcm_video.storyboard import Storyboard
from lcm_video.types import Frame

SHEET_FRAMES = 12


def render(opened: tuple[Storyboard, Origin | None], *, sheet: bool, overwrite: bool, style: str) -> None:
    """Renders a storyboard (see `sources.opened`), and writes the film, its report and, if asked, a contact sheet."""
    board, origin = opened
    planned = plan(board)
    if not overwrite:
        refuse_existing(targets(board.output, planned.frames))
    check_files(board.model, board.runtime.folders)
    video = board.video
    preflight(board.output, width=video.width, height=video.height, fps=video.fps, frames=planned.frames)
    with teller(style) as tell:
        Render(planned, Stages(tell), origin).run(with_sheet=sheet)


def targets(output: Output, frames: int) -> list[Path]:
    """What will be written: files, and folders for the frames of a film."""
    folders = {"png", "jpg"} if frames > 1 else set()
    paths = {ending: output.path_of(ending) for ending in output.endings}
    return [path.with_suffix("") if ending in folders else path for ending, path in paths.items()]


class Stages:
    """Tells of stages and remembers how long each took."""

    def __init__(self, tell: Teller) -> None:
        self.tell = tell
        self.seconds: dict[str, float] = {}
        self._since, self._name = time.perf_counter(), ""

    def __call__(self, name: str, total: int = 1) -> None:
        self.close()
        self._name = name
        self.tell.stage(name, total)

    def close(self) -> None:
        """Ends the present stage."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._since = now


class Render:
    """One render: frames are drawn shot by shot and written as they come."""

    def __init__(self, planned: Plan, stage: Stages, origin: Origin | None) -> None:
        self.planned, self.board, self.stage, self.origin = planned, planned.board, stage, origin

    def run(self, *, with_sheet: bool) -> None:
        """Loads, draws, writes, reports."""
        from lcm_video.pipeline import Pipeline

        tell, board = self.stage.tell, self.board
        for warning in self.planned.warnings:
            tell.note(warning)
        self.stage("load model")
        pipeline = Pipeline.load(board.model, board.runtime)
        for note in [*pipeline.notes, *(changed_models(self.origin, pipeline.files) if self.origin else [])]:
            tell.note(note)
        kept: dict[int, Frame] = {}
        wanted = picked(self.planned.frames, SHEET_FRAMES) if with_sheet else []
        carried = partial(about, board, pipeline.files)
        films = write(
            self._frames(pipeline, kept, wanted),
            board.output,
            fps=board.video.fps,
            frames_expected=self.planned.frames,
            loop=board.video.loop,
            about=carried,
            parameters=self._parameters,
        )
        self.stage.close()
        self._report(films, carried(board.output.endings[0]))
        if with_sheet:
            self._sheet(films[0], [(number, kept[number], self._caption(number)) for number in wanted])

    def _frames(self, pipeline: Any, kept: dict[int, Frame], wanted: Sequence[int]) -> Iterator[Frame]:
        """Yields the film's frames, telling how far it is; those ``wanted`` for the sheet are ``kept``."""
        number = 0
        for shot in self.planned.shots:
            for frame in self._shot(pipeline, shot):
                if number in wanted:
                    kept[number] = frame
                yield frame
                number += 1
        self.stage("verify")

    def _shot(self, pipeline: Any, shot: ShotPlan) -> Iterator[Frame]:
        from lcm_video.decoder import decode

        label = f"{shot.shot.name}: " if shot.shot.name else ""
        self.stage(f"{label}denoise", total=sum(map(len, shot.windows)))
        with windows_on(self.board.runtime.parallel_windows) as run:
            steps = pipeline.shot_steps(self.board, shot.shot, map=self._counted(run))
            (last,) = deque(self._watched(steps, shot), maxlen=1)
        self.stage(f"{label}decode", total=shot.shot.frames)
        for number, frame in enumerate(decode(pipeline.vae, last.latents, batch=self.board.runtime.decode_batch)):
            yield frame
            self.stage.tell.done(number + 1)

    def _watched(self, steps: Iterable[Step], shot: ShotPlan) -> Iterator[Step]:
        for step in steps:
            self.stage.tell.done(sum(map(len, shot.windows[: step.index + 1])))
            yield step

    def _counted(self, run: Callable[..., Iterable]) -> Callable[..., Iterator]:
        """A ``map`` that tells of each window as it is done."""
        done = 0

        def counting(function: Callable, *arguments: Iterable) -> Iterator:
            nonlocal done
            for result in run(function, *arguments):
                done += self.board.runtime.window_batch
                self.stage.tell.done(done)
                yield result

        return counting

    def _at(self, number: int) -> tuple[ShotPlan, int]:
        """The shot that a frame of the film belongs to, and its number there."""
        shot = next(shot for shot in reversed(self.planned.shots) if shot.shot.first <= number)
        return shot, number - shot.shot.first

    def _parameters(self, number: int) -> str:
        shot, frame = self._at(number)
        return parameters(shot.shot, shot.prompts, self.board, frame)

    def _caption(self, number: int) -> str:
        shot, frame = self._at(number)
        shares = shot.weights(frame)
        return " + ".join(text if len(shares) == 1 else f"{share:.0%} {text}" for text, share in shares.items())

    def _report(self, films: Sequence[Path], text: str) -> None:
        planned, facts = self.planned, {"seconds": {k: round(v, 3) for k, v in self.stage.seconds.items()}}
        size = f"{self.board.video.width}x{self.board.video.height}"
        told = f"{planned.frames} frames, {planned.seconds:.2f} s at {float(self.board.video.fps):g} fps, {size}"
        notes = {shot.shot.name or "film": list(shot.course.notes) for shot in planned.shots if shot.course.notes}
        drawn = {"drawn": notes} if notes else {}
        report = beside(films[0], ".lcm.json")
        write_report(report, text, films=films, facts={"frames": planned.frames, **drawn, **facts})
        for film in films:
            self.stage.tell.result(path=str(film), about=told, frames=planned.frames)
        self.stage.tell.result(path=str(report), about="how it was made")

    def _sheet(self, film: Path, pictures: Sequence[tuple[int, Frame, str]]) -> None:
        path = beside(film, ".sheet.png")
        title = f"{film.name} · {self.planned.frames} frames"
        sheet(pictures, path, title=title, fps=float(self.board.video.fps))
        self.stage.tell.result(path=str(path), about="contact sheet")


def beside(film: Path, ending: str) -> Path:
    """The file of the film's name with another ending, beside it; a folder of frames keeps its whole name."""
    return film.with_name((film.name if film.is_dir() else film.stem) + ending)


@contextmanager
def windows_on(threads: int) -> Iterator[Callable[..., Iterable]]:
    """The built-in ``map``, or one that runs on so many threads."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map
