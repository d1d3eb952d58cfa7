"""Another tool's file as text and, where it is JSON or YAML, as values; also what pictures and films carry inside.

What a file is called says nothing: downloads named ``.json`` are pictures, and ``.txt`` files are JSON.
"""

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lcm_video.errors import InputError

LIMIT = 5_000_000
"""Bytes of text that are read."""

CARRIED = ("prompt", "workflow", "parameters", "comment", "usercomment", "description")
"""Names under which tools put text into pictures and films, the most exact first."""

TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\Z)'  # a text, or one that is never closed
    r"|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/|\Z)|(?m:^[ \t]*#[^\n]*)|[ \t]#[^\n]*",
    re.DOTALL,
)
TRAILING = re.compile(r'("(?:[^"\\]|\\.)*(?:"|\Z))|,(?=\s*[}\]])', re.DOTALL)


@dataclass(frozen=True)
class Document:
    """A text that may be some tool's.

    name: what messages call it
    text: all of it
    data: the values it holds if it is JSON (comments and trailing commas allowed) or a YAML map; else None
    carrier: under which name a picture or film carries it; "" for a file of its own
    """

    name: str
    text: str
    data: Any = None
    carrier: str = ""


def document(text: str, *, name: str, carrier: str = "") -> Document:
    """The text with the values it holds."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return Document(name, text, parsed(text), carrier)


def documents(path: str | Path) -> list[Document]:
    """The texts in a file: its own, or those that a picture or film carries, the most exact first.

    Raises InputError for a file that cannot be read, is neither text nor media, or carries no text.
    """
    path = Path(path)
    text = text_of(path)
    if text is not None:
        return [document(text, name=str(path))]
    from lcm_video.media import texts

    carried = texts(path)
    order = [name for name in CARRIED if name in carried]
    if not order:
        raise InputError(
            f"{path} carries no workflow and no parameters",
            remedy="sites often remove them: use the file as its tool wrote it, or the workflow's JSON",
        )
    return [document(carried[name], name=f"{path} ({name})", carrier=name) for name in order]


def text_of(path: str | Path) -> str | None:
    """A file's text; None for one that holds none of its own. Raises InputError for too long a one."""
    if Path(path).is_dir():
        return None
    data = _bytes(Path(path))
    text = _text(data)
    if text is not None and len(data) > LIMIT:
        raise InputError(f"{path} has more than {LIMIT} bytes of text", remedy="is it the file you meant?")
    return text


def parsed(text: str) -> Any:
    """The values of JSON, with comments and trailing commas, or of a YAML map; None for any other text."""
    if text.lstrip()[:1] in ("{", "[", "/", "#"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
        try:
            return json.loads(plain_json(text))
        except (ValueError, RecursionError):
            pass
    try:
        found = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, Mapping) and not _has_aliases(found) else None


def plain_json(text: str) -> str:
    """JSON without its comments (``//``, ``/* */``, ``#``) and trailing commas.

    >>> plain_json('{"a": "//", // one\\n "b": [1,],}').split()
    ['{"a":', '"//",', '"b":', '[1]}']
    """
    text = TOKEN.sub(lambda found: found[0] if found[0][0] == '"' else "", text)
    return TRAILING.sub(lambda found: found[1] or "", text)


def _bytes(path: Path) -> bytes:
    """What a regular file begins with; a pipe or device would never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is not a regular file", remedy="give a file, not a device, pipe or folder")
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot open {path}: {reason}", remedy="check the path and its permissions") from None


def _text(data: bytes) -> str | None:
    """The bytes as text; None if they are none."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        # A file cut at the limit may end within a character.
        text = data[: LIMIT + 1].decode(encoding, errors="ignore" if len(data) > LIMIT else "strict")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text[:4096] else text


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] (libyaml is 20 times faster)
    """YAML whose plain words are numbers, true, false or null only where they look it: no dates, no ``1:30``."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]{1,20}$"), "-+0123456789")
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    "-+0123456789.",
)  # fmt: skip


def _has_aliases(value: Any) -> bool:
    """Whether some part is used twice: written out, a few lines of aliases are terabytes."""
    seen, waiting = set(), [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping | list):
            if id(one) in seen:
                return True
            seen.add(id(one))
            waiting.extend(one.values() if isinstance(one, Mapping) else one)
    return False
