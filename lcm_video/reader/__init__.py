"""Reading storyboards: YAML files, presets and ``key=value`` overrides, with errors that point at the line.

    text → values with places (syntax) → one tree (layers) → references replaced (guard) → checked (check, paths)

Later layers win: presets named in ``extends``, then the file, then overrides. `dump` is the way back.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from lcm_video.reader.called import check_called, read_wildcards
from lcm_video.reader.check import checked
from lcm_video.reader.guard import resolved
from lcm_video.reader.layers import Finder, inherited, merged, overridden, presets
from lcm_video.reader.paths import check_output, locate_inputs
from lcm_video.reader.problems import InvalidStoryboard, Problem, Source
from lcm_video.reader.schema import schema, takes_map_only
from lcm_video.reader.writing import dump, redacted
from lcm_video.storyboard import Storyboard

__all__ = ["InvalidStoryboard", "Problem", "dump", "load", "load_text", "presets", "redacted", "schema"]


def load(source: str | Path, overrides: Sequence[str] = (), *, allow_paths: Sequence[Path] = ()) -> Storyboard:
    """Reads a storyboard file (or preset name) and applies ``overrides`` such as ``"video.fps=12"``.

    ``allow_paths`` are folders it may write to and extend from, besides the current one. Raises InvalidStoryboard
    (a StoryboardError) with everything that is wrong: the place, the nearest valid name, what to do.
    """
    finder = Finder(tuple(allow_paths))
    return _assembled(finder, finder.open(source), overrides)


def load_text(text: str, *, name: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Storyboard:
    """Reads a storyboard from text, as found in a film's metadata; ``name`` is what errors call it.

    Relative paths start at ``folder``, if there is one.
    """
    return _assembled(Finder(()), Source(name, text, folder), overrides)


def _assembled(finder: Finder, source: Source, overrides: Sequence[str]) -> Storyboard:
    """One storyboard from a source, all it extends, and the overrides; else all that is wrong with any of them."""
    tree, problems = overridden(reduce(merged, finder.layers(source)), overrides)
    tree = inherited(tree)
    values, unresolved = resolved(tree)
    values = _opened(values, ())
    locate_inputs(values, tree)
    read_wildcards(values, tree)
    board, wrong = checked(values, tree, skip_references=bool(unresolved))
    if board:
        wrong += check_output(board, tree, values=values, allow_paths=finder.roots)
        wrong += check_called(board, tree, values)
    problems += unresolved + wrong
    if problems or not board:
        raise InvalidStoryboard(problems)
    return board


def _opened(values: Any, path: tuple[str, ...]) -> Any:
    """The values with sections that have nothing below their name as empty maps rather than empty texts."""
    if isinstance(values, dict):
        return {name: _opened(value, (*path, name)) for name, value in values.items()}
    return {} if values == "" and takes_map_only(path) else values
