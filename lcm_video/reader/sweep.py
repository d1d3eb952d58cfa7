"""``sweep:``, a section over any other fields: one storyboard that describes many films.

    sweep: {sampling.guidance: [1, 1.5, 2], sampling.seed: [1, 2]}          # a grid: all combinations, 3 x 2 films
    sweep: [{sampling.steps: 4, sampling.guidance: 1}, {sampling.steps: 8, sampling.guidance: 1.5}]      # a list: two

Its values are laid over the storyboard like ``key=value`` on the command line, and are checked with all the rest, so
that a wrong one is told where it is written.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any, TypeAlias

from lcm_video.reader.guard import plain
from lcm_video.reader.layers import merged, split
from lcm_video.reader.problems import InvalidStoryboard, Mark, Problem, Source, problem
from lcm_video.reader.syntax import Node, parse
from lcm_video.storyboard import Storyboard

SECTION = "sweep"
MAX_FILMS = 1000

REFUSED = {
    "output": "every film is drawn anew, while output.* only writes the same film otherwise: use output.formats",
    "sweep": "a sweep cannot sweep itself: write the values of both as one grid",
    "extends": "what a storyboard is built on is read before it is swept: write one storyboard for each",
}
"""Sections that cannot be swept, and why."""

Setting: TypeAlias = tuple[str, Node]
"""A dotted path, and the value that a film has there."""


@dataclass(frozen=True)
class Variant:
    """One film of a sweep.

    settings: what differs, as text by dotted path; empty where nothing is swept
    board: its storyboard, which does not know of the sweep
    """

    settings: Mapping[str, str]
    board: Storyboard


@dataclass(frozen=True)
class Sweep:
    """The films of a sweep: what each sets; one that sets nothing, where nothing is swept."""

    films: tuple[tuple[Setting, ...], ...] = ((),)

    def trees(self, tree: Node) -> Iterator[tuple[tuple[Setting, ...], Node]]:
        """Yields each film's settings and its tree."""
        for settings in self.films:
            film = tree
            for dotted, value in settings:
                film = merged(film, _nested(split(tree, dotted), value))
            yield settings, film


def described(settings: Sequence[Setting], tree: Node, values: Any) -> dict[str, str]:
    """Settings as text; ``values`` are those of the film's tree with references replaced."""
    found = {}
    for dotted, node in settings:
        told = text_of(node)
        if "${" in told and isinstance(node.value, str):
            told = str(reduce(lambda inner, name: inner[name], split(tree, dotted), values))
        found[dotted] = told
    return found


def swept(tree: Node, changes: Sequence[str]) -> tuple[Node, Sweep, list[Problem]]:
    """The tree without its ``sweep``, the films of that, and what is wrong with it.

    ``changes`` such as ``"sampling.seed=1,2,3"`` add to a grid; they take the place of a list.
    """
    sections = tree.value if isinstance(tree.value, dict) else {}
    rest = replace(tree, value={name: node for name, node in sections.items() if name != SECTION})
    try:
        section = _with(sections.get(SECTION), changes)
        if section is None or section.value in ("", {}, []):
            return rest, Sweep(), []
        if isinstance(section.value, str):
            raise _refused(section, "a sweep is a map of fields or a list of such maps", HOW)
        films = _listed(section.value) if isinstance(section.value, list) else _grid(section)
    except InvalidStoryboard as error:
        return rest, Sweep(), [*error.problems]
    problems = [*_wrong_fields(rest, films)]
    return rest, Sweep() if problems else Sweep(films), problems


HOW = "write sweep: {sampling.seed: [1, 2]}, or a list of films: [{sampling.steps: 4}, {sampling.steps: 8}]"


def _with(section: Node | None, changes: Sequence[str]) -> Node | None:
    """The section with the command line's fields."""
    if not changes:
        return section
    fields: dict[str, Node] = {}
    for text in changes:
        source = Source("--sweep", text, trusted=True)
        mark = Mark(source, 1, 1)
        name, equals, values = text.partition("=")
        if not (equals and name.strip() and values.strip()):
            raise InvalidStoryboard([problem(mark, "this is not field=values", remedy=CHANGE)])
        skip = len(name) + 1
        if values.strip().startswith("["):
            node = replace(parse(source, skip=skip), key=mark)
        else:
            parts = re.finditer(r"[^,]+", values)
            marked = [(part[0], Mark(source, 1, skip + part.start() + 1)) for part in parts]
            node = Node([Node(part.strip(), at, at) for part, at in marked], mark, mark)
        fields[name.strip()] = node
    before = section.value if section and isinstance(section.value, dict) else {}
    first = next(iter(fields.values()))
    return Node({**before, **fields}, first.mark, first.key)


