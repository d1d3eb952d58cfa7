"""What is wrong with a storyboard, and where it is written."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from lcm_video.errors import StoryboardError

SHOWN = 20
"""More problems than these are counted, not told."""

WIDTH = 100
"""Longer source lines are cut to a view of this many characters around the column."""


@dataclass(frozen=True)
class Source:
    """A text that says something about a film.

    ``folder`` is where its relative paths start. An override is typed by the person at the keyboard, so it is
    ``trusted``: it may write anywhere. A file may come from anyone.
    """

    name: str
    text: str
    folder: Path | None = None
    trusted: bool = False

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines, broken where YAML breaks them."""
        return re.split("\r\n|[\n\r\x85\u2028\u2029]", self.text)


class Mark(NamedTuple):
    """A place in a source; line and column count from 1, 0 is the source as a whole."""

    source: Source
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it is written, which value it is, what is wrong with it, what to do."""

    file: str
    line: int
    column: int
    path: str
    message: str
    remedy: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        said = [": ".join(filter(None, [place, self.path, self.message]))]
        if self.text.strip():
            said += _pointed(self.text, self.column)
        return "\n".join(said) + (f"\n  → {self.remedy}" if self.remedy else "")


def problem(mark: Mark, message: str, *, path: str = "", remedy: str = "") -> Problem:
    """A problem with what is written at ``mark``."""
    text = mark.source.lines[mark.line - 1] if 0 < mark.line <= len(mark.source.lines) else ""
    return Problem(mark.source.name, mark.line, mark.column, path, message, remedy, text)


class InvalidStoryboard(StoryboardError):
    """All that is wrong with a storyboard, file by file from the top, each once: ``problems``."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        files = list(dict.fromkeys(one.file for one in problems))
        unique = dict.fromkeys(problems)
        self.problems = tuple(sorted(unique, key=lambda one: (files.index(one.file), one.line, one.column)))
        told = [str(one) for one in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            told.append(f"and {len(self.problems) - SHOWN} more")
        super().__init__("\n".join(told), field=self.problems[0].path)


def _pointed(text: str, column: int) -> list[str]:
    """The source line and a caret under its column, both without what a terminal would take as a command."""
    start = max(column - WIDTH // 2, 0) if len(text) > WIDTH else 0
    view = text[start : start + WIDTH]
    shown = "".join(letter if letter == "\t" or letter.isprintable() else "·" for letter in view)
    before = shown[: column - 1 - start]
    wide = "".join(letter if letter == "\t" else " " * _columns(letter) for letter in before)
    return [f"    {shown}", f"    {wide}^"]


def _columns(letter: str) -> int:
    """How many columns of a terminal a letter takes."""
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
