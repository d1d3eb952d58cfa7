"""Values to a storyboard; what a check refuses is told in the user's words, at the user's line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.reader.layers import split
from lcm_video.reader.problems import Mark, Problem, problem
from lcm_video.reader.schema import adapter, fields_at
from lcm_video.reader.syntax import Node
from lcm_video.storyboard import Storyboard, StoryboardFaults
from lcm_video.timeline import ExpressionError


def checked(values: Any, tree: Node, *, skip_references: bool) -> tuple[Storyboard | None, list[Problem]]:
    """The storyboard that ``values`` describe, or all that is wrong with them, each where it was last set.

    With ``skip_references``, references that could not be replaced, and were told, are not told again as bad values.
    """
    try:
        return adapter().validate_python(values), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong = [one for one in details if not (skip_references and isinstance(one["input"], str) and "${" in one["input"])]
    return None, [problem for detail in wrong for problem in _problems(detail, tree)]


def place(tree: Node, path: Sequence[str], *, key: bool = False) -> Mark:
    """Where the value at ``path`` is written (its name, if ``key``), or the nearest section that holds it."""
    node = tree
    for name in path:
        inner = node.value
        if isinstance(inner, list) and name.isdecimal() and int(name) < len(inner):
            node = inner[int(name)]
        elif isinstance(inner, dict) and name in inner:
            node = inner[name]
        else:
            return node.place
    return node.key if key else node.place


def _problems(detail: Any, tree: Node) -> Iterator[Problem]:
    """Yields one of pydantic's errors as problems: a check of the whole storyboard may find several."""
    # Angle brackets mark the alternative of a union, [key] a map's key: neither is part of the path users wrote.
    path = [str(part) for part in detail["loc"] if not re.fullmatch(r"<.*>|\[key\]", str(part))]
    of_key = "[key]" in detail["loc"]
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, StoryboardError):
        faults = error.faults if isinstance(error, StoryboardFaults) else [error]
        yield from (_of_error(fault, path, tree, of_key=of_key) for fault in faults)
        return
    if detail["type"] == "unexpected_keyword_argument":
        *section, name = path
        message = f"{'.'.join(section) or 'a storyboard'} has no field {name!r}"
        remedy, of_key = did_you_mean(name, fields_at(section)), True
    else:
        message, remedy = explain(detail["type"], detail["input"], detail.get("ctx", {}), detail["msg"])
    yield problem(place(tree, path, key=of_key), message, path=".".join(path), remedy=remedy)


def _of_error(error: StoryboardError, path: Sequence[str], tree: Node, *, of_key: bool) -> Problem:
    """One of our own errors as a problem; one within an expression points at its column."""
    if error.field and not of_key:
        path = [*path, *split(_node(tree, path), error.field)]
    mark = place(tree, path, key=of_key)
    if isinstance(error, ExpressionError):
        mark, path = within(tree, ".".join(path), error.column)
    return problem(mark, error.message, path=".".join(path), remedy=error.remedy)


def within(tree: Node, path: str, column: int) -> tuple[Mark, list[str]]:
    """Where a letter of the text at a dotted path is written, and the names in that path."""
    keys = split(tree, path)
    return _column(place(tree, keys), str(_node(tree, keys).value), column), keys


def _column(mark: Mark, text: str, column: int) -> Mark:
    """The place of a letter of the text at ``mark``: there as it is, in quotes, or in the lines that follow.

    Where the text is not written as it is (references, escapes, a folded word), it is the beginning of the text.
    """
    if not mark.line or "${" in text:
        return mark
    line = mark.source.lines[mark.line - 1][mark.column - 1 :]
    quote = next((quote for quote in (0, 1) if line[quote:].startswith(text[: column + 1])), None)
    if quote is not None:
        return mark._replace(column=mark.column + quote + column)
    word = re.split(r"\s", text[column:], maxsplit=1)[0]
    before = text[:column].count(word) if word else 0
    lines = enumerate([line, *mark.source.lines[mark.line : mark.line + text.count("\n") + 100]])
    places = ((number, found.start()) for number, each in lines if word for found in re.finditer(re.escape(word), each))
    number, start = next(islice(places, before, None), (0, 0))
    return mark._replace(line=mark.line + number, column=start + 1 + (0 if number else mark.column - 1))


def _node(tree: Node, path: Sequence[str]) -> Node:
    for name in path:
        if not isinstance(tree.value, dict) or name not in tree.value:
            break
        tree = tree.value[name]
    return tree


def explain(kind: str, value: Any, limits: Mapping[str, Any], said: str) -> tuple[str, str]:
    """What is wrong with a value and what to do, from pydantic's name for it."""
    shown = _shown(value)
    match kind:
        case "greater_than_equal":
            return f"{shown} is less than {limits['ge']}", f"choose {limits['ge']} or more"
        case "greater_than":
            return f"{shown} is not above {limits['gt']}", f"choose more than {limits['gt']}"
        case "less_than_equal":
            return f"{shown} is more than {limits['le']}", f"choose {limits['le']} or less"
        case "less_than":
            return f"{shown} is not below {limits['lt']}", f"choose less than {limits['lt']}"
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return f"{shown} is not a whole number", "write digits only, for example 16"
        case "float_parsing" | "float_type":
            return f"{shown} is not a number", "write a number, for example 1.5"
        case "finite_number":
            return f"{shown} is not a finite number", "write a number, for example 1.5"
        case "bool_parsing" | "bool_type":
            return f"{shown} is neither true nor false", "write true or false"
        case "literal_error":
            return f"{shown} is not known here", did_you_mean(str(value), re.findall(r"'([^']*)'", limits["expected"]))
        case "missing" | "missing_argument":
            return "this is missing", "write it"
        case "string_type":
            return f"{shown} is not a text", "write a text"
        case "dataclass_type" | "dict_type" | "dataclass_exact_type":
            return f"{shown} is not a section", "write its fields below it, or as {name: value}"
        case "tuple_type" | "list_type":
            return f"{shown} is not a list", "write [one, two]"
        case "string_pattern_mismatch" | "string_too_long" | "string_too_short":
            return f"{shown} is not a name", "use letters, digits, space, dot, hyphen and underscore, 100 at most"
    return said, "compare with the output of lcm-video schema"


def _shown(value: Any) -> str:
    """A value as it was written, at a length that can be read."""
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= 40 else f"{text[:40]}…"
    return text if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) else repr(text)
