"""Deforum's schedules, ``0: (0.65), 10: (sin(t/5))``, as curves of a storyboard.

Numbers are joined by straight lines; an expression goes on, frame by frame, until the next one begins.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.importers.values import number, shown
from lcm_video.timeline.arithmetic import FUNCTIONS, Now
from lcm_video.timeline.expressions import parse

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
KNOWN = {"t", "pi", "max_f", *FUNCTIONS}
"""What means the same in expressions there and here."""

BLANKS = re.compile(r"[\s,]*")

MOST_POINTS = 10_000


class Unreadable(ValueError):
    """Why a schedule cannot be a curve."""


def curve(text: Any, *, frames: int, low: float, high: float) -> tuple[Any, str]:
    """The schedule as a number or a curve from ``low`` to ``high``, and why it is not the same.

    Raises Unreadable for one that cannot be written as a curve.
    """
    if (plain := number(text)) is not None:
        text = f"0: ({plain})"
    found = {frame(key, frames): _value(value, frames) for key, value in _entries(text)}
    points = dict(sorted(found.items()))
    if not points:
        raise Unreadable("it is empty")
    reasons: list[str] = []
    for at, value in points.items():
        if isinstance(value, float) and not low <= value <= high:
            points[at] = min(max(value, low), high)
            reasons.append(f"{value:g} is not between {low:g} and {high:g}")
    if any(isinstance(value, str) for value in points.values()):
        points = _bounded(points, frames, low, high)
        if _leads_into_expression(points):
            reasons.append("a number before an expression moves towards it as it changes")
    if len(points) == 1:
        (only,) = points.values()
        return only, "; ".join(reasons)
    curve = {
        str(at): {"value": value, "ease": "hold"} if isinstance(value, str) else value for at, value in points.items()
    }
    return curve, "; ".join(reasons)


def expression(text: str, frames: int) -> str:
    """An expression as ours: the same arithmetic, Deforum's name for the last frame written out.

    Raises Unreadable for one that means something else here, or nothing.
    """
    if strange := [word for word in WORD.findall(re.sub(r"[0-9][eE]", "0", text)) if word not in KNOWN]:
        raise Unreadable(f"{strange[0][:20]!r} has no meaning in expressions here")
    text = re.sub(r"\bmax_f\b", str(frames - 1), text).strip()
    try:
        parse(text)
    except StoryboardError as error:
        raise Unreadable(error.message) from None
    return text


def _entries(text: Any) -> Iterator[tuple[str, str]]:
    """Yields what stands before each colon and within the brackets behind it."""
    if not isinstance(text, str):
        raise Unreadable(f"{shown(text)} is no schedule")
    place = _behind_blanks(text, 0)
    for _ in range(MOST_POINTS):
        if place == len(text):
            return
        colon = text.find(":", place)
        end = _closing(text, colon + 1) if colon >= 0 else -1
        if end < 0:
            break
        yield text[place:colon].strip(" \t\n\"'"), text[colon + 1 : end].strip()[1:-1]
        place = _behind_blanks(text, end)
    raise Unreadable(f"{shown(text[place : place + 30].strip())} is no frame with a value in brackets")


def _behind_blanks(text: str, place: int) -> int:
    blanks = BLANKS.match(text, place)
    return blanks.end() if blanks else place


def _closing(text: str, place: int) -> int:
    """Behind the bracket that closes the one which opens at ``place``, blanks aside; -1 if none does."""
    depth = 0
    for at in range(place, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0 and not text[at].isspace():
            return at + 1 if text[at] == ")" else -1
    return -1


def frame(key: str, frames: int) -> int:
    """The frame that a key, maybe an expression of the last one, stands for."""
    if key.isdecimal() and len(key) < 9:
        return int(key)
    try:
        at = parse(expression(key, frames)).at(Now(0, 0, frames, 1, {}))
    except StoryboardError as error:
        raise Unreadable(error.message) from None
    if not 0 <= at < 10**7:
        raise Unreadable(f"{key[:20]!r} is no frame of the film")
    return int(at)


def _value(text: str, frames: int) -> float | str:
    found = number(text)
    return expression(text, frames) if found is None else float(found)


def _leads_into_expression(points: dict[int, float | str]) -> bool:
    kinds = [isinstance(value, str) for value in points.values()]
    return any(not here and following for here, following in pairwise(kinds))


def _bounded(points: dict[int, float | str], frames: int, low: float, high: float) -> dict[int, float | str]:
    """The points, expressions held within the range where they leave it in a frame that they reach."""
    ends = [*list(points)[1:], frames]
    begins = [0, *points]  # from the point before on, a number moves towards the expression
    bounded = dict(points)
    for (at, text), begin, end in zip(points.items(), begins, ends, strict=False):
        if isinstance(text, str):
            try:
                computed = parse(text)
                numbers = [
                    computed.at(Now(float(t), 0, frames, 1, {})) for t in range(begin, min(max(end, at + 1), frames))
                ]
                if min(numbers, default=low) < low or max(numbers, default=high) > high:
                    bounded[at] = parse(f"clamp({text}, {low:g}, {high:g})").text
            except StoryboardError as error:
                raise Unreadable(error.message) from None
    return bounded
