"""Text to values that know where they are written.

Every scalar is text, typed later by the storyboard's fields: YAML 1.1's own guesses would make the moment ``1:30``
the number 90 and the prompt ``no`` a boolean. Values are built from the parser's events rather than by its loader, so
that depth, size, tags, aliases and duplicate keys are judged before anything grows.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeAlias

import yaml

from lcm_video.reader.problems import InvalidStoryboard, Mark, Problem, Source, problem

MAX_BYTES = 2_000_000
MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_CHARACTERS = 4_000_000  # once every alias is written out

PARSER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml is 20 times faster

PLAIN_TAGS = ("!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
UNTEXTUAL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""NUL and other controls, halves of surrogate pairs."""

Value: TypeAlias = "str | list[Node] | dict[str, Node]"


@dataclass(frozen=True)
class Node:
    """A value, where it starts, and where its key is written (for an item of a list: the same place)."""

    value: Value
    mark: Mark
    key: Mark

    @property
    def place(self) -> Mark:
        """Where to point when the value is wrong: at a text itself, at the name of a map or list."""
        return self.mark if isinstance(self.value, str) else self.key


def read(path: Path, *, name: str) -> Source:
    """A file's text. Raises InvalidStoryboard for what is no regular file of at most 2 MB of UTF-8 text."""

    def refused(message: str, remedy: str, line: int = 0) -> InvalidStoryboard:
        return InvalidStoryboard([Problem(name, line, int(line > 0), "", message, remedy, "")])

    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe or a device would never end
            raise refused("this is not a file", "give a YAML file, or the name of a preset")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}", "check the path and its permissions") from None
    if len(data) > MAX_BYTES:
        raise refused(f"the file has more than {MAX_BYTES} bytes", "a storyboard is a short YAML text; is this one?")
    try:
        return Source(name, data.decode("utf-8-sig"), path.parent)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refused(f"byte {error.start} is not UTF-8 text", "save the file as UTF-8", line) from None


def parse(source: Source, *, skip: int = 0) -> Node:
    """The value that ``source`` holds after its first ``skip`` characters.

    Raises InvalidStoryboard at the line and column of what is not YAML, or not safe to expand.
    """
    _check_characters(source)
    composer = _Composer(source, skip)
    try:
        root = composer.document()
    except yaml.MarkedYAMLError as error:
        raise InvalidStoryboard([_explain(error, source)]) from None
    except (yaml.YAMLError, UnicodeError) as error:
        message = f"not YAML: {str(error).splitlines()[0]}"
        raise InvalidStoryboard([problem(Mark(source), message, remedy="save the file as plain UTF-8 text")]) from None
    if composer.problems:
        raise InvalidStoryboard(composer.problems)
    if root is None:
        raise InvalidStoryboard([problem(Mark(source), "there is nothing in it", remedy="write prompts: {0: a fox}")])
    return root


def _check_characters(source: Source) -> None:
    """Refuses what no text holds at the place where it stands."""
    if found := UNTEXTUAL.search(source.text):
        before = re.split("\r\n|[\n\r\x85\u2028\u2029]", source.text[: found.start()])
        mark = Mark(source, len(before), len(before[-1]) + 1)
        message = f"the character U+{ord(found[0]):04X} is not text"
        raise InvalidStoryboard([problem(mark, message, remedy="remove it")])


def _mark(source: Source, mark: Any) -> Mark:
    return Mark(source, mark.line + 1, mark.column + 1) if mark else Mark(source)


REMEDIES = {
    "cannot start any token": "indent with spaces, not tabs; put texts that begin with @ or ` or % in quotes",
    "mapping values are not allowed": "put a text that contains ': ' in quotes",
    "did not find expected": "look for a bracket or quote that is not closed, or a line that is indented otherwise",
    "maximum nesting depth": "look for stray brackets",
    "could not find expected ':'": "write key: value, with a space after the colon",
}


def _explain(error: yaml.MarkedYAMLError, source: Source) -> Problem:
    """A parser's complaint, with what usually causes it; one about the end of the text points at what is open."""
    mark = _mark(source, error.problem_mark)
    if error.context_mark and not "".join(source.lines[mark.line - 1 :])[mark.column - 1 :].strip():
        mark = _mark(source, error.context_mark)
    said = error.problem or "unclear"
    remedy = next((remedy for part, remedy in REMEDIES.items() if part in said), "put the text in quotes")
    return problem(mark, f"not YAML: {said}", remedy=remedy)


