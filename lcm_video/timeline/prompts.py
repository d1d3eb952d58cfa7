"""Prompt travel: keyframes in, one blend of two prompts per frame out. Pure Python, no tensors.

A keyframe sits on the frame nearest to its moment, and there its prompt is alone.
"""

from fractions import Fraction
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic.dataclasses import dataclass

from lcm_video.timeline.curves import short
from lcm_video.timeline.easings import TravelEasing
from lcm_video.timeline.film import ALONE, Film
from lcm_video.timeline.moments import Moment
from lcm_video.timeline.tracks import Track
from lcm_video.types import STRICT


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
    ease: TravelEasing = "linear"


Prompts: TypeAlias = dict[Moment, Annotated[Keyframe, short("text", str | Keyframe)]]
"""Prompts at moments: ``{"0": "a fox", "2s": {"text": "a hare", "ease": "smooth"}}``."""


class Blend(NamedTuple):
    """One frame's place between two prompts; ``mix`` 0 is all ``left``, 1 is all ``right``."""

    left: int
    right: int
    mix: float


class Timeline(NamedTuple):
    """A whole shot's prompts, each once: ``frames[i]`` blends two of ``prompts``."""

    prompts: tuple[str, ...]
    frames: tuple[Blend, ...]


def plan(prompts: Prompts, *, fps: Fraction | float, frames: int, loop: bool = False, film: Film = ALONE) -> Timeline:
    """Places every frame of a shot between the keyframes around it; no prompts at all count as one empty prompt.

    Before the first keyframe and after the last, the nearest prompt holds; with ``loop``, the last travels back to
    the first, so that the film's end meets its beginning. Raises StoryboardError for two moments on one frame.
    """
    track = Track(prompts or {"0": Keyframe("")}, fps=fps, frames=frames, loop=loop, film=film)
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
