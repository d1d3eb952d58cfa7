"""What a user names on the command line: a storyboard, a preset, or a film that carries its storyboard."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lcm_video.errors import InputError, StoryboardError
from lcm_video.media import FORMATS
from lcm_video.reader import load
from lcm_video.report import Origin, origin
from lcm_video.storyboard import Storyboard


def opened(source: str, overrides: Sequence[str], allow_paths: Sequence[Path] = ()) -> tuple[Storyboard, Origin | None]:
    """The storyboard that ``source`` is or carries, and where it comes from if it is a film.

    Its ``output.path`` is settled: what the storyboard or an override says, ``out/<name>.mp4``, or beside a film
    that is rendered again, a name with ``.again`` in it.
    """
    path = Path(source)
    if not is_film(path):
        board = load(source, overrides, allow_paths=allow_paths)
        return board if board.output.path else with_path(board, Path("out") / f"{path.stem}.mp4"), None
    found = origin_of(path)
    board = found.board(overrides, name=source)
    told = any(change.startswith(("output.path=", "output=")) for change in overrides)
    ending = board.output.endings[0]
    again = path.with_name(f"{path.name if path.is_dir() else path.stem}.again.{ending}")
    return board if told else with_path(board, again), found


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
