"""Prompt travel: keyframes in, one blend of two prompts per frame out. Pure Python, no tensors.

A moment is a frame (``12``), seconds (``1.5s``), a share of the shot (``25%``), or any of them counted back from the
end (``-1`` is the last frame). A keyframe sits on the frame nearest to its moment, and there its prompt is alone.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.timeline.moments import natural_length, parse_moment, parts, positions
from lcm_video.types import STRICT

__all__ = [
    "EASINGS",
    "Blend",
    "Curve",
    "Keyframe",
    "Moment",
    "Point",
    "Prompts",
    "Timeline",
    "Travel",
    "natural_length",
    "parse_moment",
    "plan",
    "positions",
    "values",
    "within",
]

EASINGS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "smooth": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "hold": lambda x: 0.0,
    "ease_in": lambda x: x**2,
    "ease_out": lambda x: 1 - (1 - x) ** 2,
    "ease_in_out": lambda x: 2 * x**2 if x < 0.5 else 1 - 2 * (1 - x) ** 2,
}
"""How the way from one keyframe to the next is paced: progress 0..1 → share of the next keyframe."""


def _known_easing(ease: str) -> str:
    if ease not in EASINGS:
        raise StoryboardError(f"unknown easing {ease!r}", remedy=did_you_mean(ease, EASINGS))
    return ease


Easing: TypeAlias = Annotated[str, AfterValidator(_known_easing), Field(json_schema_extra={"enum": [*EASINGS]})]


@dataclass(frozen=True, config=STRICT)
class Travel:
    """How one prompt turns into the next.

    blend: linear mixes encodings in a straight line; slerp turns from one to the other, keeping their length
    """

    blend: Literal["linear", "slerp"] = "linear"


@dataclass(frozen=True, config=STRICT)
class Keyframe:
    """A prompt at a moment.

    text: the prompt
    ease: how the travel from this prompt to the next is paced
    """

    text: str
    ease: Easing = "linear"


@dataclass(frozen=True, config=STRICT)
class Point:
    """A number at a moment.

    value: the number
    ease: how the way from this number to the next is paced
    """

    value: float
    ease: Easing = "linear"


def _short(field: str, short: Any) -> BeforeValidator:
    """Lets a keyframe or point be written as its main field alone: ``0: a fox`` for ``0: {text: a fox}``."""
    return BeforeValidator(
        lambda value: {field: value} if isinstance(value, str | int | float) else value, json_schema_input_type=short
    )


def _spelled(moment: Any) -> Any:
    """Moments may be given as numbers from Python; what is not a moment is refused here, before fps is known."""
    text = str(moment) if isinstance(moment, int | float) else moment
    if isinstance(text, str):
        parts(text)
    return text


Moment: TypeAlias = Annotated[str, BeforeValidator(_spelled)]

Prompts: TypeAlias = dict[Moment, Annotated[Keyframe, _short("text", str | Keyframe)]]
"""Prompts at moments: ``{"0": "a fox", "2s": {"text": "a hare", "ease": "smooth"}}``."""

# A tag tells pydantic which alternative was meant, so that only that one's errors are told. Angle brackets mark it as
# no field's name where it turns up in an error's path.
Curve: TypeAlias = Annotated[
    Annotated[float, Tag("<number>")]
    | Annotated[dict[Moment, Annotated[Point, _short("value", float | Point)]], Tag("<curve>")],
    Discriminator(lambda value: "<curve>" if isinstance(value, Mapping) else "<number>"),
]
"""A number, or numbers at moments: ``1.5`` or ``{"0": 1, "2s": {"value": 2, "ease": "smooth"}}``."""


def within(low: float, high: float) -> AfterValidator:
    """A check for a Curve field, as in ``guidance: Annotated[Curve, within(0, 30)]``: every value lies in the range."""

    def check(curve: Any) -> Any:
        points = {"": curve} if isinstance(curve, float) else {at: point.value for at, point in curve.items()}
        for moment, value in points.items():
            if not low <= value <= high:
                message = f"{value:g} is not between {low:g} and {high:g}"
                raise StoryboardError(message, remedy=f"choose a number from {low:g} to {high:g}", field=moment)
        if not points:
            raise StoryboardError("a curve needs at least one moment", remedy="write a number, or {0: 1, 2s: 0.5}")
        return curve

    return AfterValidator(check)


class Blend(NamedTuple):
    """One frame's place between two prompts; ``mix`` 0 is all ``left``, 1 is all ``right``."""

    left: int
    right: int
    mix: float


class Timeline(NamedTuple):
    """A whole shot's prompts, each once: ``frames[i]`` blends two of ``prompts``."""

    prompts: tuple[str, ...]
    frames: tuple[Blend, ...]


def plan(prompts: Prompts, *, fps: Fraction | float, frames: int, loop: bool = False) -> Timeline:
    """Places every frame of a shot between the keyframes around it; no prompts at all count as one empty prompt.

    Before the first keyframe and after the last, the nearest prompt holds; with ``loop``, the last travels back to
    the first, so that the film's end meets its beginning. Raises StoryboardError for two moments on one frame.
    """
    track = _Track(prompts or {"0": Keyframe("")}, fps=fps, frames=frames, loop=loop)
    numbers: dict[str, int] = {}
    for key in track.keys[int(loop) :]:  # in film order: a loop's first key is a copy of its last
        numbers.setdefault(key.text, len(numbers))
    places = [numbers[key.text] for key in track.keys]

    def blend(frame: int) -> Blend:
        left, right, mix = track.between(frame)
        if places[left] == places[right] or mix == 0:
            return Blend(places[left], places[left], 0.0)
        return Blend(places[left], places[right], mix)

    return Timeline(tuple(numbers), tuple(map(blend, range(frames))))


def values(curve: Curve, *, fps: Fraction | float, frames: int, loop: bool = False) -> tuple[float, ...]:
    """One number per frame, by the same rules as `plan`; a plain number stays itself.

    >>> values({"0": Point(1), "4": Point(2)}, fps=8, frames=6)
    (1.0, 1.25, 1.5, 1.75, 2.0, 2.0)
    """
    if not isinstance(curve, Mapping):
        return (float(curve),) * frames
    track = _Track(curve, fps=fps, frames=frames, loop=loop)

    def value(frame: int) -> float:
        left, right, mix = track.between(frame)
        low, high = track.keys[left].value, track.keys[right].value
        return low if mix == 0 else low + (high - low) * mix

    return tuple(map(value, range(frames)))


class _Track:
    """Keyframes or points in film order, and where a frame lies between them."""

    def __init__(self, moments: Mapping[str, Any], *, fps: Fraction | float, frames: int, loop: bool) -> None:
        marks = [(at, moments[moment]) for at, moment in positions(moments, fps=fps, frames=frames, loop=loop).items()]
        if loop:  # the neighbours beyond the seam: the last before the film begins, the first after it ends
            (first_at, first), (last_at, last) = marks[0], marks[-1]
            marks = [(last_at - frames, last), *marks, (first_at + frames, first)]
        self.times = [at for at, _ in marks]
        self.keys = [key for _, key in marks]

    def between(self, frame: int) -> tuple[int, int, float]:
        """The keys left and right of a frame, and the share of the right one."""
        after = bisect_right(self.times, frame)
        left, right = max(after - 1, 0), min(after, len(self.times) - 1)
        if left == right:
            return left, left, 0.0
        progress = (frame - self.times[left]) / (self.times[right] - self.times[left])
        return left, right, EASINGS[self.keys[left].ease](progress)
