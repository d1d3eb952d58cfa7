"""What expressions are made of: variables, functions, operators. To add one, add it to its table."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias


class Now(NamedTuple):
    """What an expression's variables are in one frame."""

    t: float  # frame in its shot, from 0
    s: float  # seconds in its shot
    n: float  # frames of the shot
    fps: float
    curves: Mapping[str, Sequence[float]]  # named curves by frame


Evaluate: TypeAlias = Callable[[Now], float]

VARIABLES: dict[str, Evaluate] = {
    "t": lambda now: now.t,
    "s": lambda now: now.s,
    "n": lambda now: now.n,
    "frames": lambda now: now.n,
    "fps": lambda now: now.fps,
    "pi": lambda now: math.pi,
}


def power(base: float, exponent: float) -> float:
    """``base ** exponent``. Raises ValueError where that is no real number."""
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("the root of a negative number")
    return result


def _clamp(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _smoothstep(low: float, high: float, x: float) -> float:
    share = _clamp((x - low) / (high - low), 0.0, 1.0)
    return share * share * (3 - 2 * share)


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "min": (lambda *numbers: min(numbers), 0),
    "max": (lambda *numbers: max(numbers), 0),
    "abs": (abs, 1),
    "sin": (math.sin, 1),
    "cos": (math.cos, 1),
    "tan": (math.tan, 1),
    "sqrt": (math.sqrt, 1),
    "exp": (math.exp, 1),
    "log": (math.log, 1),
    "floor": (lambda x: float(math.floor(x)), 1),
    "ceil": (lambda x: float(math.ceil(x)), 1),
    "round": (lambda x: float(math.floor(x + 0.5)), 1),
    "clamp": (_clamp, 3),
    "lerp": (lambda left, right, share: left + (right - left) * share, 3),
    "smoothstep": (_smoothstep, 3),
}
"""Functions by name, and how many arguments each takes; 0 is one or more."""

OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
