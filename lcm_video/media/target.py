"""Where a file is before it is whole, and how it gets its name."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lcm_video.errors import StoryboardError

PICTURE = re.compile(r"[0-9]{5,}\.(png|jpg)")


@dataclass(frozen=True)
class Target:
    """One file to be: hidden beside its final place until `commit`.

    path: its final name; frames of a longer film go into a folder of that name without the ending
    """

    path: Path
    ending: str

    @property
    def partial(self) -> Path:
        """The hidden name while frames arrive: absolute, so that FFmpeg cannot take it for a URL."""
        return self.path.parent.absolute() / f".{self.path.stem}.{os.getpid()}.part.{self.ending}"

    @property
    def folder(self) -> Path:
        """The final name of a folder of frames."""
        return self.path.with_suffix("")

    def prepare(self) -> None:
        """Makes the folder, and sweeps away what killed processes have left there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        mark = re.compile(rf"\.{re.escape(self.path.stem)}\.([0-9]+)\.(part|done|old)\.{self.ending}")
        for leftover in self.path.parent.iterdir():
            found = mark.fullmatch(leftover.name)
            if found and not _alive(int(found[1])):
                _remove(leftover)

    def commit(self, finished: Path) -> Path:
        """Puts the file on disk, then gives it its name. Returns the final path."""
        _flush(finished)
        if finished.is_dir():
            final = self.folder
            self._replace_folder(finished)
        else:
            final = self.path
            finished.replace(final)
        _flush(final.parent)
        return final

    def clear(self) -> None:
        """Removes everything hidden that is still there."""
        for stage in ("part", "done", "old"):
            _remove(self.partial.with_name(self.partial.name.replace(".part.", f".{stage}.")))

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

    def _replace_folder(self, finished: Path) -> None:
        # A folder cannot be replaced in one step: the old one steps aside, and comes back if the new one cannot.
        self.check_folder()
        aside = self.partial.with_name(self.partial.name.replace(".part.", ".old."))
        existed = self.folder.is_dir()
        if existed:
            self.folder.rename(aside)
        try:
            finished.rename(self.folder)
        except OSError:
            if existed:
                aside.rename(self.folder)
            raise


def _flush(path: Path) -> None:
    """Waits until a file, a folder or a folder's files are on disk."""
    for place in [*path.iterdir(), path] if path.is_dir() and path.name.startswith(".") else [path]:
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
