"""Files a storyboard names: what it reads is looked for beside it, what it writes stays in the current folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.reader.check import place
from lcm_video.reader.problems import Mark, Problem, problem
from lcm_video.reader.syntax import Node
from lcm_video.storyboard import Storyboard

READS = (
    "model.checkpoint",
    "model.vae",
    "model.motion",
    "model.loras.*",
    "model.loras.*.path",
    "model.embeddings.*",
    "model.tokenizer",
    "start.source",
    "shots.*.start.source",
    "output.audio.source",
)
"""Fields that name a file to read; ``*`` is any name. A LoRA alone may be its path. Curves' sounds come on top."""

FOLDERS_OF_FRAMES = ("png", "jpg")
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
"""Windows opens these whatever the folder or ending."""


def input_paths(values: Any) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    """Every text in plain values that names a file to read: what holds it, its key there, its path."""
    for pattern in READS:
        yield from _matching(values, pattern.split("."), ())
    yield from _sounds(values, ())


def _matching(holder: Any, pattern: Sequence[str], path: tuple[str, ...]) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    first, *rest = pattern
    items = dict(enumerate(holder)) if isinstance(holder, list) else holder if isinstance(holder, dict) else {}
    for key, value in items.items():
        if first in ("*", key):
            if rest:
                yield from _matching(value, rest, (*path, str(key)))
            elif isinstance(value, str) and value:
                yield holder, key, (*path, str(key))


def _sounds(holder: Any, path: tuple[str, ...]) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    """The sounds that curves follow: a curve may stand in any section, but never be one."""
    for key, value in holder.items() if isinstance(holder, dict) else ():
        if key == "audio" and isinstance(value, str) and value and len(path) > 1 and path != ("model", "loras"):
            yield holder, key, (*path, key)
        yield from _sounds(value, (*path, str(key)))


def locate_inputs(values: Any, tree: Node) -> None:
    """Rewrites, in ``values``, relative inputs that lie beside the file which sets them; others may be names."""
    for holder, key, path in input_paths(values):
        folder = place(tree, path).source.folder
        if folder and not Path(holder[key]).is_absolute() and _exists(folder / holder[key]):
            # A bare word in the model section is a model's name, even where a folder happens to be called so.
            if path[0] == "model" and "/" not in holder[key] and (folder / holder[key]).is_dir():
                continue
            holder[key] = str(folder / holder[key])


def check_output(board: Storyboard, tree: Node, *, values: Any, allow_paths: Sequence[Path]) -> list[Problem]:
    """What is wrong with where the film would be written: over an input, or where a file may not write.

    What is typed on the command line may write anywhere; a file may come from anyone.
    """
    if not board.output.path:
        return []
    mark = place(tree, ("output", "path"))
    try:
        if not _typed(tree):
            _refuse_tricks(board.output.path)
        inputs = [Path(holder[key]) for holder, key, _ in input_paths(values)] + [*_sources(tree)]
        for ending in board.output.endings:
            file = board.output.path_of(ending)
            _check_file(file, ending=ending, inputs=inputs)
            if not _typed(tree):
                _check_inside(file, allow_paths)
    except StoryboardError as error:
        return [problem(mark, error.message, path="output.path", remedy=error.remedy)]
    return []


def _typed(tree: Node) -> bool:
    """Whether the output's path was typed as an override, to the last letter."""
    sections = tree.value if isinstance(tree.value, dict) else {}
    output = sections["output"].value if "output" in sections else {}
    path = output.get("path") if isinstance(output, dict) else None
    return path is not None and path.mark.source.trusted and "${" not in str(path.value)


def _refuse_tricks(path: str) -> None:
    """Refuses, on any system, what would leave the current folder on some system."""
    windows, posix = PureWindowsPath(path), PurePosixPath(path)
    if path.startswith("~"):
        raise StoryboardError(f"{path!r} begins in a home folder", remedy="write a path below the current folder")
    if windows.drive or (windows.root and not posix.root):
        raise StoryboardError(f"{path!r} names a drive", remedy="write a path below the current folder")
    if ".." in windows.parts and ".." not in posix.parts:
        raise StoryboardError(f"{path!r} leaves its folder", remedy="write a path below the current folder")
    if devices := [part for part in windows.parts if part.split(".")[0].strip().lower() in DEVICES]:
        raise StoryboardError(f"{devices[0]!r} is a device on Windows", remedy="choose another name")


def _check_file(file: Path, *, ending: str, inputs: Sequence[Path]) -> None:
    """Refuses a folder, and a file that the film is made from."""
    if _is_folder(file) and ending not in FOLDERS_OF_FRAMES:
        raise StoryboardError(f"{str(file)!r} is a folder", remedy=f"name a file in it: {file / 'film'}.{ending}")
    for source in inputs:
        if _exists(source) and source.resolve() == file.resolve():
            raise StoryboardError(f"{str(file)!r} is also an input of this film", remedy="choose another name")


def _check_inside(file: Path, allow_paths: Sequence[Path]) -> None:
    """Refuses a file that, with every link followed, lies outside the current folder and the allowed ones."""
    if not any(file.resolve().is_relative_to(root.resolve()) for root in (Path.cwd(), *allow_paths)):
        remedy = "write a path below the current folder, pass --allow-path, or give output.path on the command line"
        raise StoryboardError(f"{str(file)!r} lies outside the current folder", remedy=remedy)


def _sources(node: Node) -> set[Path]:
    """The files that a tree was read from."""
    found: set[Path] = set()

    def visit(mark: Mark) -> None:
        if mark.source.folder:
            found.add(mark.source.folder / Path(mark.source.name).name)

    visit(node.mark)
    for child in node.value.values() if isinstance(node.value, dict) else []:
        visit(child.mark)
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
