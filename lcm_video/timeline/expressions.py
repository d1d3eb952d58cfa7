"""Arithmetic as a value: ``sin(2*pi*t/24)*0.5 + 1``. Read by a parser of our own, never run as a program.

    sum      = product { ("+" | "-") product }
    product  = signed { ("*" | "/" | "%") signed }
    signed   = { "+" | "-" } power
    power    = atom [ "**" signed ]
    atom     = number | variable | function "(" sum { "," sum } ")" | "@" curve | "(" sum ")"

All numbers are floats. ``%`` has the sign of its right side; ``round`` rounds halves up.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.timeline.arithmetic import FUNCTIONS, OPERATORS, VARIABLES, Evaluate, Now, power

MAX_CHARACTERS = 1000
MAX_DEPTH = 32


TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>\*\*|[-+*/%(),@])|(?P<end>\Z)|(?P<other>.))",
    re.DOTALL,
)


class ExpressionError(StoryboardError):
    """What is wrong with an expression; ``column`` counts from 0 at its first letter."""

    def __init__(self, message: str, *, remedy: str, column: int, field: str = "") -> None:
        super().__init__(message, remedy=remedy, field=field)
        self.column = column


@dataclass(frozen=True)
class Expression:
    """A parsed expression: how to evaluate it, and the named curves in it. Without ``varies`` it is one number."""

    text: str
    evaluate: Evaluate
    curves: Mapping[str, int]  # name → its column
    varies: bool

    def at(self, now: Now) -> float:
        """Its value in one frame. Raises StoryboardError, naming the frame, where that is no finite number."""
        try:
            value = self.evaluate(now)
            if math.isfinite(value):
                return value
            said = f"is {value}"
        except ZeroDivisionError:
            said = "divides by zero"
        except OverflowError:
            said = "grows beyond all numbers"
        except ValueError:
            said = "takes a root or logarithm that does not exist"
        shown = self.text if len(self.text) <= 60 else f"{self.text[:60]}…"
        place = f" at frame {now.t:g}" if self.varies else ""
        raise StoryboardError(f"{shown} {said}{place}", remedy="keep it finite, for example with max(…, 0.001)")


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """The expression that ``text`` is. Raises ExpressionError at the column of what is wrong.

    >>> parse("sin(pi/2) + 2**-1").at(Now(0, 0, 1, 8, {}))
    1.5
    """
    if len(text) > MAX_CHARACTERS:
        message = f"this expression has {len(text)} characters"
        raise ExpressionError(message, remedy=f"the limit is {MAX_CHARACTERS}; use named curves", column=0)
    return _Parser(text).whole()


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


class _Parser:
    """Reads from left to right, never back: the time it takes grows with the text's length."""

    def __init__(self, text: str) -> None:
        self.text = text
        matches = [match for match in TOKEN.finditer(text) if match.lastgroup]
        self.tokens = [_Token(str(m.lastgroup), m[str(m.lastgroup)], m.start(str(m.lastgroup))) for m in matches]
        self.place = self.depth = 0
        self.curves: dict[str, int] = {}
        self.varies = False

    @property
    def next(self) -> _Token:
        return self.tokens[self.place]

    def whole(self) -> Expression:
        value = self.sum()
        if self.next.kind != "end":
            raise self.unexpected("an operator")
        return Expression(self.text, value, self.curves, self.varies)

    def take(self, *signs: str) -> str:
        """The next token if it is one of ``signs``, which is then behind us; else nothing."""
        if self.next.kind != "sign" or self.next.text not in signs:
            return ""
        self.place += 1
        return self.tokens[self.place - 1].text

    def sum(self) -> Evaluate:
        return self.chain(self.product, "+", "-")

    def product(self) -> Evaluate:
        return self.chain(self.signed, "*", "/", "%")

    def chain(self, part: Callable[[], Evaluate], *signs: str) -> Evaluate:
        """Parts joined by operators of one rank, evaluated in a loop: a long sum is not a deep one."""
        first, rest = part(), []
        while sign := self.take(*signs):
            rest.append((OPERATORS[sign], part()))
        if not rest:
            return first

        def evaluate(now: Now) -> float:
            value = first(now)
            for apply, other in rest:
                value = apply(value, other(now))
            return value

        return evaluate

    def signed(self) -> Evaluate:
        negative = False
        while sign := self.take("+", "-"):
            negative ^= sign == "-"
        value = self.power()
        return (lambda now: -value(now)) if negative else value

    def power(self) -> Evaluate:
        base = self.atom()
        if not self.take("**"):
            return base
        self.deeper()
        exponent = self.signed()
        self.depth -= 1
        return lambda now: power(base(now), exponent(now))

    def atom(self) -> Evaluate:
        token = self.next
        if self.take("("):
            return self.closed()
        if self.take("@"):
            return self.curve(token)
        if token.kind == "number":
            self.place += 1
            return self.number(token)
        if token.kind == "name":
            self.place += 1
            return self.call(token) if self.take("(") else self.variable(token)
        raise self.unexpected("a number")

    def closed(self) -> Evaluate:
        """What stands in brackets, up to the closing one."""
        self.deeper()
        value = self.sum()
        self.close()
        return value

    def close(self) -> None:
        if not self.take(")"):
            raise self.unexpected("a closing bracket")
        self.depth -= 1

    def number(self, token: _Token) -> Evaluate:
        value = float(token.text)
        if math.isinf(value):
            raise ExpressionError(f"{token.text[:40]} is too large", remedy="the limit is 1e308", column=token.column)
        return lambda now: value

    def variable(self, token: _Token) -> Evaluate:
        if token.text not in VARIABLES:
            known = did_you_mean(token.text, [*VARIABLES, *FUNCTIONS])
            remedy = f"write a number, or an expression; {known}"
            raise ExpressionError(f"{token.text[:40]!r} is not a number", remedy=remedy, column=token.column)
        self.varies |= token.text != "pi"
        return VARIABLES[token.text]

    def call(self, token: _Token) -> Evaluate:
        if token.text not in FUNCTIONS:
            remedy = did_you_mean(token.text, FUNCTIONS)
            raise ExpressionError(f"there is no function {token.text[:40]!r}", remedy=remedy, column=token.column)
        self.deeper()
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        self.close()
        function, count = FUNCTIONS[token.text]
        if count and len(arguments) != count:
            message = f"{token.text} takes {count} value{'s' * (count > 1)}, not {len(arguments)}"
            raise ExpressionError(message, remedy="separate them with commas", column=token.column)
        return lambda now: function(*[argument(now) for argument in arguments])

    def curve(self, at: _Token) -> Evaluate:
        token = self.next
        if token.kind != "name" or token.column != at.column + 1:
            raise ExpressionError(
                "@ needs a curve's name", remedy="write @name, and curves: {name: …}", column=at.column
            )
        self.place += 1
        self.varies = True
        name = token.text
        self.curves.setdefault(name, at.column)
        return lambda now: now.curves[name][int(now.t)]

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            message = f"this is nested more than {MAX_DEPTH} deep"
            raise ExpressionError(message, remedy="use named curves", column=self.next.column)

    def unexpected(self, instead: str) -> ExpressionError:
        """An error at the next token."""
        said = f"{self.next.text!r} stands where" if self.next.text else "this ends where"
        remedy = "powers are written **" if self.next.text == "^" else "for example sin(2*pi*t/24)*0.5 + 1"
        return ExpressionError(f"{said} {instead} is expected", remedy=remedy, column=self.next.column)
