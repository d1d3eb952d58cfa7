r"""Prompt editing: a prompt that is another one from some step of sampling on. The notation is AUTOMATIC1111's.

    [ before : after : when ]     ``before`` up to step ``when``, ``after`` from then on; either may be empty
    [ after : when ]              nothing, then ``after``
    [ one | two | ... ]           by turns, a step each

``when`` is a number of steps (``12``), or with a dot a share of all steps (``0.5``). Each part may hold editing again.
Every other bracket is left as it is; a backslash makes any sign literal.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from lcm_video.prompts.directives import DIRECTIVE

MARKS = re.compile(rf"{DIRECTIVE.pattern}|\\.|[\[\]():|]|[^\\\[\]():|<]+|.", re.DOTALL | re.IGNORECASE)
NUMBER = re.compile(r"\s*(?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")

Node: TypeAlias = Any
"""A text, an `Edit`, `Turns`, or a list of nodes."""

Parts: TypeAlias = list[Any]


@dataclass(frozen=True)
class Edit:
    """One text up to a step, counted from 1, and another after it."""

    before: Parts
    after: Parts
    when: str

    def at(self, step: int, steps: int) -> Parts:
        number = float(self.when)
        last = min(steps, int(max(min(number * steps if "." in self.when else number, steps), -1)))
        return self.before if step <= last else self.after


@dataclass(frozen=True)
class Turns:
    """Texts that take turns, a step each."""

    options: tuple[Parts, ...]

    def at(self, step: int, steps: int) -> Parts:
        return self.options[(step - 1) % len(self.options)]


def by_step(prompt: str, steps: int) -> tuple[str, ...]:
    """The prompt at each of so many steps; one without editing is itself throughout, to the letter.

    >>> by_step("a [red:blue:0.5] fox", 4)
    ('a red fox', 'a red fox', 'a blue fox', 'a blue fox')
    """
    if not edited(prompt):
        return (prompt,) * steps
    return tuple(_said(_parsed(prompt), step, steps) for step in range(1, steps + 1))


def edited(prompt: str) -> bool:
    """Whether a prompt changes over steps."""
    return "[" in prompt and any(not isinstance(node, str) for node in _flat(_parsed(prompt)))


def _flat(nodes: Parts) -> Iterator[Node]:
    """Yields the nodes of nodes that are only lists."""
    waiting = [iter(nodes)]
    while waiting:
        for node in waiting[-1]:
            if isinstance(node, list):
                waiting.append(iter(node))
                break
            yield node
        else:
            waiting.pop()


def _said(nodes: Parts, step: int, steps: int) -> str:
    """What nodes come to at a step; without recursion, because brackets may be nested as deep as a prompt is long."""
    words: list[str] = []
    waiting = [iter(nodes)]
    while waiting:
        for node in waiting[-1]:
            if isinstance(node, str):
                words.append(node)
                continue
            waiting.append(iter(node if isinstance(node, list) else node.at(step, steps)))
            break
        else:
            waiting.pop()
    return "".join(words)


@dataclass
class _Group:
    """What has been read since an opening bracket, split at colons and bars that belong to it."""

    opening: str
    parts: list[Parts] = field(default_factory=lambda: [[]])
    signs: list[str] = field(default_factory=list)
    stray: bool = False  # whether a bracket within has no partner

    def add(self, node: Node) -> None:
        self.parts[-1].append(node)

    def split(self, sign: str) -> None:
        self.signs.append(sign)
        self.parts.append([])

    def text(self, closing: str = "") -> Parts:
        """The group as it is written, with the editing inside."""
        written: Parts = [self.opening, self.parts[0]]
        for sign, part in zip(self.signs, self.parts[1:], strict=True):
            written += [sign, part]
        return [*written, closing]

    def node(self, closing: str) -> Node:
        """What the group is, now that it closes: editing if it has that form."""
        if closing == ")" or self.stray or not self.signs:
            return self.text(closing)
        if set(self.signs) == {"|"}:
            return Turns(tuple(self.parts))
        last = self.parts[-1]
        when = NUMBER.fullmatch(last[0]) if len(last) == 1 and isinstance(last[0], str) else None
        if "|" in self.signs or len(self.signs) > 2 or not when:
            return self.text(closing)
        before, after = self.parts[:2] if len(self.parts) == 3 else ([], self.parts[0])
        return Edit(before, after, when["number"])


@lru_cache(maxsize=1024)
def _parsed(prompt: str) -> Parts:
    """The prompt's nodes."""
    reader = _Reader()
    for match in MARKS.finditer(prompt):
        reader.take(match[0])
    while len(reader.open) > 1:
        reader.give_up()
    return reader.open[0].text()


class _Reader:
    """Reads a prompt from left to right, once: the time it takes grows with the text's length."""

    def __init__(self) -> None:
        self.open = [_Group("")]
        self.squares = 0  # open groups that began with a square bracket

    @property
    def inner(self) -> _Group:
        return self.open[-1]

    def take(self, mark: str) -> None:
        if mark in ("[", "("):
            self.open.append(_Group(mark))
            self.squares += mark == "["
        elif mark in ("]", ")"):
            self.close(mark)
        elif mark in (":", "|") and self.inner.opening == "[":
            self.inner.split(mark)
        else:
            self.inner.add(mark)

    def close(self, mark: str) -> None:
        """Ends the innermost group with the partner of ``mark``; without one, ``mark`` is a letter like any other."""
        while mark == "]" and self.squares and self.inner.opening == "(":
            self.give_up()
        if self.inner.opening + mark in ("[]", "()"):
            self.squares -= mark == "]"
            node = self.open.pop().node(mark)
            self.inner.add(node)
        else:
            self.inner.add(mark)
            self.inner.stray = True

    def give_up(self) -> None:
        """Makes the innermost group, whose partner never comes, part of the text of the one around it."""
        group = self.open.pop()
        self.squares -= group.opening == "["
        self.inner.add(group.text())
        self.inner.stray = True
