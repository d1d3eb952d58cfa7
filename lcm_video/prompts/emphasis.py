"""Emphasis: how strongly each part of a prompt counts, as AUTOMATIC1111's web UI and as ComfyUI read it.

Both read any text at all: a bracket without its partner means what it means in that program.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import groupby
from math import isfinite
from typing import NamedTuple

from lcm_video.errors import StoryboardError

MAX_DEPTH = 100
"""Brackets within brackets that are followed."""


class Run(NamedTuple):
    """A part of a prompt and its weight, 1 for plain text. A ``broken`` run ends the chunk it stands in."""

    text: str
    weight: float = 1.0
    broken: bool = False


BREAK = Run("BREAK", 1.0, broken=True)

MARKS = re.compile(r"\\[()\[\]\\]|\\|[(\[\])]|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|[^\\()\[\]:]+|:")
UP, DOWN = 1.1, 1 / 1.1


def a1111(text: str) -> list[Run]:
    r"""``(a)`` and ``[a]`` weigh 1.1 and 1/1.1, ``(a:1.3)`` weighs 1.3; brackets within brackets multiply.

    A backslash makes a bracket literal, and is gone. BREAK ends the chunk.

    >>> [(run.text, run.weight) for run in a1111("a (b (c:0.5):2)")]
    [('a ', 1.0), ('b ', 2.0), ('c', 1.0)]
    """
    words: list[Run] = []
    rounds, squares = _Brackets(), _Brackets()
    for match in MARKS.finditer(text):
        mark, weight = match[0], match["weight"]
        if mark in ("(", "["):
            (rounds if mark == "(" else squares).open(len(words))
        elif weight is not None and rounds.waiting:
            rounds.close(len(words), _number(weight))
        elif mark == ")" and rounds.waiting:
            rounds.close(len(words), UP)
        elif mark == "]" and squares.waiting:
            squares.close(len(words), DOWN)
        elif mark.startswith("\\"):
            words.append(Run(mark[1:]))
        else:
            first, *rest = re.split(r"\s*\bBREAK\b\s*", mark) if "BREAK" in mark else [mark]
            words += [Run(first), *(run for part in rest for run in (BREAK, Run(part)))]
    factors = zip(rounds.factors(len(words), UP), squares.factors(len(words), DOWN), strict=True)
    runs = [run._replace(weight=_finite(up * down)) for run, (up, down) in zip(words, factors, strict=True)]
    return list(_joined(runs)) or [Run("")]


class _Brackets:
    """Brackets of one kind, which are always properly nested among themselves."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.spans: list[tuple[int, int, float]] = []

    def open(self, start: int) -> None:
        self.waiting.append(start)

    def close(self, end: int, factor: float) -> None:
        self.spans.append((self.waiting.pop(), end, factor))

    def factors(self, count: int, unclosed: float) -> Iterator[float]:
        """Yields what each of ``count`` words is multiplied by; brackets that never close reach to the end."""
        spans = [*self.spans, *((start, count, unclosed) for start in reversed(self.waiting))]
        begins: dict[int, list[tuple[int, float]]] = {}
        for start, end, factor in reversed(spans):  # outer ones first
            begins.setdefault(start, []).append((end, factor))
        inside: list[tuple[int, float]] = []  # where it ends, and the product so far
        for word in range(count):
            while inside and inside[-1][0] <= word:
                inside.pop()
            for end, factor in begins.get(word, []):
                if end > word:
                    inside.append((end, factor * (inside[-1][1] if inside else 1.0)))
            yield inside[-1][1] if inside else 1.0


def _joined(runs: Sequence[Run]) -> Iterator[Run]:
    """Yields runs of equal weight as one, so that words are not torn apart where a bracket was escaped.

    Weights are equal up to the rounding of products taken in another order.
    """
    for (_, broken), same in groupby(runs, key=lambda run: (round(run.weight, 9), run.broken)):
        first, *rest = same
        yield from [first, *rest] if broken else [first._replace(text="".join(run.text for run in (first, *rest)))]


def comfy(text: str) -> list[Run]:
    r"""``(a)`` weighs 1.1 times what is around it, ``(a:1.3)`` exactly 1.3, wherever it stands.

    Square brackets, BREAK and all other signs are plain text. ``\(`` and ``\)`` are literal.

    >>> [(run.text, run.weight) for run in comfy("a (b (c:0.5):2)")]
    [('a ', 1.0), ('b ', 2.0), ('c', 0.5)]
    """
    hidden = text.replace("\0", "").replace("\\)", "\0)").replace("\\(", "\0(")
    runs = _nested(hidden, 1.0, 0)
    return [Run(run.text.replace("\0", ""), _finite(run.weight)) for run in runs] or [Run("")]


def _nested(text: str, weight: float, depth: int) -> Iterator[Run]:
    if depth > MAX_DEPTH:
        message = f"brackets are nested more than {MAX_DEPTH} deep"
        raise StoryboardError(message, remedy="write the weight as a number: (smile:1.5)")
    for part in _bracketed(text):
        if len(part) < 2 or part[0] != "(" or part[-1] != ")" or part[-2] == "\0":
            yield Run(part, weight)
            continue
        inner, own = part[1:-1], weight * UP
        colon = inner.rfind(":")
        if colon > 0:
            try:
                inner, own = inner[:colon], float(inner[colon + 1 :])
            except ValueError:
                inner = part[1:-1]
        yield from _nested(inner, own, depth + 1)


def _bracketed(text: str) -> Iterator[str]:
    """Yields the text in pieces: what stands in outermost brackets, with these, and what stands between."""
    level = start = 0
    for match in re.finditer(r"(?<!\0)[()]", text):
        place = match.start()
        if match[0] == "(":
            if level == 0 and place > start:
                yield text[start:place]
                start = place
            level += 1
        else:
            level -= 1
            if level == 0:
                yield text[start : place + 1]
                start = place + 1
    if start < len(text):
        yield text[start:]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise StoryboardError(
            f"{text[:40]} is not a weight", remedy="write a number, for example (smile:1.2)"
        ) from None


def _finite(weight: float) -> float:
    if not isfinite(weight):
        message = f"brackets multiply to a weight of {weight:g}"
        raise StoryboardError(message, remedy="write the weight as a number: (smile:1.5)")
    return weight


READINGS: dict[str, Callable[[str], list[Run]]] = {"a1111": a1111, "comfy": comfy}
"""How a prompt's brackets are read, by the name of whose program reads them so."""


def written(runs: Sequence[Run]) -> str:
    """A prompt that `a1111` reads as ``runs``: the way back.

    >>> written([Run("a "), Run("b (c)", 1.5)])
    'a (b \\\\(c\\\\):1.5)'
    """
    return "".join(_written(run) for run in runs)


def _written(run: Run) -> str:
    if run.broken:
        return " BREAK "
    text = re.sub(r"[\\()\[\]]", r"\\\g<0>", run.text)
    return text if run.weight == 1 else f"({text}:{_plain(run.weight)})"


def _plain(weight: float) -> str:
    """A number without an exponent, which weights are not read with."""
    return format(Decimal(repr(weight)), "f")
