"""Moments: where on a shot's timeline something happens, as people write it.

A moment is a frame (``12``), seconds (``1.5s``, ``1:30``), a share of the shot (``25%``), beats or bars of the music
(``4b``, ``2bar``), or any of them counted back from the end (``-1`` is the last frame).
"""

import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.types import STRICT

FURTHEST = 10**7
"""No moment lies further from frame 0 than this."""

NUMBER = r"[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12}"
MOMENT = re.compile(rf"(-?)({NUMBER})(s|%|b|beats?|bars?)?")
WORDED = re.compile(rf"(-?)(beat|bar) ({NUMBER})")
CLOCK = re.compile(r"(-?)([0-9]{1,4}):([0-5]?[0-9](?:\.[0-9]{0,12})?)")
HOW_TO_WRITE_A_MOMENT = "write a frame (12), seconds (1.5s), a share of the shot (25%) or count from the end (-1)"
UNITS = {"b": "beat", "beats": "beat", "bars": "bar"}


def _spelled(moment: Any) -> Any:
    """Moments may be given as numbers from Python; what is not a moment is refused here, before fps is known."""
    text = str(moment) if isinstance(moment, int | float) else moment
    if isinstance(text, str):
        parts(text)
    return text


Moment: TypeAlias = Annotated[str, BeforeValidator(_spelled)]


@dataclass(frozen=True, config=STRICT)
class Tempo:
    """The beat of the film's music, by which moments such as ``4b`` and ``2bar`` are counted.

    bpm: beats per minute, 1 to 1000
    offset: seconds from the film's beginning to the first beat, which is beat 0 and begins bar 0
    beats: beats in a bar, 1 to 64
    """

    bpm: Annotated[float, Field(ge=1, le=1000)]
    offset: Annotated[float, Field(ge=0, le=3600)] = 0.0
    beats: Annotated[int, Field(ge=1, le=64)] = 4

    def first_beat(self, unit: str, *, after: Fraction) -> Fraction:
        """Seconds from ``after`` (seconds of the film) to the next beat or bar."""
        offset = Fraction(str(self.offset))
        return offset + max(0, math.ceil((after - offset) / self.seconds(unit))) * self.seconds(unit) - after

    def seconds(self, unit: str) -> Fraction:
        """How long a beat or a bar is."""
        return 60 / Fraction(str(self.bpm)) * (self.beats if unit == "bar" else 1)


def parse_moment(
    moment: str, *, fps: Fraction | float, frames: int, tempo: Tempo | None = None, first: int = 0
) -> float:
    """A position in frames, 0 or more, not yet rounded; ``frames`` is the shot's length, ``first`` its first frame.

    Beat 0 of a shot is the music's first beat in it: a shot that begins between two beats keeps time.
    Raises StoryboardError for what is not a moment, lies before frame 0, or further than 10,000,000 frames.

    >>> [parse_moment(moment, fps=8, frames=48) for moment in ("12", "1.5s", "25%", "-1")]
    [12.0, 12.0, 12.0, 47.0]
    """
    number, unit = parts(moment)
    distance = number
    if unit == "s":
        distance = float(number * fps)
    elif unit == "%":
        distance = number / 100 * frames
    elif unit:
        distance = _beats(moment, number, unit, fps=fps, tempo=tempo, first=first)
    position = frames + distance if distance < 0 else distance
    if position < 0:
        message = f"moment {moment!r} is before the first of {frames} frames"
        raise StoryboardError(message, remedy=f"the first frame is 0, or -{frames}", field=moment)
    if position > FURTHEST:
        message = f"moment {moment!r} is frame {position:.0f}"
        raise StoryboardError(message, remedy=f"the limit is frame {FURTHEST}", field=moment)
    return position


