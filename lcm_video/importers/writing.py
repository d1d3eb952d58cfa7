"""An imported storyboard as YAML with comments, and model files of another tool under names that exist here."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.importers.report import Imported

ORDER = (
    "prompts", "shots", "negative", "video", "model", "sampling", "windows", "travel", "start", "curves", "output",
    "runtime",
)  # fmt: skip
"""Sections in the order in which people read them; others follow."""

PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|[0-9]+(\.[0-9]+)?[s%]?")
WORDS = re.compile(r"[A-Za-z_./][A-Za-z0-9_./ -]*")
MEANT = re.compile(r"true|false|yes|no|on|off|null|y|n", re.IGNORECASE)
WIDTH = 110


def to_yaml(imported: Imported, *, source: str = "") -> str:
    """The storyboard as text: where it comes from, and what is not kept as it was, as comments."""
    head = [f"# Imported from {source or 'a file'} ({imported.tool})."]
    counts = imported.counts()
    if counts["approximated"] or counts["ignored"]:
        head.append(f"# {counts['exact']} fields are kept exactly; these are not:")
    changed = [finding for finding in imported.findings if finding.fate != "exact"]
    for finding in changed:
        told = f"{finding.field}: {finding.fate}" + (f", {finding.reason}" if finding.reason else "")
        head.append(f"#   {_one_line(told)}")
    return "\n".join([*head, "", *_sections(imported)]) + "\n"


def mapped(board: Mapping[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """The storyboard with model files renamed by ``old=new``; names count without folder and ending, in any case.

    ``old=`` removes a LoRA, VAE, motion module or embedding. Embeddings are renamed where prompts call them as well.
    Raises StoryboardError for a pair that is none, and for one that names no file of the storyboard.
    """
    changes = dict(_pair(text) for text in pairs)
    unused = set(changes)
    renamed = _renamed(board.get("model", {}), changes, unused)
    called = {
        name for name in changes if name in {_bare(str(one)) for one in board.get("model", {}).get("embeddings", ())}
    }
    if unused:
        known = ", ".join(sorted(_files(board.get("model", {})))) or "none"
        message = f"--map names no model file of this storyboard: {', '.join(sorted(unused))}"
        raise StoryboardError(message, remedy=f"its files: {known}")
    whole = {**board, **({"model": renamed} if renamed else {})}
    for old in called:
        for section in ("prompts", "negative", "shots"):
            if section in whole:
                whole[section] = _recalled(whole[section], old, changes[old])
    return whole


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old.strip():
        raise StoryboardError(f"--map {text!r} is not old=new", remedy="write --map dreamshaper_8=embedded")
    return _bare(old.strip()), new.strip()


def _bare(name: str) -> str:
    """A file's name as it is compared."""
    return re.sub(r"\.(safetensors|ckpt|pth?|bin)$", "", PureWindowsPath(name).name.lower())


def _files(value: Any) -> Iterator[str]:
    for name, inner in value.items() if isinstance(value, Mapping) else []:
        if isinstance(inner, Mapping):
            yield from _files(inner)
        elif isinstance(inner, list | tuple):
            yield from map(str, inner)
        elif isinstance(inner, str) and name not in ("ease",):
            yield inner


def _renamed(value: Any, changes: Mapping[str, str], unused: set[str]) -> Any:
    """A value with every text that names a file of ``changes`` replaced; what becomes empty is left out."""
    if isinstance(value, Mapping):
        inner = {name: _renamed(one, changes, unused) for name, one in value.items()}
        if inner.get("path") == "" and value.get("path"):
            return ""
        return {name: one for name, one in inner.items() if one != "" or value[name] == ""}
    if isinstance(value, list | tuple):
        return [one for one in (_renamed(one, changes, unused) for one in value) if one != ""]
    if isinstance(value, str) and _bare(value) in changes:
        unused.discard(_bare(value))
        return changes[_bare(value)]
    return value


def _recalled(value: Any, old: str, new: str) -> Any:
    """Prompts that call an embedding by its new name."""
    if isinstance(value, Mapping):
        return {name: _recalled(one, old, new) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    word = re.compile(rf"\b(embedding:)?{re.escape(old)}(\.(safetensors|pt|bin))?(?![A-Za-z0-9_-])", re.IGNORECASE)
    return word.sub(lambda found: f"{found[1] or ''}{_bare(new)}" if new else "", value)


def _sections(imported: Imported) -> Iterator[str]:
    board = {name: imported.board[name] for name in ORDER if name in imported.board}
    board |= {name: value for name, value in imported.board.items() if name not in board}
    comments = dict(imported.comments)
    yield from _block({name: value for name, value in board.items() if value != {}}, "", (), comments)


def _block(values: Mapping[str, Any], indent: str, path: tuple[str, ...], comments: Mapping[str, str]) -> Iterator[str]:
    """YAML's lines for a map, short maps of numbers and words on one line."""
    for name, value in values.items():
        here = (*path, str(name))
        if comment := comments.get(".".join(here)):
            yield from (f"{indent}# {_one_line(line)}" for line in comment.split("\n"))
        key = _key(str(name))
        flow = _flow(value, top=not path)
        commented = any(known.startswith(f"{'.'.join(here)}.") for known in comments)
        if isinstance(value, Mapping) and value and (flow is None or commented or len(indent + key + flow) > WIDTH):
            yield f"{indent}{key}:"
            yield from _block(value, f"{indent}  ", here, comments)
        else:
            yield f"{indent}{key}: {flow if flow is not None else _inline(value)}"


def _flow(value: Any, *, top: bool) -> str | None:
    """A value on one line; None for maps that read better on several: those with maps or long texts within."""
    if not isinstance(value, Mapping):
        return _inline(value)
    if top or any(isinstance(one, Mapping) for one in value.values()):
        return None
    if any(isinstance(one, str) and len(one) > 40 and name != "path" for name, one in value.items()) and len(value) > 1:
        keyframe = set(value) <= {"text", "ease"}
        return f"{{{_pairs(value)}}}" if keyframe else None
    return f"{{{_pairs(value)}}}"


def _pairs(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{_key(str(name))}: {_inline(one, flow=True)}" for name, one in value.items())


def _key(name: str) -> str:
    return name if PLAIN_KEY.fullmatch(name) and not MEANT.fullmatch(name) else _quoted(name)


def _inline(value: Any, *, flow: bool = False) -> str:
    if isinstance(value, str):
        if WORDS.fullmatch(value) and not MEANT.fullmatch(value) and value == value.strip() and ": " not in value:
            return value
        # A backslash before ${ shows it as it is; those already there are doubled.
        return _quoted(re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value))
    if isinstance(value, Mapping):
        return f"{{{_pairs(value)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inline(one, flow=True) for one in value)}]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A JSON string, with what YAML takes for a line break or refuses as unprintable escaped or left out."""
    text = re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "", text)
    return re.sub(
        "[\x80-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False)
    )


def _one_line(text: str) -> str:
    """A comment's text without what would end its line or be refused."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
