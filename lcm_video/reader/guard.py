"""``${vars.name}``: replaced by OmegaConf, after everything that could go wrong with it has been ruled out.

OmegaConf would also run resolvers (``${oc.env:HOME}`` reads a secret that would travel in the film's metadata), follow
cycles, and expand forty lines to terabytes. So its own grammar is asked first what each text refers to, and only
plain references, to what exists, within a budget, are left for it to replace.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError, OmegaConfBaseException
from omegaconf.grammar.gen.OmegaConfGrammarParser import OmegaConfGrammarParser as Grammar
from omegaconf.grammar_parser import parse

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.reader.problems import Problem, problem
from lcm_video.reader.syntax import Node

MAX_REFERENCES = 20_000
MAX_EXPANDED = 4_000_000
"""Characters, and one for each value, of all texts with their references written out."""

MAX_CHAIN = 50
"""References to references to references; OmegaConf recurses for each."""

TO_WRITE_IT_PLAINLY = r"to show ${ as it is, write \${ without quotes or in single quotes"

Path: TypeAlias = tuple[str, ...]


def resolved(tree: Node) -> tuple[Any, list[Problem]]:
    """The tree as plain maps, lists and texts, every reference replaced by what it refers to.

    If any reference is not plain, leads nowhere or expands too far, none is replaced, and all these are told.
    """
    values = plain(tree)
    texts = [path for path, text in _texts(tree) if "${" in text]
    if not texts:
        return values, []
    guard = _Guard(tree)
    if problems := guard.check(texts):
        return values, problems
    needed = {path[:end] for path in guard.weights for end in range(len(path) + 1)}
    try:
        config = OmegaConf.create(_pruned(values, (), needed))
        return _over(values, OmegaConf.to_container(config, resolve=True)), []
    except (OmegaConfBaseException, RecursionError) as error:
        message = f"a reference cannot be replaced: {str(error).splitlines()[0]}"
        return values, [problem(tree.mark, message, remedy=TO_WRITE_IT_PLAINLY)]


def plain(node: Node) -> Any:
    """A tree's values without their places."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    return [plain(child) for child in node.value] if isinstance(node.value, list) else node.value


def _children(node: Node) -> dict[str, Node]:
    if isinstance(node.value, list):
        return {str(index): child for index, child in enumerate(node.value)}
    return node.value if isinstance(node.value, dict) else {}


