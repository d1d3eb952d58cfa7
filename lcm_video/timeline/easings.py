"""How the way from one moment to the next is paced: progress 0..1 → share of the next one."""

import math
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from lcm_video.errors import StoryboardError

Pace: TypeAlias = Callable[[float], float]

NUMBER = r"\s*(-?(?:[0-9]{1,12}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:e-?[0-9]{1,3})?)\s*"
BEZIER = re.compile(rf"bezier\({NUMBER},{NUMBER},{NUMBER},{NUMBER}\)")
HOW_TO_BEND = "write [x1, y1, x2, y2] as in CSS, for example [0.42, 0, 0.58, 1]"
KNOWN = "known: linear, smooth, hold, ease_in, ease_out, ease_in_out, bezier and more: see docs/storyboard.md"
FURTHEST_Y = 10


def _back(x: float) -> float:
    return 2.70158 * x**3 - 1.70158 * x**2


def _elastic(x: float) -> float:
    return -(2 ** (10 * x - 10)) * math.sin((x * 10 - 10.75) * 2 * math.pi / 3)


def _bounce(x: float) -> float:
    """A ball that is dropped at 1 and comes to rest at 0: parabolas, each half as wide as the one before."""
    place = (1 - x) * 2.75
    arcs = ((0.0, 0.0), (1.5, 0.75), (2.25, 0.9375), (2.625, 0.984375))
    centre, height = next((arc for arc in arcs if place <= arc[0] + math.sqrt(1 - arc[1])), arcs[-1])
    return 1 - ((place - centre) ** 2 + height)


FAMILIES: dict[str, Pace] = {
    "": lambda x: x**2,
    "_sine": lambda x: 1 - math.cos(math.pi / 2 * x),
    "_cubic": lambda x: x**3,
    "_quart": lambda x: x**4,
    "_quint": lambda x: x**5,
    "_expo": lambda x: (2 ** (10 * x) - 1) / 1023,
    "_circ": lambda x: 1 - math.sqrt(max(1 - x**2, 0.0)),
    "_back": _back,
    "_elastic": _elastic,
    "_bounce": _bounce,
}
"""The way in of each family; out and in_out are made from it (Penner's names; plain ``ease_in`` is the square)."""

OVERSHOOTING = ("_back", "_elastic")


def _family(name: str, way_in: Pace) -> Iterator[tuple[str, Pace]]:
    """Yields the three easings of a family: gathering pace, losing it, and both."""

    def ease_in(x: float) -> float:
        return x if x in (0, 1) else way_in(x)  # exact at its ends, whatever cosines round to

    yield f"ease_in{name}", ease_in
    yield f"ease_out{name}", lambda x: 1 - ease_in(1 - x)
    yield f"ease_in_out{name}", lambda x: ease_in(2 * x) / 2 if x < 0.5 else 1 - ease_in(2 - 2 * x) / 2


EASINGS: dict[str, Pace] = {
    "linear": lambda x: x,
    "smooth": lambda x: (1 - math.cos(math.pi * x)) / 2,
    "hold": lambda x: 0.0,
    **{ease: pace for name, ease_in in FAMILIES.items() for ease, pace in _family(name, ease_in)},
}
"""How the way from one keyframe to the next is paced: progress 0..1 → share of the next keyframe."""


@lru_cache(maxsize=1024)
def pace(ease: str) -> Pace:
    """What an easing's name, or ``bezier(x1, y1, x2, y2)``, means. Raises StoryboardError for all else."""
    if ease in EASINGS:
        return EASINGS[ease]
    if not ease.startswith("bezier"):
        guess = next((f"did you mean {name!r}? " for name in get_close_matches(ease, EASINGS, n=1)), "")
        raise StoryboardError(f"unknown easing {ease[:40]!r}", remedy=guess + KNOWN)
    return _bezier(*_corners(ease))


