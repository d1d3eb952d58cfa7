"""The work store: what renders keep, so that they can go on, and draw again only what has changed.

    <work>/v1/<key>/about.json            what it is, for people
                   /frames-000000-16      decoded frames, without loss
                   /live                  where the render of the other frames stands
                   /lock                  held by those at work
                   /keep                  pinned by ``render --keep-work``

The key says what the frames are (see `keys`), so nothing here can be out of date, only not needed any more.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcm_video.models.places import work_folder
from lcm_video.work import locks
from lcm_video.work.framing import SCHEMA, flush, mark, remove, sweep
from lcm_video.work.shot import ABOUT, PIN, ShotWork, chunks_in

LIMIT = 20_000_000_000
"""Bytes of work that are kept when a render ends."""

GONE = ".gone"
LONGEST_ABOUT = 65_536


@dataclass(frozen=True)
class Entry:
    """The work on one shot, as far as it can be told at a glance.

    about: what the render said of it; empty if that cannot be read
    done: frames there are files of
    size: bytes
    used: when a render last began with it, in seconds since 1970
    busy: whether a render is at work on it
    pinned: whether it was asked to be kept
    """

    folder: Path
    about: Mapping[str, Any]
    done: int
    size: int
    used: float
    busy: bool
    pinned: bool

    @property
    def key(self) -> str:
        """What its frames are determined by, hashed."""
        return self.folder.name


@dataclass(frozen=True)
class Swept:
    """What clearing away came to: entries removed, the bytes they had, and the bytes that are still there."""

    removed: int
    freed: int
    left: int


class Store:
    """Kept work, in ``folder`` or else the user's; nothing is touched before the first shot is asked for.

    notes: one sentence for each thing that was not as it should be
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or work_folder()
        self.notes: list[str] = []
        self._looked = False

    @property
    def _shots(self) -> Path:
        return self.folder / f"v{SCHEMA}"

    def shot(self, key: str, about: Mapping[str, Any]) -> ShotWork:
        """The work on the shot with this key; ``about`` says what it is, for `entries`.

        about: plain facts: ``storyboard``, ``shot``, ``target``, ``frames``, and ``width`` and ``height`` in pixels,
            which frames that are read back must have

        Raises ResourceError if the folder cannot be made.
        """
        self._look()
        return ShotWork(self._shots / key, about, self.notes)

    def _look(self) -> None:
        if not self._looked:
            self._looked = True
            if others := [path.name for path in self._versions() if path != self._shots]:
                told = f"the work of another version ({', '.join(others)}) is ignored"
                self.notes.append(f"{told}; `lcm-video cache gc --all` removes it")

    def _versions(self) -> list[Path]:
        return [path for path in _folders(self.folder) if path.name[:1] == "v" and path.name[1:].isdigit()]

    def entries(self) -> list[Entry]:
        """All work of this version, the last used first."""
        return self._entries([self._shots])

    def _entries(self, versions: Collection[Path]) -> list[Entry]:
        found = [entry_of(path) for version in versions for path in _folders(version) if path.name[:1] != "."]
        return sorted(found, key=lambda entry: (-entry.used, entry.key))

    def sweep(self, limit: int = LIMIT, *, keep: Collection[str] = ()) -> Swept:
        """Clears away what has not been used for longest, until ``limit`` bytes are left.

        What a render is at work on stays, and what is pinned, and the keys of ``keep``.
        """
        entries = self.entries()
        total, freed, removed = sum(entry.size for entry in entries), 0, 0
        self._tidy([self._shots])
        for entry in reversed(entries):
            if total - freed <= limit:
                break
            if not entry.pinned and entry.key not in keep and _cleared(entry.folder):
                freed, removed = freed + entry.size, removed + 1
        return Swept(removed, freed, total - freed)

    def clear(self) -> Swept:
        """Clears away everything that no render is at work on: pinned work too, and that of other versions."""
        versions = self._versions()
        entries = self._entries(versions)
        gone = [entry for entry in entries if _cleared(entry.folder)]
        self._tidy(versions)
        for version in versions:
            with suppress(OSError):  # unless something is left in it
                version.rmdir()
        freed = sum(entry.size for entry in gone)
        return Swept(len(gone), freed, sum(entry.size for entry in entries) - freed)

    def _tidy(self, versions: Collection[Path]) -> None:
        """Removes what processes that are no more have left."""
        for version in versions:
            for path in _folders(version):
                if path.name.startswith(GONE):
                    remove(path)
                sweep(path)


def entry_of(folder: Path) -> Entry:
    """What is known of the work in one folder."""
    about = folder / ABOUT
    size, used = 0, 0.0
    with suppress(OSError):
        size = sum(path.lstat().st_size for path in folder.iterdir())
    with suppress(OSError):
        used = about.lstat().st_mtime
    return Entry(
        folder=folder,
        about=_about(about),
        done=sum(count for _, count in chunks_in(folder)),
        size=size,
        used=used,
        busy=_is_busy(folder),
        pinned=(folder / PIN).exists(),
    )


def _about(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LONGEST_ABOUT:
            found = json.loads(path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return {}


def _is_busy(folder: Path) -> bool:
    if lock := locks.exclusive(folder):
        lock.release()
    return lock is None


def _cleared(folder: Path) -> bool:
    """Whether the folder could be removed: nobody is at work in it, and it may be written to."""
    lock = locks.exclusive(folder)
    if lock is None:
        return False
    try:
        # Under another name first: nobody must meet half of it.
        gone = folder.with_name(f"{GONE}{mark()}")
        folder.rename(gone)
    except OSError:
        return False
    finally:
        lock.release()
    remove(gone)
    with suppress(OSError):
        flush(folder.parent)
    return True


def _folders(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