def _texts(node: Node, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(node.value, str):
        yield path, node.value
    for name, child in _children(node).items():
        yield from _texts(child, (*path, name))


def _pruned(value: Any, path: Path, needed: set[Path]) -> Any:
    """What of a value is referred to or has references; lists stay whole, because their items go by number."""
    if not isinstance(value, dict):
        return value
    return {name: _pruned(child, (*path, name), needed) for name, child in value.items() if (*path, name) in needed}


def _over(base: Any, top: Any) -> Any:
    """``base`` with the values of ``top`` in place of its own."""
    if not isinstance(base, dict) or not isinstance(top, dict):
        return top
    return {name: _over(value, top[name]) if name in top else value for name, value in base.items()}


@dataclass(frozen=True)
class _Reference:
    """``${..path}`` as it is written, and which path it means."""

    written: str
    path: Path


class _Guard:
    """Follows every reference once; afterwards ``weights`` holds every path that takes part."""

    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self.weights: dict[Path, int] = {}
        self.depths: dict[Path, int] = {}
        self.failed: dict[Path, StoryboardError] = {}
        self.references = 0

    def check(self, paths: Iterable[Path]) -> list[Problem]:
        """What is wrong with the texts at ``paths``, each cause told once, where it is written."""
        total = 0
        for path in paths:
            try:
                total += self.weight(path)
                if total > MAX_EXPANDED:
                    self.failed[path] = _too_large()
                    break
            except StoryboardError:
                continue  # noted in ``failed``
        causes = {error: path for path, error in reversed(self.failed.items())}  # the innermost failed first
        return [
            problem(self.at(path).place, error.message, path=".".join(path), remedy=error.remedy)
            for error, path in causes.items()
        ]

    def weight(self, path: Path, chain: tuple[Path, ...] = ()) -> int:
        """How many characters the value at ``path`` grows to, and one for each value and reference within."""
        if path in self.weights:
            return self.weights[path]
        if path in self.failed:
            raise self.failed[path]
        if path in chain:
            circle = " → ".join(".".join(step) for step in (*chain[chain.index(path) :], path))
            raise StoryboardError(f"this refers to itself: {circle}", remedy="write one of them out")
        try:
            self.weights[path], self.depths[path] = self.measure(path, (*chain, path))
        except StoryboardError as error:
            self.failed[path] = error
            raise
        return self.weights[path]

    def measure(self, path: Path, chain: tuple[Path, ...]) -> tuple[int, int]:
        """Weight and depth of the value at ``path``, the last of ``chain``."""
        node = self.at(path)
        targets = [(*path, name) for name in _children(node)]
        if isinstance(node.value, str):
            targets = [self.target(reference, node.value) for reference in self.read(node.value, path)]
        if len(chain) > MAX_CHAIN:
            raise _too_long()
        weight = 1 + len(node.value) + sum(self.weight(target, chain) for target in targets)
        depth = 1 + max((self.depths[target] for target in targets), default=0)
        if weight > MAX_EXPANDED:
            raise _too_large()
        if depth > MAX_CHAIN:
            raise _too_long()
        return weight, depth

    def read(self, text: str, path: Path) -> Iterator[_Reference]:
        """The references in a text at ``path``; refuses what is not a plain reference."""
        if "${" not in text:
            return
        self.references += text.count("${")
        if self.references > MAX_REFERENCES:
            raise StoryboardError(f"there are more than {MAX_REFERENCES} references", remedy="write some of them out")
        if re.search(r"(?<!\\)\$\{[^}]*\$\{", text):
            raise StoryboardError("a reference within a reference", remedy=f"write it out; {TO_WRITE_IT_PLAINLY}")
        try:
            words: Any = parse(text).getChild(0)
        except (GrammarParseError, RecursionError):
            message = "this begins a reference with ${ but is none such as ${vars.name}"
            raise StoryboardError(message, remedy=TO_WRITE_IT_PLAINLY) from None
        for word in words.getChildren():
            if isinstance(word, Grammar.InterpolationContext):
                yield self.reference(word.getChild(0), path)

    def reference(self, word: Any, path: Path) -> _Reference:
        """What one ``${...}`` refers to."""
        if not isinstance(word, Grammar.InterpolationNodeContext):
            message = f"{word.getText()} would run a resolver, and none is allowed"
            raise StoryboardError(message, remedy=f"refer to a value, as in ${{vars.name}}; {TO_WRITE_IT_PLAINLY}")
        keys = tuple(part.getText() for part in word.getChildren() if isinstance(part, Grammar.ConfigKeyContext))
        dots = len(re.match(r"\$\{\s*(\.*)", word.getText())[1])  # type: ignore[index]
        return _Reference(word.getText(), (*path[:-dots], *keys) if dots else keys)

    def target(self, reference: _Reference, text: str) -> Path:
        """The path referred to; refuses one that leads nowhere, or to a whole section in the middle of a text."""
        node = self.tree
        for end, name in enumerate(reference.path):
            known = _children(node)
            if name not in known:
                inside = ".".join(reference.path[:end]) or "the storyboard"
                remedy = f"{did_you_mean(name, known)}; " if known else ""
                message = f"{reference.written} leads nowhere: there is no {name!r} in {inside}"
                raise StoryboardError(message, remedy=remedy + TO_WRITE_IT_PLAINLY)
            node = known[name]
        if not isinstance(node.value, str) and text.strip() != reference.written:
            message = f"{reference.written} is a whole section, which has no place within a text"
            raise StoryboardError(message, remedy="refer to one of its values")
        return reference.path

    def at(self, path: Path) -> Node:
        node = self.tree
        for name in path:
            node = _children(node)[name]
        return node


def _too_long() -> StoryboardError:
    return StoryboardError(f"this leads over more than {MAX_CHAIN} references", remedy="write one of them out")


def _too_large() -> StoryboardError:
    message = f"with references written out this has more than {MAX_EXPANDED} characters"
    return StoryboardError(message, remedy="refer to fewer or shorter texts")
