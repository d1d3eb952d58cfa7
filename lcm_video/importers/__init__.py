"""Other tools' files as storyboards, with a report of what became of every field.

Each tool has a module with ``TOOL``, ``recognises(document)`` and ``convert(document, *, faithful=False)``. A file
is judged by what is in it, never by its name. To read another tool's files, write such a module and name it in TOOLS.
"""

import dataclasses
import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from lcm_video.errors import InputError, StoryboardError
from lcm_video.importers.document import Document, documents, text_of
from lcm_video.importers.report import Fate, Finding, Imported
from lcm_video.storyboard import Storyboard

__all__ = ["Document", "Fate", "Finding", "Imported", "importing", "is_foreign", "reading"]

TOOLS = ("comfy", "animatediff_cli", "a1111", "deforum", "animatediff_yaml", "ade", "fizz")
"""The modules, in the order in which they are asked whether a text is theirs: the most distinctive first."""

OURS = re.compile(r"^(?:prompts|shots|extends|video|model)[ \t]*:", re.MULTILINE)
"""How a storyboard's sections begin: quick to find, so that ours are never parsed twice."""


def importing(path: str | Path, *, faithful: bool = False) -> Imported:
    """The storyboard that another tool's file describes, and what became of its fields.

    ``faithful`` reproduces the tool's named quirks that change timing, rather than what its user meant. Raises
    InputError for a file that holds no such text, StoryboardError for one that no module reads, with the reason.
    """
    found = documents(path)
    for document in found:
        if tool := reading(document):
            return tool.convert(document, faithful=faithful)
    raise _refusal(str(path), found)


def is_foreign(path: str | Path) -> bool:
    """Whether some tool's module reads this file; False for one that cannot be read at all."""
    try:
        text = text_of(path)
        if text is not None and OURS.search(text):
            return False
        return any(reading(document) for document in documents(path))
    except InputError:
        return False


def reading(document: Document) -> ModuleType | None:
    """The module that reads a text; None for a storyboard of ours and for what none knows."""
    if _is_ours(document):
        return None
    return next((tool for tool in _tools() if tool.recognises(document)), None)


def _tools() -> list[ModuleType]:
    names = [f"{__name__}.{name}" for name in TOOLS]
    return [import_module(name) for name in names if find_spec(name)]


def _is_ours(document: Document) -> bool:
    known = {"extends", *(field.name for field in dataclasses.fields(Storyboard))}
    return isinstance(document.data, Mapping) and bool(document.data) and set(document.data) <= known


def _refusal(name: str, found: list[Document]) -> StoryboardError:
    if any(map(_is_ours, found)):
        return StoryboardError(f"{name} is a storyboard already", remedy="render it as it is")
    tools = ", ".join(tool.TOOL for tool in _tools())
    seen = "; ".join(f"{one.carrier or 'the file'} holds {_shape(one)}" for one in found)
    return StoryboardError(f"{name} is no tool's file that is read here: {seen}", remedy=f"known: {tools}")


def _shape(document: Document) -> str:
    """What a text looks like, for people."""
    data = document.data
    if isinstance(data, Mapping):
        return f"a map of {', '.join(map(repr, list(data)[:5]))}" if data else "an empty map"
    if isinstance(data, list):
        return f"a list of {len(data)}"
    return f"a text that begins {document.text.strip()[:40]!r}" if document.text.strip() else "nothing"
