"""What is wrong with a storyboard whose fields, each for itself, are right: all of it at once."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from lcm_video import timeline
from lcm_video.errors import StoryboardError
from lcm_video.prompts.checks import faults as prompt_faults, unknown_wildcards
from lcm_video.storyboard.called import prompt_texts
from lcm_video.storyboard.scenes import Scene, own, shots
from lcm_video.storyboard.video import MAX_FRAMES
from lcm_video.timeline import Curve, Heard, Keyframe, Point, SeedPoint, calls, misplaced, used, within

if TYPE_CHECKING:
    from lcm_video.storyboard.board import Storyboard

MAX_PROMPT_CHARACTERS = 1_000_000


class StoryboardFaults(StoryboardError):
    """Several errors at once; its own message and field are the first one's."""

    def __init__(self, faults: list[StoryboardError]) -> None:
        super().__init__(faults[0].message, remedy=faults[0].remedy, field=faults[0].field)
        self.faults = tuple(faults)


def check(board: "Storyboard", *, sounds: bool = False) -> None:
    """Raises what is wrong: a StoryboardError, or StoryboardFaults for more than one.

    Curves that follow sounds are only read with ``sounds``; then nothing else is checked again.
    """
    faults: list[StoryboardError] = []
    if not sounds:
        faults = [*_of_prompts(board), *_of_language(board), *_of_lengths(board)]
    if not faults:  # what follows needs every shot's length
        scenes = shots(board)
        faults = [*(() if sounds else _of_frames(board, scenes)), *_of_scenes(board, scenes, sounds=sounds)]
    if faults:
        raise faults[0] if len(faults) == 1 else StoryboardFaults(faults)


def _of_prompts(board: "Storyboard") -> Iterator[StoryboardError]:
    """Every shot has prompts, and all together are of a size that a person might have written."""
    for name in board.shots or {"": None}:
        if not board.prompts and (not name or not board.shots[name].prompts):
            message = f"shot {name!r} has no prompts" if name else "there are no prompts"
            remedy = "write prompts: {0: a fox in spring}"
            yield StoryboardError(message, remedy=remedy, field=f"shots.{name}" if name else "")
    maps = (value for _, value, _ in _varying(board) if isinstance(value, Mapping))
    texts = [key.text for moments in maps for key in moments.values() if isinstance(key, Keyframe)]
    if (characters := sum(map(len, texts))) >= MAX_PROMPT_CHARACTERS:
        message = f"the prompts have {characters} characters"
        yield StoryboardError(message, remedy=f"the limit is {MAX_PROMPT_CHARACTERS}", field="prompts")


def _of_language(board: "Storyboard") -> Iterator[StoryboardError]:
    """Yields what is wrong within prompts, each fault at its column."""
    reading = board.model.emphasis
    for path, text, negative in prompt_texts(board):
        wrong = prompt_faults(text, reading=reading, curves=board.curves, negative=negative)
        for fault in (*wrong, *unknown_wildcards(text, board.wildcards)):
            fault.field = path
            yield fault


def _of_lengths(board: "Storyboard") -> Iterator[StoryboardError]:
    try:
        shots(board)
    except StoryboardError as error:
        yield error


def _of_frames(board: "Storyboard", scenes: tuple[Scene, ...]) -> Iterator[StoryboardError]:
    if (frames := sum(scene.frames for scene in scenes)) > MAX_FRAMES:
        message = f"the film has {frames} frames"
        yield StoryboardError(message, remedy=f"the limit is {MAX_FRAMES}", field="shots" if board.shots else "")


def _of_scenes(board: "Storyboard", scenes: tuple[Scene, ...], *, sounds: bool) -> Iterator[StoryboardError]:
    """Yields what is wrong with moments and curves in any shot that uses them, each fault once."""
    told = set()
    for scene in scenes:
        broken: set[str] = set()  # named curves that are wrong: told once, not again wherever they are used
        for path, value, limits in _of_scene(board, scene):
            name = path.removeprefix("curves.") if path.startswith("curves.") else ""
            if any(called in broken for _, called, _ in calls(value)):
                broken.add(name)
                continue
            for fault in _of_curve(scene, value, limits, name=name, sounds=sounds):
                broken.add(name)
                field = ".".join(filter(None, [path, fault.field]))
                if (field, fault.message) not in told:
                    told.add((field, fault.message))
                    fault.field = field
                    yield fault


def _of_scene(board: "Storyboard", scene: Scene) -> Iterator[tuple[str, Any, within | None]]:
    """Yields all that varies in a shot: its path in the storyboard, its value, its range."""
    yield from ((f"curves.{name}", curve, None) for name, curve in board.curves.items())
    yield own(board, scene.name, "prompts"), scene.prompts, None
    yield own(board, scene.name, "negative"), scene.negative, None
    seed = own(board, scene.name, "seed") if scene.name else ""
    for path, value, limits in _varying(scene.sampling, f"{own(board, scene.name, 'sampling')}."):
        yield seed if seed.startswith("shots.") and path.endswith(".seed") else path, value, limits
    yield from _varying(scene.start, f"{own(board, scene.name, 'start')}.")
    yield from _varying(board.model, "model.")


@cache
def _ranges(section: type) -> dict[str, within]:
    return timeline.ranges(section)


def _varying(section: Any, path: str = "") -> Iterator[tuple[str, Any, within | None]]:
    """Yields every curve, and every map of keyframes, points or seeds within a section."""
    limits: dict[str, within] = {}
    values: Any = section
    if is_dataclass(section) and not isinstance(section, type):
        limits = _ranges(type(section))
        values = {field.name: getattr(section, field.name) for field in fields(section)}
    for name, value in values.items():
        first = next(iter(value.values()), None) if isinstance(value, dict) else None
        if name in limits or isinstance(first, Keyframe | Point | SeedPoint):
            yield f"{path}{name}", value, limits.get(name)
        elif is_dataclass(value) or isinstance(value, dict):
            yield from _varying(value, f"{path}{name}.")


def _of_curve(scene: Scene, value: Any, limits: within | None, *, name: str, sounds: bool) -> Iterator[StoryboardError]:
    """Yields what is wrong with keyframes, seeds or a curve in one shot; the field of each is within the value.

    A curve with a ``name`` is evaluated by it, because it may only use those above it.
    """
    if isinstance(value, Mapping) and not sounds:
        time = {"fps": scene.fps, "tempo": scene.film.tempo, "first": scene.first}
        faults = misplaced(value, frames=scene.frames, loop=scene.loop, **time)
        yield from faults
        if faults:
            return
    is_curve = not isinstance(value, Mapping) or isinstance(next(iter(value.values()), None), Point)
    if not is_curve or isinstance(value, float | int):
        return
    try:
        curve: Any = f"@{name}" if name else value
        if _needs_sound(scene, curve) == sounds:
            numbers = scene.values(curve)
            if limits:
                limits.check_frames(numbers)
    except StoryboardError as error:
        yield error


def _needs_sound(scene: Scene, curve: Curve) -> bool:
    if isinstance(curve, Heard):
        return True
    return any(isinstance(scene.film.curves[name], Heard) for name in used(curve, scene.film))
