"""The storyboard: everything a film depends on.

Each section's options, defaults and checks live beside the code that uses them; this file puts them together, and
`shots` says what that means for every shot. To add a section, write its dataclass there and name it in `Storyboard`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.media import Output
from lcm_video.models import Model, Runtime
from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard.video import MAX_FRAMES, FrameCount, Video
from lcm_video.timeline import Keyframe, Point, Prompts, Travel, natural_length, positions
from lcm_video.types import STRICT
from lcm_video.windows import Windows

MAX_PROMPT_CHARACTERS = 1_000_000

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w][\w .-]*$")]

Negative: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Prompts, Tag("<keyframes>")],
    Discriminator(lambda value: "<keyframes>" if isinstance(value, Mapping) else "<text>"),
]
"""What the film should not show: a text, or keyframes like prompts."""

Script: TypeAlias = Annotated[
    Prompts,
    BeforeValidator(
        lambda value: {"0": value} if isinstance(value, str) else value, json_schema_input_type=str | Prompts
    ),
]
"""Prompts at moments; a text alone holds for the whole shot."""


@dataclass(frozen=True, config=STRICT)
class Shot:
    """One of several shots, cut hard; what it leaves out is as in the storyboard.

    prompts: prompts at moments of this shot
    negative: what this shot should not show
    frames: length in frames
    seed: number its noise is drawn from
    sampling: steps, guidance and so on; in YAML only what differs need be written
    start: what it begins from; in YAML only what differs need be written
    """

    prompts: Script = Field(default_factory=dict)
    negative: Negative | None = None
    frames: FrameCount | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    sampling: Sampling | None = None
    start: Start | None = None


@dataclass(frozen=True, config=STRICT)
class Storyboard:
    """A film, completely described.

    prompts: prompts at moments (12, 1.5s, 25%, -1); also of every shot that has none of its own
    shots: several shots by name, in film order, cut hard; without them the film is one shot
    negative: what the film should not show, a text or keyframes; used where guidance is above 1
    video: length, frame rate, size
    model: weights
    sampling: sampler, steps, guidance, seed
    windows: how a long shot is cut for the motion module
    travel: how one prompt turns into the next
    start: an image or video to begin from
    output: file, format, quality
    runtime: device, precision, batch sizes
    vars: texts to use elsewhere as ${vars.name}
    """

    prompts: Script = Field(default_factory=dict)
    shots: dict[Name, Shot] = Field(default_factory=dict)
    negative: Negative = ""
    video: Video = Video()
    model: Model = Model()
    sampling: Sampling = Sampling()
    windows: Windows = Windows()
    travel: Travel = Travel()
    start: Start = Start()
    output: Output = Output()
    runtime: Runtime = Runtime()
    vars: dict[str, str] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_prompts(self)
        scenes = shots(self)
        if (frames := sum(scene.frames for scene in scenes)) > MAX_FRAMES:
            message = f"the film has {frames} frames"
            raise StoryboardError(message, remedy=f"the limit is {MAX_FRAMES}", field="shots" if self.shots else "")
        _check_moments(self, scenes)


class Scene(NamedTuple):
    """One shot with nothing left open: what `shots` makes of a storyboard."""

    name: str  # "" for the only shot of a storyboard without shots
    first: int  # its first frame's number in the film
    frames: int
    prompts: Prompts
    negative: Prompts  # empty: no negative prompt
    sampling: Sampling
    start: Start


def shots(board: Storyboard) -> tuple[Scene, ...]:
    """Every shot in film order, completed by the storyboard's own prompts, negative, length, sampling and start."""
    scenes: list[Scene] = []
    for name, shot in (board.shots or {"": Shot()}).items():
        prompts = shot.prompts or board.prompts
        negative = board.negative if shot.negative is None else shot.negative
        sampling = shot.sampling or board.sampling
        scenes.append(
            Scene(
                name=name,
                first=scenes[-1].first + scenes[-1].frames if scenes else 0,
                frames=shot.frames or board.video.frames or _natural_length(board, name, prompts),
                prompts=prompts,
                negative=negative if isinstance(negative, dict) else {"0": Keyframe(negative)} if negative else {},
                sampling=sampling if shot.seed is None else replace(sampling, seed=shot.seed),
                start=shot.start or board.start,
            )
        )
    return tuple(scenes)


def _own(board: Storyboard, name: str, field: str) -> str:
    """The path of the field that shot ``name`` uses: its own if it has one, else the storyboard's."""
    return f"shots.{name}.{field}" if name and getattr(board.shots[name], field) not in (None, {}) else field


def _natural_length(board: Storyboard, name: str, prompts: Prompts) -> int:
    try:
        return natural_length(prompts, fps=board.video.fps)
    except StoryboardError as error:
        field = f"{_own(board, name, 'prompts')}.{error.field}"
        raise StoryboardError(error.message, remedy=error.remedy, field=field) from None


def _check_prompts(board: Storyboard) -> None:
    """Every shot has prompts, and all together are of a size that a person might have written."""
    for name in board.shots or {"": None}:
        if not board.prompts and (not name or not board.shots[name].prompts):
            message = f"shot {name!r} has no prompts" if name else "there are no prompts"
            raise StoryboardError(
                message, remedy="write prompts: {0: a fox in spring}", field=f"shots.{name}" if name else ""
            )
    texts = [key.text for _, moments in _moments(board) for key in moments.values() if isinstance(key, Keyframe)]
    if (characters := sum(map(len, texts))) >= MAX_PROMPT_CHARACTERS:
        message = f"the prompts have {characters} characters"
        raise StoryboardError(message, remedy=f"the limit is {MAX_PROMPT_CHARACTERS}", field="prompts")


def _check_moments(board: Storyboard, scenes: tuple[Scene, ...]) -> None:
    """Every moment lies in each shot that uses it, and no two on one frame."""
    done = set()
    for scene in scenes:
        for path, moments in _scene_moments(board, scene):
            if (path, scene.frames) in done:
                continue
            done.add((path, scene.frames))
            try:
                positions(moments, fps=board.video.fps, frames=scene.frames, loop=board.video.loop)
            except StoryboardError as error:
                raise StoryboardError(error.message, remedy=error.remedy, field=f"{path}.{error.field}") from None


def _scene_moments(board: Storyboard, scene: Scene) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every map of moments that a shot uses, by its path in the storyboard."""
    yield _own(board, scene.name, "prompts"), scene.prompts
    yield _own(board, scene.name, "negative"), scene.negative
    yield from _moments(scene.sampling, f"{_own(board, scene.name, 'sampling')}.")
    yield from _moments(scene.start, f"{_own(board, scene.name, 'start')}.")
    yield from _moments(board.model, "model.")


def _moments(section: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every map of keyframes or points within a section, by its path."""
    if is_dataclass(section):
        section = {field.name: getattr(section, field.name) for field in fields(section)}
    for name, value in section.items():
        if isinstance(value, dict) and value and isinstance(next(iter(value.values())), Keyframe | Point):
            yield f"{path}{name}", value
        elif is_dataclass(value) or isinstance(value, dict):
            yield from _moments(value, f"{path}{name}.")