CHANGE = "for example --sweep sampling.seed=1,2,3; texts with commas as a list: 'prompts=[\"a, b\", c]'"


def _grid(section: Node) -> tuple[tuple[Setting, ...], ...]:
    """All combinations of the values of a map's fields, the last field's changing fastest."""
    fields = [*_fields(section)]
    problems: list[Problem] = []
    for name, node in fields:
        if not isinstance(node.value, list) or not node.value:
            told = f"sweep.{name}"
            problems.append(problem(node.place, "this is not a list of values", path=told, remedy="write [1, 2]"))
        else:
            problems += _repeated(node.value, f"sweep.{name}")
    names = [Node(name, node.key, node.key) for name, node in fields]
    if problems := [*problems, *_repeated(names, SECTION)]:
        raise InvalidStoryboard(problems)
    rows = [[(name, replace(value, key=node.key)) for value in node.value] for name, node in fields]  # type: ignore[union-attr]
    if (count := math.prod(map(len, rows))) > MAX_FILMS:
        raise _refused(section, f"these are {count} films", f"the limit is {MAX_FILMS}: sweep over fewer values")
    return tuple(product(*rows))


def _fields(node: Node, path: str = "") -> Iterator[Setting]:
    """Yields a grid's fields by their dotted paths; sections may be written as maps within it."""
    for name, child in node.value.items() if isinstance(node.value, dict) else ():
        dotted = f"{path}.{name}" if path else name
        if isinstance(child.value, dict) and child.value:
            yield from _fields(child, dotted)
        else:
            yield dotted, child


def _listed(items: list[Node]) -> tuple[tuple[Setting, ...], ...]:
    """One film for each map of a list."""
    if len(items) > MAX_FILMS:
        raise _refused(items[MAX_FILMS], f"these are {len(items)} films", f"the limit is {MAX_FILMS}")
    if repeated := [*_repeated(items, SECTION)]:
        raise InvalidStoryboard(repeated)
    if wrong := [item for item in items if not isinstance(item.value, dict) or not item.value]:
        raise InvalidStoryboard(
            [problem(item.mark, "this is not a map of fields", path=SECTION, remedy=HOW) for item in wrong]
        )
    return tuple(tuple(item.value.items()) for item in items if isinstance(item.value, dict))


def _wrong_fields(tree: Node, films: Sequence[Sequence[Setting]]) -> Iterator[Problem]:
    """Yields fields that cannot be swept, and those that an override sets, too; unknown ones are told with the rest."""
    every = {dotted: node for film in films for dotted, node in film}
    for dotted, node in every.items():
        path = split(tree, dotted)
        told = f"sweep.{dotted}"
        if path[0] in REFUSED:
            yield problem(node.key, f"{path[0]} cannot be swept", path=told, remedy=REFUSED[path[0]])
        elif (own := _at(tree, path)) and own.mark.source.trusted and not isinstance(own.value, dict):
            message = f"{dotted} is swept, and set by an override, too"
            yield problem(own.key, message, path=dotted, remedy=f"remove it, or write sweep.{dotted}=[one, two]")


def _repeated(items: Sequence[Node], path: str) -> Iterator[Problem]:
    """Yields the items of a list that were there before: two films would be the same."""
    seen: set[str] = set()
    for item in items:
        if (told := text_of(item)) in seen:
            yield problem(item.mark, f"{told} is there twice", path=path, remedy="remove one of them")
        seen.add(told)


def _at(tree: Node, path: Sequence[str]) -> Node | None:
    node: Node | None = tree
    for name in path:
        node = node.value.get(name) if node and isinstance(node.value, dict) else None
    return node


def _nested(path: Sequence[str], value: Node) -> Node:
    for name in reversed(path):
        value = Node({name: value}, value.key, value.key)
    return value


def text_of(node: Node) -> str:
    """A value as one line of text: as it is, or a map or list in JSON's notation without its quotes."""
    found: Any = plain(node)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False).replace('"', "")


def _refused(node: Node, message: str, remedy: str) -> InvalidStoryboard:
    return InvalidStoryboard([problem(node.place, message, path=SECTION, remedy=remedy)])
