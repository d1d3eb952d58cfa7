"""Tables of fields: what each field of a tool's file becomes. An entry is a function; here are the usual ones."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from lcm_video.importers.draft import Draft, bare
from lcm_video.importers.values import shown

Field: TypeAlias = Callable[[Draft, str, Any], None]
"""(draft, the field's name, its value) → nothing; the draft has it."""


def read(draft: Draft, data: Mapping[str, Any], table: Mapping[str, Field], *, done: Collection[str] = ()) -> None:
    """Gives every field of ``data`` to its entry, in the table's order; a name ending in ``*`` is a beginning.

    Fields that no entry takes, and that are not ``done`` elsewhere, are ignored by name.
    """
    for field, handle in table.items():
        if field in data:
            handle(draft, field, data[field])
    beginnings = {name[:-1]: handle for name, handle in table.items() if name.endswith("*")}
    for field in [name for name in data if name not in table and name not in done]:
        handle = next((one for start, one in beginnings.items() if str(field).startswith(start)), unknown)
        handle(draft, str(field)[:60], data[field])


def unknown(draft: Draft, field: str, value: Any) -> None:
    """A field that no table knows."""
    draft.drop(field, "unknown here")


def as_number(path: str, reason: str = "") -> Field:
    """A number for ``path``; a ``reason`` says why it is only approximated."""
    return lambda draft, field, value: draft.number(field, value, path, reason=reason)


def as_file(path: str) -> Field:
    """A model's file, by its name."""

    def handle(draft: Draft, field: str, value: Any) -> None:
        if file := bare(value):
            draft.exact(field, path, file, "found by its name in a model folder")
        elif value:
            draft.drop(field, f"{shown(value)} is no file")

    return handle


def without_effect(reason: str) -> Field:
    """A field that does not change the picture."""
    return lambda draft, field, value: draft.note(field, "exact", reason)


def left_out(reason: str) -> Field:
    """A field that has no counterpart here."""
    return lambda draft, field, value: draft.drop(field, reason)


def missing(reason: str) -> Field:
    """A part of the tool that has no counterpart here; nothing is lost where it is empty or switched off."""

    def handle(draft: Draft, field: str, value: Any) -> None:
        if is_on(value):
            draft.drop(field, reason)
        else:
            draft.note(field, "exact", "switched off")

    return handle


def is_on(value: Any) -> bool:
    """Whether a part of a tool does something: it, or a part of it, is enabled, where that can be said."""
    if isinstance(value, str):
        return value.strip().lower() not in ("", "false", "none", "off", "0", "automatic")
    if not isinstance(value, Mapping):
        return bool(value)
    if "enable" in value:
        return bool(value["enable"])
    switches = [part["enable"] for part in value.values() if isinstance(part, Mapping) and "enable" in part]
    return any(switches) if switches else bool(value)