def _corners(ease: str) -> tuple[float, float, float, float]:
    """The two inner control points of a curve from (0, 0) to (1, 1)."""
    if not (match := BEZIER.fullmatch(ease)):
        raise StoryboardError(f"{ease[:60]!r} is not a Bézier curve", remedy=HOW_TO_BEND)
    x1, y1, x2, y2 = map(float, match.groups())
    for x in (x1, x2):
        if not 0 <= x <= 1:  # else time would run backwards somewhere
            message = f"x = {x:g} of a Bézier curve is not between 0 and 1"
            raise StoryboardError(message, remedy=f"y may go beyond, x may not: {HOW_TO_BEND}")
    for y in (y1, y2):
        if abs(y) > FURTHEST_Y:
            message = f"y = {y:g} of a Bézier curve is beyond {FURTHEST_Y}"
            raise StoryboardError(message, remedy=HOW_TO_BEND)
    return x1, y1, x2, y2


def _bezier(x1: float, y1: float, x2: float, y2: float) -> Pace:
    """The y of a cubic Bézier curve (0,0) (x1,y1) (x2,y2) (1,1) where its x is the progress, to 1e-9."""

    def paced(x: float) -> float:
        if x <= 0 or x >= 1:
            return 0.0 if x <= 0 else 1.0
        u = _bisected(x, x1, x2)
        if _slope(u, x1, x2) < 1e-3:  # nearly upright: rounding alone would move u by up to 1e-5
            return float(_along(_bisected_exactly(Fraction(x), Fraction(x1), Fraction(x2)), Fraction(y1), Fraction(y2)))
        return _along(u, y1, y2)

    return paced


def _along(u: Any, first: Any, second: Any) -> Any:
    """A coordinate at ``u`` (0..1) of a cubic Bézier curve from 0 over two control points to 1."""
    return u * (3 * (1 - u) * ((1 - u) * first + u * second) + u * u)


def _slope(u: float, first: float, second: float) -> float:
    return 3 * (1 - u) ** 2 * first + 6 * (1 - u) * u * (second - first) + 3 * u * u * (1 - second)


def _bisected(x: float, x1: float, x2: float) -> float:
    """Where on the curve its x is reached: x never falls along it, so halving finds the place."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _along(middle, x1, x2) < x else (low, middle)
    return high


def _bisected_exactly(x: Fraction, x1: Fraction, x2: Fraction) -> Fraction:
    """`_bisected` in fractions: where the curve is upright, rounding of its x must not decide."""
    low, high = Fraction(0), Fraction(1)
    for _ in range(44):
        middle = (low + high) / 2
        low, high = (middle, high) if _along(middle, x1, x2) < x else (low, middle)
    return (low + high) / 2


def _spelled(ease: Any) -> Any:
    """Four numbers in a list are a Bézier curve."""
    if isinstance(ease, list | tuple):
        return f"bezier({', '.join(str(number).removesuffix('.0') for number in ease)})"
    return ease


def _known(ease: str) -> str:
    pace(ease)
    return ease


def _without_overshoot(ease: str) -> str:
    """Refuses what leaves 0..1 on its way: half a prompt is something, minus a tenth of one is not."""
    name = next((name for name in OVERSHOOTING if ease.endswith(name)), "")
    beyond = ease.startswith("bezier") and not all(0 <= y <= 1 for y in _corners(ease)[1::2])
    if name or beyond:
        message = f"{ease} goes beyond its end, which prompts and seeds cannot"
        raise StoryboardError(message, remedy="choose another easing, or y between 0 and 1")
    return _known(ease)


def _shape(names: list[str]) -> WithJsonSchema:
    four = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
    return WithJsonSchema({"anyOf": [{"enum": names}, {"type": "string", "pattern": r"^bezier\(.*\)$"}, four]})


Easing: TypeAlias = Annotated[str, BeforeValidator(_spelled), AfterValidator(_known), _shape([*EASINGS])]
"""An easing of numbers: a name in EASINGS, ``bezier(x1, y1, x2, y2)``, or its four numbers as a list."""

TravelEasing: TypeAlias = Annotated[
    str,
    BeforeValidator(_spelled),
    AfterValidator(_without_overshoot),
    _shape([name for name in EASINGS if not name.endswith(OVERSHOOTING)]),
]
"""An easing that stays between its ends."""
