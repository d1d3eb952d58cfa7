"""Moments: where on a shot's timeline something happens, as people write it.

A moment is a frame (``12``), seconds (``1.5s``), a share of the shot (``25%``), or any of them counted back from the
end (``-1`` is the last frame).
"""

import math
import re
from collections.abc import Iterable
from fractions import Fraction

from lcm_video.errors import StoryboardError

FURTHEST = 10**7
"""No moment lies further from frame 0 than this."""

MOMENT = re.compile(r"(-?)([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(s|%)?")
HOW_TO_WRITE_A_MOMENT = "write a frame (12), seconds (1.5s), a share of the shot (25%) or count from the end (-1)"


def parse_moment(moment: str, *, fps: Fraction | float, frames: int) -> float:
    """A position in frames, 0 or more, not yet rounded; ``frames`` is the shot's length.

    Raises StoryboardError for what is not a moment, lies before frame 0, or further than 10,000,000 frames.

    >>> [parse_moment(moment, fps=8, frames=48) for moment in ("12", "1.5s", "25%", "-1")]
    [12.0, 12.0, 12.0, 47.0]
    """
    number, unit = parts(moment)
    distance = float(number * fps) if unit == "s" else number / 100 * frames if unit == "%" else number
    position = frames + distance if distance < 0 else distance
    if position < 0:
        message = f"moment {moment!r} is before the first of {frames} frames"
        raise StoryboardError(message, remedy=f"the first frame is 0, or -{frames}", field=moment)
    if position > FURTHEST:
        message = f"moment {moment!r} is frame {position:.0f}"
        raise StoryboardError(message, remedy=f"the limit is frame {FURTHEST}", field=moment)
    return position


def parts(moment: str) -> tuple[float, str]:
    """A moment's signed number and its unit: s, % or none."""
    if not (match := MOMENT.fullmatch(moment)):
        remedy = HOW_TO_WRITE_A_MOMENT
        if clock := re.fullmatch(r"([0-9]{1,4}):([0-5]?[0-9](?:\.[0-9]{1,6})?)s?", moment):
            remedy = f"write it in seconds: {int(clock[1]) * 60 + float(clock[2]):g}s"
        shown = moment if len(moment) <= 40 else f"{moment[:40]}…"
        raise StoryboardError(f"{shown!r} is not a moment", remedy=remedy, field=moment)
    return float(match[1] + match[2]) or 0.0, match[3] or ""


def natural_length(moments: Iterable[str], *, fps: Fraction | float) -> int:
    """How many frames a shot has whose length is not given: up to its last keyframe; 16 if all is at frame 0.

    Raises StoryboardError for shares and moments counted from the end, which need the length first.
    """
    last = 0
    for moment in moments:
        number, unit = parts(moment)
        if unit == "%" or number < 0:
            message = f"moment {moment!r} needs the film's length"
            raise StoryboardError(message, remedy="set video.frames, or the shot's frames", field=moment)
        last = max(last, _nearest(parse_moment(moment, fps=fps, frames=0)))
    return last + 1 if last else 16


def positions(moments: Iterable[str], *, fps: Fraction | float, frames: int, loop: bool = False) -> dict[int, str]:
    """The frame of every moment, in film order: frame → moment.

    Raises StoryboardError, naming both, where two share a frame; in a loop the end and the beginning are one.
    """
    found: dict[int, str] = {}
    for moment in moments:
        frame = _nearest(parse_moment(moment, fps=fps, frames=frames))
        if loop and frame >= frames:
            if frame > frames:
                message = f"moment {moment!r} is frame {frame}, beyond a loop of {frames} frames"
                raise StoryboardError(message, remedy="move it, or raise video.frames", field=moment)
            frame = 0  # the end of a loop is its beginning
        if frame in found:
            message = f"moments {found[frame]!r} and {moment!r} are both frame {frame}"
            raise StoryboardError(message, remedy="move or remove one of them", field=moment)
        found[frame] = moment
    return dict(sorted(found.items()))


def _nearest(position: float) -> int:
    return math.floor(position + 0.5)