def _beats(moment: str, number: float, unit: str, *, fps: Fraction | float, tempo: Tempo | None, first: int) -> float:
    """Frames from the shot's beginning to a beat or bar; before the end, their length alone counts."""
    if not tempo:
        message = f"moment {moment!r} needs the music's tempo"
        raise StoryboardError(message, remedy="set video.tempo to beats per minute, for example 120", field=moment)
    rate = Fraction(fps)
    waiting = tempo.first_beat(unit, after=first / rate) if number >= 0 else Fraction(0)
    return float((waiting + Fraction(number) * tempo.seconds(unit)) * rate)


def parts(moment: str) -> tuple[float, str]:
    """A moment's signed number and its unit: s, %, beat, bar or none."""
    if match := MOMENT.fullmatch(moment):
        sign, number, unit = match.groups("")
        return float(sign + number) or 0.0, UNITS.get(unit, unit)
    if match := WORDED.fullmatch(moment):
        sign, unit, number = match.groups()
        return float(sign + number) or 0.0, unit
    if match := CLOCK.fullmatch(moment):
        seconds = int(match[2]) * 60 + float(match[3])
        return -seconds or 0.0 if match[1] else seconds, "s"
    shown = moment if len(moment) <= 40 else f"{moment[:40]}…"
    raise StoryboardError(f"{shown!r} is not a moment", remedy=HOW_TO_WRITE_A_MOMENT, field=moment)


def is_moment(text: str) -> bool:
    """Whether a text is written as a moment."""
    try:
        parts(text)
    except StoryboardError:
        return False
    return True


def natural_length(moments: Iterable[str], *, fps: Fraction | float, tempo: Tempo | None = None, first: int = 0) -> int:
    """How many frames a shot has whose length is not given: up to its last keyframe; 16 if all is at frame 0.

    Raises StoryboardError for shares and moments counted from the end, which need the length first.
    """
    last = 0
    for moment in moments:
        number, unit = parts(moment)
        if unit == "%" or number < 0:
            message = f"moment {moment!r} needs the film's length"
            raise StoryboardError(message, remedy="set video.frames, or the shot's frames", field=moment)
        last = max(last, _nearest(parse_moment(moment, fps=fps, frames=0, tempo=tempo, first=first)))
    return last + 1 if last else 16


def positions(
    moments: Iterable[str],
    *,
    fps: Fraction | float,
    frames: int,
    loop: bool = False,
    tempo: Tempo | None = None,
    first: int = 0,
) -> dict[int, str]:
    """The frame of every moment, in film order: frame → moment.

    Raises StoryboardError, naming both, where two share a frame; in a loop the end and the beginning are one.
    """
    found: dict[int, str] = {}
    for placed in _placed(moments, found, loop=loop, fps=fps, frames=frames, tempo=tempo, first=first):
        raise placed
    return dict(sorted(found.items()))


def misplaced(moments: Iterable[str], *, frames: int, **time) -> list[StoryboardError]:
    """All that `positions` would refuse, one error for each moment."""
    return [*_placed(moments, {}, frames=frames, **time)]


def _placed(
    moments: Iterable[str], found: dict[int, str], *, frames: int, loop: bool = False, **time
) -> Iterator[StoryboardError]:
    """Fills ``found``, frame → moment, and yields what is wrong with those that have no frame of their own."""
    for moment in moments:
        try:
            frame = _nearest(parse_moment(moment, frames=frames, **time))
            if loop and frame >= frames:
                if frame > frames:
                    message = f"moment {moment!r} is frame {frame}, beyond a loop of {frames} frames"
                    raise StoryboardError(message, remedy="move it, or raise video.frames", field=moment)
                frame = 0  # the end of a loop is its beginning
            if frame in found:
                message = f"moments {found[frame]!r} and {moment!r} are both frame {frame}"
                raise StoryboardError(message, remedy="move or remove one of them", field=moment)
            found[frame] = moment
        except StoryboardError as error:
            yield error


def _nearest(position: float) -> int:
    return math.floor(position + 0.5)
