r"""Wildcards: words of a prompt that are drawn, from the seed, once for each text of a shot.

    { one | two | ... }              one of them; ``{3::one|two}`` draws ``one`` three times as often
    { 2$$ one | two | ... }          two different ones, joined by ", "; ``{2$$ and $$one|two}`` by " and "
    __name__                         one line of the wildcard ``name``

Options may hold wildcards again. ``\{``, ``\|``, ``\}`` and ``\__`` are literal; braces without ``|`` are, too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import NamedTuple, TypeAlias

from lcm_video.errors import StoryboardError, did_you_mean

NAME = r"[A-Za-z0-9](?:[A-Za-z0-9 ./-]|_(?!_)){0,98}"
MARKS = re.compile(rf"\\[{{}}|]|\\__|__(?P<name>{NAME})__|[{{}}|]|[^\\{{}}|_]+|.", re.DOTALL)
COUNT = re.compile(r"\s*(?P<count>[0-9]{1,3})(?:-(?P<most>[0-9]{1,3}))?\$\$(?:(?P<joint>[^$]*)\$\$)?")
SHARE = re.compile(r"\s*(?P<share>[0-9]{1,6}(?:\.[0-9]{0,6})?)::")
MAX_DEPTH = 30
MAX_CHARACTERS = 100_000

Wildcards: TypeAlias = Mapping[str, Sequence[str]]


class Drawn(NamedTuple):
    """A text with its wildcards drawn, and what was drawn, in order: ``__animal__: fox``."""

    text: str
    notes: tuple[str, ...]


def draw(text: str, wildcards: Wildcards, *, seed: object) -> Drawn:
    """The text with every wildcard drawn. Equal texts and seeds draw equal words, on any machine.

    Raises StoryboardError for a wildcard that does not exist, and for one that leads back to itself.

    >>> draw("a {red|red} fox", {}, seed=1)
    Drawn(text='a red fox', notes=('{red|red}: red',))
    """
    if not any(mark in text for mark in ("{", "__", "\\|", "\\}")):
        return Drawn(text, ())
    number = int.from_bytes(sha256(repr((seed, text)).encode()).digest()[:8], "big")
    drawing = _Drawing(wildcards, Random(number))
    return Drawn(drawing.text(text, 0), tuple(drawing.notes))


def called(text: str) -> Iterator[tuple[str, int]]:
    """Yields the names of the wildcards that a text itself calls, each with its place in the text."""
    if "__" in text:
        yield from ((match["name"], match.start()) for match in MARKS.finditer(text) if match["name"])


@dataclass
class _Choice:
    """Braces that have been opened: options so far, each a list of pieces; ``source`` is how they are written."""

    options: list[list[str]] = field(default_factory=lambda: [[]])
    source: list[str] = field(default_factory=list)


class _Drawing:
    def __init__(self, wildcards: Wildcards, random: Random) -> None:
        self.wildcards, self.random = wildcards, random
        self.notes: list[str] = []
        self.characters = 0

    def text(self, text: str, depth: int) -> str:
        """A text with its wildcards drawn, innermost braces first."""
        if depth > MAX_DEPTH:
            message = f"wildcards call each other more than {MAX_DEPTH} deep"
            raise StoryboardError(message, remedy="look for one that leads back to itself")
        open_ = [_Choice()]
        for match in MARKS.finditer(text):
            mark, inner = match[0], open_[-1]
            if mark == "{":
                open_.append(_Choice())
            elif mark == "|" and len(open_) > 1:
                inner.options.append([])
                inner.source.append("|")
            elif mark == "}" and len(open_) > 1:
                open_.pop()
                self.put(open_[-1], "{" + "".join(inner.source) + "}", self.chosen(inner))
            else:
                literal = mark[1:] if len(mark) > 1 and mark[0] == "\\" else mark
                self.put(inner, mark, self.line(match["name"], depth) if match["name"] else literal)
        while len(open_) > 1:  # braces that never close
            inner = open_.pop()
            self.put(open_[-1], "{" + "".join(inner.source), "{" + "|".join(map("".join, inner.options)))
        return "".join(open_[0].options[0])

    def put(self, choice: _Choice, source: str, said: str) -> None:
        self.characters += len(said) or 1  # nothing counts, too: it may be drawn a million times
        if self.characters > MAX_CHARACTERS:
            message = f"with its wildcards drawn this prompt has more than {MAX_CHARACTERS} characters"
            raise StoryboardError(message, remedy="use fewer wildcards within wildcards")
        choice.options[-1].append(said)
        choice.source.append(source if len(source) <= 200 else "…")

    def line(self, name: str, depth: int) -> str:
        """A line of a wildcard."""
        if not (lines := self.wildcards.get(name)):
            known = f"{did_you_mean(name, self.wildcards)}; " if self.wildcards else ""
            remedy = f"{known}put {name}.txt into the folder wildcards beside the storyboard"
            raise StoryboardError(f"there is no wildcard __{name}__", remedy=remedy + r"; literally it is \__")
        said = self.text(lines[self.below(len(lines))], depth + 1)
        self.notes.append(f"__{name}__: {said}")
        return said

    def chosen(self, choice: _Choice) -> str:
        """What braces come to."""
        options = ["".join(option) for option in choice.options]
        if len(options) == 1:
            return "{" + options[0] + "}"
        least = most = 1
        joint = ", "
        if count := COUNT.match(options[0]):
            least, most = int(count["count"]), int(count["most"] or count["count"])
            joint = joint if count["joint"] is None else count["joint"]
            options[0] = options[0][count.end() :]
        said = joint.join(self.several(options, least + self.below(max(most - least, 0) + 1)))
        source = "".join(choice.source)
        self.notes.append(f"{{{source if len(source) <= 60 else source[:60] + '…'}}}: {said}")
        return said

    def several(self, options: Sequence[str], count: int) -> Iterator[str]:
        """Yields so many different options, the likelier sooner."""
        shares = [SHARE.match(option) for option in options]
        left = [
            (option[share.end() :], float(share["share"])) if share else (option, 1.0)
            for option, share in zip(options, shares, strict=True)
        ]
        for _ in range(min(count, len(left))):
            at = self.random.random() * sum(share for _, share in left)
            place = 0
            while place < len(left) - 1 and at >= left[place][1]:
                at -= left[place][1]
                place += 1
            yield left.pop(place)[0]

    def below(self, count: int) -> int:
        """A whole number from 0 on. Random's own are not promised to stay the same in other versions of Python."""
        return int(self.random.random() * count)
