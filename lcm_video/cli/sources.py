"""What a user names on the command line: a storyboard, a preset, a film that carries its storyboard, or a file of
another tool."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lcm_video.cli.film_names import differences, named
from lcm_video.errors import InputError, StoryboardError
from lcm_video.media import FORMATS, Output
from lcm_video.reader import Variant, load_films, load_text_films
from lcm_video.report import Origin, origin
from lcm_video.storyboard import Storyboard


class Opened(NamedTuple):
    """One film to render: its storyboard, the film it was read from if it was one, and what a sweep set for it.

    ``source`` is what the user named; ``path`` is where the film goes before a sweep names it.
    """

    source: str
    board: Storyboard
    origin: Origin | None
    settings: Mapping[str, str]
    path: Path


def opened(source: str, overrides: Sequence[str], allow_paths: Sequence[Path] = ()) -> tuple[Storyboard, Origin | None]:
    """The storyboard that ``source`` is or carries, and where it comes from if it is a film.

    Its ``output.path`` is settled: what the storyboard or an override says, ``out/<name>.mp4``, or beside a film
    that is rendered again, a name with ``.again`` in it. What another tool wrote is read as ``lcm-video import`` does.
    """
    films = opened_films(source, overrides, allow_paths=allow_paths)
    if films[0].settings:
        message = f"{source} is a sweep: it describes {len(films)} films"
        raise StoryboardError(message, remedy="drop it with sweep=", field="sweep")
    return films[0].board, films[0].origin


def opened_films(
    source: str, overrides: Sequence[str], *, sweep: Sequence[str] = (), allow_paths: Sequence[Path] = ()
) -> list[Opened]:
    """Every film that ``source`` describes: one, or those of its sweep, each with a name of its own (see `opened`)."""
    given, origin = Path(source), None
    usual = Path("out") / f"{given.stem}.mp4"
    if is_of_another_tool(given):
        films = foreign(given, overrides, sweep)
    elif not is_film(given):
        films = load_films(source, overrides, sweep=sweep, allow_paths=allow_paths)
    else:
        origin = origin_of(given)
        films = load_text_films(origin.storyboard, name=source, overrides=overrides, sweep=sweep)
        usual = given.with_name(
            f"{given.name if given.is_dir() else given.stem}.again.{films[0].board.output.endings[0]}"
        )
    told = any(change.startswith(("output.path=", "output=")) for change in overrides)
    paths = [Path(film.board.output.path or usual) if told or not origin else usual for film in films]
    differs = differences([film.settings for film in films]) if films[0].settings else [""] * len(films)
    return [
        Opened(source, with_path(film.board, named(path, name)), origin, film.settings, path)
        for film, path, name in zip(films, paths, differs, strict=True)
    ]


def is_of_another_tool(path: Path) -> bool:
    """Whether this is a file that another tool wrote, by what is in it; films made here are ours."""
    from lcm_video.importers import is_foreign

    if not path.is_file():
        return False
    if is_film(path):
        from lcm_video.media import about

        try:
            if about(path) is not None:
                return False
        except InputError:  # a text that is only named like a film
            pass
    return is_foreign(path)


def foreign(path: Path, overrides: Sequence[str], sweep: Sequence[str] = ()) -> tuple[Variant, ...]:
    """The films that another tool's file describes."""
    from lcm_video.cli.importing import storyboard_text

    name, text = f"{path} (imported)", storyboard_text(path)
    return load_text_films(text, name=name, overrides=overrides, sweep=sweep, folder=path.parent)


def is_film(path: Path) -> bool:
    """Whether this is a film made here, by its name: a folder of frames, or a media file."""
    return path.is_dir() or path.suffix.lower().removeprefix(".") in FORMATS


def origin_of(path: Path) -> Origin:
    """What a film says of itself. Raises InputError if it says nothing."""
    from lcm_video.media import about

    if not path.exists():
        raise InputError(f"{path} does not exist", remedy="give a storyboard, a preset's name, or a film")
    text = about(path)
    if text is None:
        raise InputError(
            f"{path} carries no storyboard",
            remedy="only films written by lcm-video with output.metadata on can be rendered again",
        )
    return origin(text, name=str(path))


def with_path(board: Storyboard, path: Path) -> Storyboard:
    """The storyboard with another ``output.path``."""
    return replace(board, output=replace(board.output, path=str(path)))


def targets(output: Output, frames: int) -> list[Path]:
    """What will be written: files, and folders for the frames of a film."""
    folders = {"png", "jpg"} if frames > 1 else set()
    paths = {ending: output.path_of(ending) for ending in output.endings}
    return [path.with_suffix("") if ending in folders else path for ending, path in paths.items()]


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raises StoryboardError if one of the files to write is there already."""
    if there := [str(path) for path in paths if path.exists()]:
        raise StoryboardError(
            f"{', '.join(there)} exists", remedy="add --overwrite, or give another name with -o", field="output.path"
        )
