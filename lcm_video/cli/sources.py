"""What a user names on the command line: a storyboard, a preset, a film that carries its storyboard, or a file of
another tool."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lcm_video.errors import InputError, StoryboardError
from lcm_video.media import FORMATS
from lcm_video.reader import load, load_text
from lcm_video.report import Origin, origin
from lcm_video.storyboard import Storyboard


def opened(source: str, overrides: Sequence[str], allow_paths: Sequence[Path] = ()) -> tuple[Storyboard, Origin | None]:
    """The storyboard that ``source`` is or carries, and where it comes from if it is a film.

    Its ``output.path`` is settled: what the storyboard or an override says, ``out/<name>.mp4``, or beside a film
    that is rendered again, a name with ``.again`` in it. What another tool wrote is read as ``lcm-video import`` does.
    """
    path = Path(source)
    if is_of_another_tool(path):
        board = foreign(path, overrides)
        return board if board.output.path else with_path(board, Path("out") / f"{path.stem}.mp4"), None
    if not is_film(path):
        board = load(source, overrides, allow_paths=allow_paths)
        return board if board.output.path else with_path(board, Path("out") / f"{path.stem}.mp4"), None
    found = origin_of(path)
    board = found.board(overrides, name=source)
    told = any(change.startswith(("output.path=", "output=")) for change in overrides)
    ending = board.output.endings[0]
    again = path.with_name(f"{path.name if path.is_dir() else path.stem}.again.{ending}")
    return board if told else with_path(board, again), found


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


def foreign(path: Path, overrides: Sequence[str]) -> Storyboard:
    """The storyboard that another tool's file describes."""
    from lcm_video.cli.importing import storyboard_text

    return load_text(storyboard_text(path), name=f"{path} (imported)", overrides=overrides, folder=path.parent)


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


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raises StoryboardError if one of the files to write is there already."""
    if there := [str(path) for path in paths if path.exists()]:
        raise StoryboardError(
            f"{', '.join(there)} exists", remedy="add --overwrite, or give another name with -o", field="output.path"
        )
