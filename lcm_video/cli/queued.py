"""What a command line names, as films: read, planned, and known not to stand in each other's way. No torch."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lcm_video.cli.locking import verify_lock
from lcm_video.cli.sources import Opened, opened_films, refuse_existing, targets
from lcm_video.errors import LcmVideoError, StoryboardError
from lcm_video.models.slots import check_files
from lcm_video.plan import Plan, plan
from lcm_video.reader import no_film, presets

BOARDS = (".yaml", ".yml")


class Queued(NamedTuple):
    """One film of the queue: where it comes from, and its plan. ``source`` numbers what the user named."""

    opened: Opened
    planned: Plan
    source: int

    @property
    def targets(self) -> list[Path]:
        """The files, and folders of frames, that it is written to."""
        return targets(self.planned.board.output, self.planned.frames)


class Failed(NamedTuple):
    """A storyboard that cannot be rendered, and why."""

    source: str
    error: LcmVideoError


@dataclass
class Gathered:
    """All films, what cannot be one, and what should be said; ``sources`` counts what was named, folders opened."""

    sources: int
    films: list[Queued] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gathered(
    arguments: Sequence[str], *, sweep: Sequence[str] = (), output: str = "", allow_paths: Sequence[Path] = ()
) -> Gathered:
    """The films that ``arguments`` name: storyboards, presets, films and folders, and key=value for all of them."""
    named, overrides = told_apart(arguments)
    notes: list[str] = []
    sources = [source for name in named for source in _expanded(name, allow_paths, notes)]
    into = Path(output) if output and (output.endswith(("/", "\\")) or Path(output).is_dir()) else None
    if output and not into:
        if len(sources) > 1:
            message = f"{len(sources)} films cannot all be written to {output}"
            raise StoryboardError(message, remedy=f"name a folder: -o {output}/", field="output.path")
        overrides = [*overrides, f"output.path={output}"]
    found = Gathered(len(sources), notes=notes)
    for number, source in enumerate(sources):
        try:
            films = opened_films(source, overrides, sweep=sweep, allow_paths=allow_paths)
            if into:
                placed = [*overrides, f"output.path={into / films[0].path.name}"]
                films = opened_films(source, placed, sweep=sweep, allow_paths=allow_paths)
            found.films += [_checked(film, number) for film in films]
        except LcmVideoError as error:
            found.failed.append(Failed(source, error))
    return found


def _checked(film: Opened, number: int) -> Queued:
    """A film with its plan. Raises what stands in the way of rendering it, so far as can be known now."""
    verify_lock(film.source, film.board)
    planned = plan(film.board)
    check_files(film.board.model, film.board.runtime.folders)
    return Queued(film, planned, number)


def told_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is named, and what is changed.

    >>> told_apart(["fox.yaml", "video.fps=12", "hare.yaml"])
    (['fox.yaml', 'hare.yaml'], ['video.fps=12'])
    """
    changes = [text for text in arguments if re.match(r"""[\w"'-][^=/\\]*=""", text) and not _there(text)]
    named = [text for text in arguments if text not in changes]
    if not named:
        raise StoryboardError("nothing to render is named", remedy="name a storyboard before the changes to it")
    return named, changes


def _there(text: str) -> bool:
    try:
        return text in presets() or Path(text).exists()
    except (OSError, ValueError):  # too long a name, or one that no file has
        return False


def _expanded(name: str, allow_paths: Sequence[Path], notes: list[str]) -> Iterator[str]:
    """Yields the storyboards of a folder; anything else as it is. What is skipped is noted."""
    folder = Path(name)
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in BOARDS) if folder.is_dir() else []
    if folder.is_dir() and not files and not any(file.suffix in (".png", ".jpg") for file in folder.iterdir()):
        message = f"{name} holds no storyboards, and no frames of a film"
        raise StoryboardError(message, remedy="name a folder with .yaml files in it")
    if not files:
        yield name
        return
    skipped = {file: why for file in files if (why := no_film(file, allow_paths=allow_paths))}
    notes += [f"{file} is skipped: {why}" for file, why in skipped.items()]
    if len(skipped) == len(files):
        message = f"{name} holds no storyboards: {next(iter(skipped))}: {next(iter(skipped.values()))}"
        raise StoryboardError(message, remedy="a storyboard has prompts")
    yield from (str(file) for file in files if file not in skipped)


def refuse_clashes(films: Sequence[Queued], *, overwrite: bool) -> None:
    """Raises StoryboardError if two films would be written to one file or, unless ``overwrite``, over one."""
    taken: dict[Path, Queued] = {}
    for film in films:
        for path in film.targets:
            other = taken.setdefault(path.absolute(), film)
            if other is not film:
                message = f"{other.opened.source} and {film.opened.source} would both be written to {path}"
                remedy = "give one of them another output.path"
                raise StoryboardError(message, remedy=remedy, field="output.path")
    if not overwrite:
        refuse_existing([path for film in films for path in film.targets])
