"""The storyboard's fields as JSON Schema: for editors, and to know what a misspelt field might have been."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter

from lcm_video.storyboard import Storyboard

REFERENCE = {"type": "string", "pattern": r"\$\{"}
"""A number or a yes may also be a reference such as ${vars.steps}."""

READ_FIRST = {
    "extends": "presets or files this storyboard starts from; later ones win, this file wins",
    "sweep": "values of other fields, each combination a film: {sampling.seed: [1, 2]}, or a list of films",
}
"""Sections that the reader uses up: no storyboard has them."""


@cache
def adapter() -> Any:  # beartype does not know a TypeAdapter[Storyboard] as a type
    """What checks values and makes a storyboard of them."""
    return TypeAdapter(Storyboard)


def schema() -> dict[str, Any]:
    """JSON Schema (draft 7) of a storyboard file, short forms included: ``0: a fox`` for ``0: {text: a fox}``."""
    whole = adapter().json_schema(mode="validation")
    about = {kind.__name__: _field_lines(kind) for kind in _sections(Storyboard)}
    about["Storyboard"] |= READ_FIRST
    names = {"type": "string"}
    whole["properties"]["extends"] = {"anyOf": [names, {"type": "array", "items": names}]}
    grid = {"type": "object", "additionalProperties": {"type": ["array", "object"]}}
    whole["properties"]["sweep"] = {"anyOf": [grid, {"type": "array", "items": {"type": "object"}}]}
    for shape in [whole, *whole.get("$defs", {}).values()]:
        for name, field in shape.get("properties", {}).items():
            if line := about.get(shape.get("title", ""), {}).get(name):
                field["description"] = line
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_draft_7(whole)}


def fields_at(path: Sequence[str]) -> list[str]:
    """The names of the fields a section has; none where names are free."""
    return sorted({name for shape in _shapes(path) for name in shape.get("properties", {})} - {"extends"})


def takes_map_only(path: Sequence[str]) -> bool:
    """Whether the value at ``path`` is a section, so that an empty text means a section with nothing in it."""
    types = {shape.get("type") for shape in _shapes(path)} - {"null"}
    return types == {"object"}


@cache
def _schema() -> dict[str, Any]:
    return schema()


def _shapes(path: Iterable[str]) -> list[dict[str, Any]]:
    """Every shape the value at ``path`` may take."""
    shapes = [*_alternatives(_schema())]
    for name in path:
        inner = (found for shape in shapes for found in _inner(shape, name))
        shapes = [shape for found in inner for shape in _alternatives(found)]
    return shapes


def _inner(shape: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    if name in shape.get("properties", {}):
        yield shape["properties"][name]
        return
    yield from shape.get("patternProperties", {}).values()
    for free in ("additionalProperties", "items"):
        inner = shape.get(free)
        yield from [inner] if isinstance(inner, dict) else inner if isinstance(inner, list) else []


def _alternatives(shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A shape with references and choices followed."""
    choices = [one for word in ("anyOf", "oneOf", "allOf") for one in shape.get(word, [])]
    if "$ref" in shape:
        choices.append(_schema()["definitions"][shape["$ref"].rpartition("/")[2]])
    if not choices:
        yield shape
    for one in choices:
        yield from _alternatives(one)


def _draft_7(shape: Any) -> Any:
    """A schema in the words of draft 7, which editors know."""
    if isinstance(shape, list):
        return [_draft_7(one) for one in shape]
    if not isinstance(shape, dict):
        return shape
    shape = {"definitions" if name == "$defs" else name: _draft_7(one) for name, one in shape.items()}
    shape.pop("discriminator", None)
    if isinstance(reference := shape.get("$ref"), str):
        reference = {"$ref": reference.replace("#/$defs/", "#/definitions/")}
        rest = {name: one for name, one in shape.items() if name != "$ref"}
        return {"allOf": [reference], **rest} if rest else reference  # draft 7 ignores what stands beside $ref
    if "prefixItems" in shape:
        shape["items"] = shape.pop("prefixItems")
    if shape.get("type") in ("integer", "number", "boolean"):
        outer = {name: shape.pop(name) for name in ("title", "description", "default") if name in shape}
        return {**outer, "anyOf": [shape, REFERENCE]}
    return shape


def _sections(kind: Any, known: dict[Any, None] | None = None) -> list[Any]:
    """All option dataclasses that a type is made of."""
    known = {} if known is None else known
    if is_dataclass(kind) and kind not in known:
        known[kind] = None
        for hint in get_type_hints(kind).values():
            _sections(hint, known)
    for inner in get_args(kind):
        _sections(inner, known)
    return list(known)


def _field_lines(kind: Any) -> dict[str, str]:
    """What a dataclass's docstring says of each field: ``name: text``, continued on deeper lines."""
    lines: dict[str, str] = {}
    name = ""
    for line in (kind.__doc__ or "").splitlines()[1:]:
        if match := re.fullmatch(r" {4}(\w+): (.+)", line):
            name, lines[match[1]] = match[1], match[2]
        elif name and line.startswith("        "):
            lines[name] += f" {line.strip()}"
        elif line.strip():
            name = ""
    return lines