class _Composer:
    """Turns a parser's events into a tree, counting what it would be with every alias written out."""

    def __init__(self, source: Source, skip: int) -> None:
        self.source = source
        self.events = yaml.parse(" " * skip + source.text[skip:], PARSER)
        self.anchors: dict[str, tuple[Node, int, int]] = {}
        self.problems: list[Problem] = []
        self.nodes = self.characters = 0

    def document(self) -> Node | None:
        """The one document of the text; None if there is none."""
        root = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    remedy = "keep one storyboard in a file; remove the line ---"
                    raise self.refused(event, "a second document begins here", remedy)
                root = self.node(next(self.events))
        return root

    def node(self, event: Any, key: Mark | None = None, depth: int = 0) -> Node:
        """The node that ``event`` begins; ``key`` is where its name is written."""
        mark = self.mark(event)
        if isinstance(event, yaml.AliasEvent):
            return replace(self.anchored(event), key=key or mark)
        if depth > MAX_DEPTH:
            raise self.refused(event, f"this is nested more than {MAX_DEPTH} deep", "look for stray brackets")
        if event.tag and event.tag not in PLAIN_TAGS:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self.refused(event, f"the tag {tag} is not allowed", "remove it: values are plain text")
        before = self.nodes, self.characters
        self.count(event, 1, len(getattr(event, "value", "")))
        value: Value
        if isinstance(event, yaml.ScalarEvent):
            value = self.text(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.list(depth)
        else:
            value = self.map(depth)
        node = Node(value, mark, key or mark)
        if event.anchor:
            self.anchors[event.anchor] = node, self.nodes - before[0], self.characters - before[1]
        return node

    def text(self, event: Any) -> str:
        """A scalar's text; escapes such as "\\0" may have put in what no text holds."""
        if UNTEXTUAL.search(event.value):
            raise self.refused(event, "an escape here stands for a character that is not text", "remove it")
        return event.value

    def list(self, depth: int) -> "list[Node]":
        """The items up to the list's end."""
        items = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, depth=depth + 1))
        return items

    def map(self, depth: int) -> dict[str, Node]:
        """The fields up to the map's end; those given twice become problems."""
        found: dict[str, Node] = {}
        spelled: dict[str, Mark] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth=depth + 1)
            if not isinstance(name := key.value, str):
                raise self.refused(event, "a name is a text, not a map or a list", "put it in quotes")
            same = re.sub(r"^(-?)0+(?=[0-9])", r"\1", name)  # 0 and 00 are one moment
            if same in spelled:
                message = f"{name!r} is given twice, first in line {spelled[same].line}"
                self.problems.append(problem(key.mark, message, remedy="remove or rename one of them"))
            if name == "<<":
                remedy = "use extends, or an alias for the whole value"
                self.problems.append(problem(key.mark, "YAML's merge key << is not used here", remedy=remedy))
            spelled.setdefault(same, key.mark)
            found[name] = self.node(next(self.events), key.mark, depth + 1)
        return found

    def anchored(self, event: Any) -> Node:
        """What an alias stands for."""
        if event.anchor not in self.anchors:
            message = f"*{event.anchor} stands for nothing, or for what it is itself part of"
            raise self.refused(event, message, f"write &{event.anchor} before a value above, or put the text in quotes")
        node, nodes, characters = self.anchors[event.anchor]
        self.count(event, nodes, characters)
        return node

    def count(self, event: Any, nodes: int, characters: int) -> None:
        """Refuses a tree that is too large, before it is built."""
        self.nodes += nodes
        self.characters += characters
        if self.nodes > MAX_NODES or self.characters > MAX_CHARACTERS:
            message = f"with its aliases written out this has more than {MAX_NODES} values"
            if self.nodes <= MAX_NODES:
                message = f"with its aliases written out this has more than {MAX_CHARACTERS} characters"
            raise self.refused(event, message, "make the storyboard smaller, or cut the film in several")

    def mark(self, event: Any) -> Mark:
        return _mark(self.source, event.start_mark)

    def refused(self, event: Any, message: str, remedy: str) -> InvalidStoryboard:
        return InvalidStoryboard([*self.problems, problem(self.mark(event), message, remedy=remedy)])
