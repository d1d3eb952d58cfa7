"""Where a file is before it is whole, and how it gets its name."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lcm_video.errors import StoryboardError
from lcm_video.media.failures import explained
from lcm_video.media.leftovers import hidden, remove, settle, sweep

PICTURE = re.compile(r"[0-9]{5,}\.(png|jpg)")


@dataclass(frozen=True)
class Target:
    """One file to be: hidden beside its final place until `publish`.

    path: its final name; frames of a longer film go into a folder of that name without the ending
    """

    path: Path
    ending: str

    @property
    def partial(self) -> Path:
        """The hidden name while frames arrive."""
        return hidden(self.path, "part", self.ending)

    @property
    def folder(self) -> Path:
        """The final name of a folder of frames."""
        return self.path.with_suffix("")

    def prepare(self) -> None:
        """Makes the folder, and sweeps away what killed processes, and an earlier stop of this one, have left there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.path)
        self.clear()

    def clear(self, *, keep_partial: bool = False) -> None:
        """Removes everything hidden that is still there."""
        for stage in ("done",) if keep_partial else ("part", "done"):
            remove(hidden(self.path, stage, self.ending))
        settle(hidden(self.path, "old", self.ending), self.path)

    def check_folder(self) -> None:
        """Raises StoryboardError if the folder of frames would replace something else."""
        foreign = (
            [p.name for p in self.folder.iterdir() if not PICTURE.fullmatch(p.name)] if self.folder.is_dir() else []
        )
        if foreign or self.folder.is_file():
            holds = f" and holds {foreign[0]!r}" if foreign else ""
            raise StoryboardError(
                f"the frames would replace {self.folder}, which exists{holds}",
                remedy="choose another name",
                field="path",
            )

    def replace(self, finished: Path, undo: ExitStack) -> Path:
        """Gives the finished file or folder its name; ``undo`` learns how to bring back what had it before."""
        if finished.is_dir():
            self.check_folder()
        final = self.folder if finished.is_dir() else self.path
        undo.callback(_step_aside(final, hidden(self.path, "old", self.ending)))
        finished.replace(final)
        return final


def publish(finished: Mapping[Target, Path]) -> list[Path]:
    """Puts all files on disk, then gives them their names: all of them, or none. Returns the final paths."""
    for target, path in finished.items():
        with explained(target.path):
            _flush(path)
    finals = []
    with ExitStack() as undo:
        for target, path in finished.items():
            with explained(target.path):
                finals.append(target.replace(path, undo))
        for folder in {target.path.parent for target in finished}:
            with explained(folder):
                _flush(folder)
        undo.pop_all()
    return finals


def _step_aside(final: Path, aside: Path) -> Callable[[], None]:
    """Keeps what has the name ``final``, and returns how to bring it back."""
    if not final.exists():
        return lambda: remove(final)
    if final.is_dir():
        # A folder cannot be replaced in one step: for a moment nothing has the name. `sweep` knows.
        final.rename(aside)
    else:
        try:
            os.link(final, aside)
        except OSError:  # a file system without links: one file is replaced in one step all the same
            return lambda: None

    def come_back() -> None:
        if aside.is_dir():
            remove(final)
        aside.replace(final)

    return come_back


def _flush(path: Path) -> None:
    """Waits until a file, a folder or a hidden folder's files are on disk."""
    for place in [*path.iterdir(), path] if path.is_dir() and path.name.startswith(".") else [path]:
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
