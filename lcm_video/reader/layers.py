"""What a storyboard is put together from: presets, the file, ``key=value``. Later ones win.

Maps merge key by key, so ``prompts: {2s: a hare}`` in a file adds a keyframe to its preset's prompts; everything else
replaces what was there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lcm_video.errors import did_you_mean
from lcm_video.reader.problems import InvalidStoryboard, Mark, Problem, Source, problem
from lcm_video.reader.syntax import Node, parse, read
from lcm_video.resources import shipped
from lcm_video.timeline import is_moment

BESIDE = ("ease", "scale", "steps", "called", "offset", "beats")
"""Fields that may stand beside the one that a text alone is short for."""

MAX_EXTENDED = 32
"""Files read for one storyboard, one named twice counted twice: three that name the next one thrice are many."""


def presets() -> dict[str, Path]:
    """The storyboards shipped with the package, by name."""
    return {path.stem: path for path in sorted(shipped("configs").glob("*.yaml"))}


@dataclass
class Finder:
    """Finds and reads what a storyboard extends: below the folders named here, and the shipped presets."""

    roots: tuple[Path, ...]
    extended_so_far: int = 0

    def open(self, source: str | Path) -> Source:
        """The storyboard that a person named: any file, or a preset."""
        known = presets()
        if str(source) in known and not Path(source).exists():
            return read(known[str(source)], name=str(known[str(source)]))
        if not _exists(Path(source)):
            remedy = did_you_mean(str(source), known) if known else "check the path"
            message = f"no storyboard or preset {str(source)!r}"
            raise InvalidStoryboard([Problem(str(source), 0, 0, "", message, remedy, "")])
        return read(Path(source), name=str(source))

    def layers(self, source: Source, chain: tuple[str, ...] = ()) -> list[Node]:
        """The source preceded by all it extends, most general first."""
        tree = parse(source)
        if not isinstance(tree.value, dict):
            message = f"a storyboard is a map of sections, not a {'text' if isinstance(tree.value, str) else 'list'}"
            raise InvalidStoryboard([problem(tree.mark, message, remedy="write prompts: {0: a fox in spring}")])
        chain = (*chain, str(source.folder and (source.folder / Path(source.name).name).resolve()))
        bases = tree.value.get("extends")
        own = replace(tree, value={name: node for name, node in tree.value.items() if name != "extends"})
        return [layer for base in _named(bases) for layer in self.extended(base, source, chain)] + [own]

    def extended(self, base: Node, source: Source, chain: tuple[str, ...]) -> list[Node]:
        """The layers of one name or path after ``extends``."""
        name = str(base.value)
        path = self.find(base, name, source.folder)
        if str(path.resolve()) in chain:
            circle = " → ".join(Path(step).name for step in (*chain[chain.index(str(path.resolve())) :], str(path)))
            raise InvalidStoryboard(
                [problem(base.mark, f"this extends itself: {circle}", path="extends", remedy="remove one of them")]
            )
        self.extended_so_far += 1
        if self.extended_so_far > MAX_EXTENDED:
            message = f"this is built on more than {MAX_EXTENDED} files"
            raise InvalidStoryboard([problem(base.mark, message, path="extends", remedy="put some of them together")])
        return self.layers(read(path, name=str(path)), chain)

    def find(self, base: Node, name: str, folder: Path | None) -> Path:
        """The file that a name in ``extends`` means: beside the storyboard, or a preset."""
        known = presets()
        beside = (folder or Path()) / name
        if name and _exists(beside) and not beside.is_dir():
            allowed = (Path.cwd(), *self.roots, *([folder] if folder else []))
            if any(beside.resolve().is_relative_to(root.resolve()) for root in allowed):
                return beside
            message = f"{name!r} lies outside the storyboard's folder and the current one"
            raise InvalidStoryboard(
                [problem(base.mark, message, path="extends", remedy="copy it there, or pass --allow-path")]
            )
        if name in known:
            return known[name]
        remedy = did_you_mean(name, known) if known else "check the path"
        raise InvalidStoryboard([problem(base.mark, f"no preset or file {name!r}", path="extends", remedy=remedy)])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or one that no file has
        return False


def _named(bases: Node | None) -> list[Node]:
    """The names after ``extends``: none, one, or a list."""
    if bases is None or bases.value == "":
        return []
    names = bases.value if isinstance(bases.value, list) else [bases]
    if wrong := [name for name in names if not isinstance(name.value, str)]:
        message = "this is not the name or path of a storyboard"
        raise InvalidStoryboard([problem(wrong[0].mark, message, path="extends", remedy="write extends: [one, two]")])
    return names


def merged(base: Node, top: Node, path: tuple[str, ...] = ()) -> Node:
    """``base`` with all that ``top`` says over it: maps key by key, all else whole.

    A keyframe, point or LoRA written short (``0: a fox``) merges as the map it is short for (``{text: a fox}``).
    """
    low, high = base.value, top.value
    if isinstance(low, dict) and isinstance(high, dict) and _other_kind(low, high):
        return top
    if isinstance(low, dict) and _is_short(top, low, path):
        high = {_main_field(path): top}
    elif isinstance(high, dict) and _is_short(base, high, path):
        low = {_main_field(path): base}
    if not isinstance(low, dict) or not isinstance(high, dict):
        return top
    both = {name: merged(low[name], node, (*path, name)) if name in low else node for name, node in high.items()}
    return replace(top, value={**low, **both})


def _main_field(path: tuple[str, ...]) -> str:
    """The field that a text alone stands for."""
    if path[-1:] == ("tempo",):
        return "bpm"
    above = path[-2] if len(path) > 1 and path[0] != "curves" else ""
    return {"prompts": "text", "negative": "text", "loras": "path"}.get(above, "value")


def _other_kind(low: dict[str, Node], high: dict[str, Node]) -> bool:
    """Whether one map is a sound and the other points at moments: two kinds of curve that do not mix."""
    sound, other = (low, high) if "audio" in low else (high, low)
    return "audio" in sound and bool(other) and all(map(is_moment, other))


def _is_short(node: Node, other: dict[str, Node], path: tuple[str, ...]) -> bool:
    """Whether ``node`` is a text that stands for a map such as ``other``."""
    return isinstance(node.value, str) and other.keys() <= {_main_field(path), *BESIDE} and bool(other)


def inherited(tree: Node) -> Node:
    """The tree with the storyboard's ``sampling`` and ``start`` below each shot's own, which may name a few fields."""
    sections = tree.value if isinstance(tree.value, dict) else {}
    shots = sections.get("shots")
    if shots is None or not isinstance(shots.value, dict):
        return tree

    def complete(shot: Node) -> Node:
        if not isinstance(shot.value, dict):
            return shot
        own = {
            name: merged(sections[name], shot.value[name], (name,))
            for name in ("sampling", "start")
            if name in sections and name in shot.value
        }
        return replace(shot, value={**shot.value, **own})

    whole = replace(shots, value={name: complete(shot) for name, shot in shots.value.items()})
    return replace(tree, value={**sections, "shots": whole})


def overridden(tree: Node, overrides: Sequence[str]) -> tuple[Node, list[Problem]]:
    """The tree with every ``key=value`` over it, in turn; and what is wrong with those that are none."""
    problems: list[Problem] = []
    for text in overrides:
        try:
            path, value = _override(tree, text)
        except InvalidStoryboard as error:
            problems += error.problems
            continue
        for name in reversed(path):
            value = Node({name: value}, value.key, value.key)
        tree = merged(tree, value)
    return tree, problems


def _override(tree: Node, text: str) -> tuple[list[str], Node]:
    """The path that ``key=value`` names, and the value.

    The value is plain text to its end; in ``{}``, ``[]`` or quotes it is YAML.
    """
    source = Source("override", text, trusted=True)
    match = re.match(r"""((?:"[^"]*"|'[^']*'|[^="'])+)=""", text)
    if not match or not match[1].strip():
        remedy = "write key=value, for example video.fps=12"
        raise InvalidStoryboard([problem(Mark(source, 1, 1), "this is not an override", remedy=remedy)])
    skip = match.end()
    mark = Mark(source, 1, skip + 1)
    path = split(tree, match[1].strip())
    if path[0] == "extends":
        message = "a storyboard's presets cannot be changed from here"
        raise InvalidStoryboard([problem(Mark(source, 1, 1), message, remedy="set extends in the file")])
    written = text[skip:].strip()
    is_yaml = len(written) > 1 and written[0] + written[-1] in ("{}", "[]", '""', "''")
    value = parse(source, skip=skip) if is_yaml else Node(text[skip:], mark, mark)
    return path, replace(value, key=Mark(source, 1, 1))


def split(tree: Node, dotted: str) -> list[str]:
    """The names in a dotted path. Moments have dots too (``prompts.1.5s.text``), and so may names in quotes.

    The longest name that exists is taken; else what reads as a decimal number is one.
    """
    parts = [part.strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted)] or [dotted]
    path: list[str] = []
    node: Node | None = tree
    while parts:
        known = node.value if node and isinstance(node.value, dict) else {}
        fitting = (end for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in known)
        decimal = len(parts) > 1 and re.fullmatch(r"-?[0-9]+\.[0-9]+(s|%|b|beats?|bars?)?", ".".join(parts[:2]))
        end = next(fitting, 2 if decimal else 1)
        path.append(".".join(parts[:end]))
        node, parts = known.get(path[-1]), parts[end:]
    return path
