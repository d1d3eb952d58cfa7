"""Reading storyboards: YAML files, presets and ``key=value`` overrides, with errors that point at the line.

    text → values with places (syntax) → one tree (layers) → one for each film (sweep) → references replaced (guard)
    → checked (check, paths)

Later layers win: presets named in ``extends``, then the file, then overrides. `dump` is the way back.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.reader.called import check_called, read_wildcards
from lcm_video.reader.check import checked
from lcm_video.reader.guard import resolved
from lcm_video.reader.layers import Finder, inherited, merged, overridden, presets
from lcm_video.reader.paths import check_output, locate_inputs
from lcm_video.reader.problems import InvalidStoryboard, Problem, Source
from lcm_video.reader.schema import fields_at, schema, takes_map_only
from lcm_video.reader.sweep import Variant, described, swept
from lcm_video.reader.syntax import Node, parse
from lcm_video.reader.writing import dump, redacted
from lcm_video.storyboard import Storyboard

__all__ = [
    "InvalidStoryboard", "Problem", "Variant",
    "dump", "load", "load_films", "load_text", "load_text_films", "no_film", "presets", "redacted", "schema",
]  # fmt: skip


def load(source: str | Path, overrides: Sequence[str] = (), *, allow_paths: Sequence[Path] = ()) -> Storyboard:
    """Reads a storyboard file (or preset name) and applies ``overrides`` such as ``"video.fps=12"``.

    ``allow_paths`` are folders it may write to and extend from, besides the current one. Raises InvalidStoryboard
    (a StoryboardError) with everything that is wrong: the place, the nearest valid name, what to do.
    """
    return _only(load_films(source, overrides, allow_paths=allow_paths))


def load_films(
    source: str | Path, overrides: Sequence[str] = (), *, sweep: Sequence[str] = (), allow_paths: Sequence[Path] = ()
) -> tuple[Variant, ...]:
    """Reads every film that a storyboard file (or preset) describes: one, or as many as its ``sweep`` has.

    ``sweep`` adds to that, for example ``["sampling.seed=1,2,3"]``. What is wrong with any film is told at once.
    """
    finder = Finder(tuple(allow_paths))
    return _assembled(finder, finder.open(source), overrides, sweep)


def load_text(text: str, *, name: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Storyboard:
    """Reads a storyboard from text, as found in a film's metadata; ``name`` is what errors call it.

    Relative paths start at ``folder``, if there is one.
    """
    return _only(load_text_films(text, name=name, overrides=overrides, folder=folder))


def load_text_films(
    text: str, *, name: str, overrides: Sequence[str] = (), sweep: Sequence[str] = (), folder: Path | None = None
) -> tuple[Variant, ...]:
    """Reads every film that a storyboard in text describes; see `load_text` and `load_films`."""
    return _assembled(Finder(()), Source(name, text, folder), overrides, sweep)


def no_film(path: Path, *, allow_paths: Sequence[Path] = ()) -> str:
    """Why a YAML file is no storyboard of a film, but something else or a part of one; empty if it is, or may be."""
    finder = Finder(tuple(allow_paths))
    try:
        own = parse(finder.open(path)).value
        if not isinstance(own, dict) or not own.keys() & {*fields_at(()), "extends"}:
            return "it has no section of a storyboard"
        whole = reduce(merged, finder.layers(finder.open(path))).value
    except InvalidStoryboard:  # a storyboard with a mistake, which is told when it is read
        return ""
    return "" if isinstance(whole, dict) and whole.keys() & {"prompts", "shots"} else "it has no prompts"


def _only(films: tuple[Variant, ...]) -> Storyboard:
    """The one film. Raises StoryboardError for a sweep."""
    if films[0].settings:
        message = f"this is a sweep over {', '.join(films[0].settings)}: it describes {len(films)} films"
        raise StoryboardError(message, remedy="use load_films, or drop it with sweep=", field="sweep")
    return films[0].board


def _assembled(finder: Finder, source: Source, overrides: Sequence[str], sweep: Sequence[str]) -> tuple[Variant, ...]:
    """The films of a source, all it extends, and the overrides; else all that is wrong with any of them."""
    tree, problems = overridden(reduce(merged, finder.layers(source)), overrides)
    tree, films, wrong = swept(tree, sweep)
    problems += wrong
    variants = []
    for settings, film in films.trees(tree):
        board, values, wrong = _film(finder, inherited(film))
        problems += wrong
        if board and not wrong:
            variants.append(Variant(described(settings, film, values), board))
    if problems:
        raise InvalidStoryboard(problems)
    return tuple(variants)


def _film(finder: Finder, tree: Node) -> tuple[Storyboard | None, Any, list[Problem]]:
    """One storyboard from its tree, its values, and what is wrong with it."""
    values, unresolved = resolved(tree)
    values = _opened(values, ())
    locate_inputs(values, tree)
    read_wildcards(values, tree)
    board, wrong = checked(values, tree, skip_references=bool(unresolved))
    if board:
        wrong += check_output(board, tree, values=values, allow_paths=finder.roots)
        wrong += check_called(board, tree, values)
    return board, values, unresolved + wrong


def _opened(values: Any, path: tuple[str, ...]) -> Any:
    """The values with sections that have nothing below their name as empty maps rather than empty texts."""
    if isinstance(values, dict):
        return {name: _opened(value, (*path, name)) for name, value in values.items()}
    return {} if values == "" and takes_map_only(path) else values
