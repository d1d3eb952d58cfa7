"""``lcm-video plan`` and ``check``: the answer before anything is loaded."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lcm_video.cli.sources import Opened, opened_films
from lcm_video.cli.tables import tabulated
from lcm_video.errors import CheckpointError, StoryboardError
from lcm_video.models.slots import check_files
from lcm_video.plan import Plan, ShotPlan, as_data, plan
from lcm_video.reader import InvalidStoryboard
from lcm_video.storyboard import Scene, Storyboard
from lcm_video.types import FrameNumbers

ROWS = 24
"""Longer films show this many rows; --all shows every frame."""


def show_plan(board: Storyboard, *, as_json: bool, plot: Path | None, every_frame: bool) -> None:
    """Prints the plan of a film, and draws its timeline to ``plot`` if given."""
    planned = plan(board)
    if as_json:
        print(json.dumps(as_data(planned), ensure_ascii=False))
    else:
        print("\n".join(lines(planned, every_frame=every_frame)))
    if plot:
        from lcm_video.timeline_picture import draw

        print(draw(planned).write(plot), file=sys.stderr if as_json else sys.stdout)


def show_sweep(films: Sequence[Opened], *, as_json: bool, plot: Path | None) -> None:
    """Prints a line for each film of a sweep: what it sets, where it goes, what it costs."""
    if plot:
        raise StoryboardError("the films of a sweep have no one timeline to draw", remedy="drop it with sweep=")
    planned = [plan(film.board) for film in films]
    if as_json:
        told = [{"settings": dict(film.settings), **as_data(each)} for film, each in zip(films, planned, strict=True)]
        print(json.dumps({"films": told}, ensure_ascii=False))
        return
    calls = [sum(shot.calls() for shot in each.shots) for each in planned]
    print(f"sweep    {len(films)} films, {sum(each.frames for each in planned)} frames, {sum(calls)} UNet calls")
    rows = [
        [film.board.output.path, ", ".join(f"{name}={value}" for name, value in film.settings.items()), str(count)]
        for film, count in zip(films, calls, strict=True)
    ]
    print("\n".join(tabulated(["film", "sets", "calls"], rows)))
    for text in dict.fromkeys(text for each in planned for text in each.warnings):
        print(f"warning  {text}")


def check(
    source: str, overrides: Sequence[str], allow_paths: Sequence[Path], *, as_json: bool, sweep: Sequence[str] = ()
) -> int:
    """Prints what is wrong with a storyboard; returns the exit code. Without ``as_json`` mistakes are raised."""
    problems: list[dict[str, Any]] = []
    warnings: dict[str, None] = {}
    code, count = 0, 1
    try:
        films = opened_films(source, overrides, sweep=sweep, allow_paths=allow_paths)
        count = len(films)
        for board in (film.board for film in films):
            warnings |= dict.fromkeys(plan(board).warnings)
            if board.model.checkpoint:
                check_files(board.model, board.runtime.folders)
    except (StoryboardError, CheckpointError) as error:
        if not as_json:
            raise
        problems, code = _as_data(error, source), error.exit_code
    if as_json:
        print(json.dumps({"problems": problems, "warnings": [*warnings]}, ensure_ascii=False))
    else:
        told = f" in any of {count} films" if count > 1 else ""
        print("\n".join([*(f"warning: {text}" for text in warnings), f"{source}: no problems{told}"]))
    return code


def _as_data(error: StoryboardError | CheckpointError, source: str) -> list[dict[str, Any]]:
    """Every problem as a map, for editors."""
    if isinstance(error, InvalidStoryboard):
        return [asdict(problem) for problem in error.problems]
    path = error.field if isinstance(error, StoryboardError) else "model"
    return [{"file": source, "path": path, "message": error.message, "remedy": error.remedy}]


def lines(planned: Plan, *, every_frame: bool = False) -> Iterator[str]:
    """Yields the plan as text."""
    video, output = planned.board.video, planned.board.output
    size = f"{video.width}x{video.height}"
    yield f"film     {planned.frames} frames, {planned.seconds:.2f} s at {float(video.fps):g} fps, {size}"
    yield f"         to {', '.join(str(output.path_of(ending)) for ending in output.endings)}"
    yield from _models(planned)
    yield from _long(planned)
    for shot in planned.shots:
        yield from _shot(planned, shot, every_frame)
    yield f"cost     {sum(shot.calls() for shot in planned.shots)} UNet calls"
    for text in planned.warnings:
        yield f"warning  {text}"


def _models(planned: Plan) -> Iterator[str]:
    model = planned.board.model
    loras = [f"{name} ({lora.path})" for name, lora in model.loras.items()]
    if model.checkpoint:
        yield f"model    {model.checkpoint}" + (f", motion {model.motion}" if model.motion else "")
    if loras:
        yield f"loras    {', '.join(loras)}"


def _long(planned: Plan) -> Iterator[str]:
    """Yields how shots are drawn that are longer than a window, and what else holds a film together."""
    board, settled = planned.board, planned.shots[0].settled
    if any(shot.shot.frames > settled.length for shot in planned.shots):
        best = f", which {planned.card.name} draws best" if planned.card and board.windows.length is None else ""
        yield f"windows  of {settled.length} frames{best}, {settled.overlap} of them shared with the next"
        if board.windows.noise != "own":
            yield f"noise    of the first window again in later ones ({board.windows.noise})"
    if board.freeinit.rounds:
        yield f"freeinit every shot is drawn {1 + board.freeinit.rounds} times, whole but for the last"


def _shot(planned: Plan, shot: ShotPlan, every_frame: bool) -> Iterator[str]:
    scene = shot.shot
    last = scene.first + scene.frames - 1
    yield ""
    yield f"shot     {scene.name or 'whole film'}: frames {scene.first} to {last}, {_seeds(scene)}"
    width = len(str(last))
    for frame in _rows(shot, every_frame):
        shares = [f"{share:4.0%} {text}" for text, share in shot.weights(frame).items()]
        seconds = float((scene.first + frame) / planned.board.video.fps)
        yield f"  {scene.first + frame:>{width}}  {seconds:6.2f}s  {'  +  '.join(shares)}"
    yield from (f"drawn    {note}" for note in shot.course.notes)
    yield from _language(shot)
    if any(guidance != 1 for guidance in shot.course.guidance):
        low, high = min(shot.course.guidance), max(shot.course.guidance)
        yield f"guidance {low:g}" + (f" to {high:g}" if high != low else "")
    for name, numbers in shot.curves.items():
        if name != "guidance":
            yield f"curve    {name} {min(numbers):g} to {max(numbers):g}"
    yield f"steps    {scene.sampling.sampler}: {' '.join(f'{level.timestep:g}' for level in shot.course.levels[:-1])}"
    for step, windows in enumerate(shot.windows):
        if step == 0 or windows != shot.windows[step - 1]:
            low, high = shot.coverage(step)
            times = f"{low}" if low == high else f"{low} to {high}"
            yield f"windows  step {step + 1}: {_spans(windows)}   each frame in {times}"


def _seeds(scene: Scene, most: int = 6) -> str:
    """The seeds of a shot, in the order of time."""
    found = [str(seed) for seed in dict.fromkeys(blend.left for blend in scene.seeds())]
    shown = ", ".join(found[:most]) + (" …" if len(found) > most else "")
    return f"seed{'s' * (len(found) > 1)} {shown}"


def _language(shot: ShotPlan) -> Iterator[str]:
    """Yields what prompts say beyond their words: LoRAs that vary, and texts that change over steps."""
    course = shot.course
    for name, values in [*course.varying.items(), *((name, rows[0]) for name, rows in course.stepwise.items())]:
        low, high = min(values), max(values)
        over = ", changing over steps" if name in course.stepwise else ""
        yield f"varying  {name} {low:g}" + (f" to {high:g}" if high != low else "") + over
    for prompted in (course.prompts, course.negative):
        for prompt, edited in enumerate(prompted.edited):
            if edited:
                texts = list(dict.fromkeys(prompted.said(prompt, 0, step) for step in range(prompted.steps)))
                yield f"editing  {' → '.join(texts)}"


def _rows(shot: ShotPlan, every_frame: bool) -> list[int]:
    """The frames to list: all of a short film; of a long one where something begins, and some between."""
    frames = shot.shot.frames
    if every_frame or frames <= ROWS:
        return list(range(frames))
    blends = shot.prompts.frames
    turns = [i for i in range(1, frames) if blends[i][:2] != blends[i - 1][:2]]
    spread = [round(i * (frames - 1) / (ROWS - 1)) for i in range(ROWS)]
    return sorted({0, *turns[:ROWS], *spread})


def _spans(windows: Sequence[FrameNumbers], most: int = 12) -> str:
    shown = [f"{window[0]}-{window[-1]}" for window in windows[:most]]
    return " ".join([*shown, f"and {len(windows) - most} more"] if len(windows) > most else shown)
