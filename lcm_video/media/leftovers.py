"""Hidden files of films that were never finished: how they are named, and which of them nobody needs any more.

``fox.mp4`` grows as ``.fox.<process>.part.mp4``. What is finished and waits for its name says ``done``; an older film
that steps aside for the moment says ``old``.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lcm_video.media.locking import alive, holder


def hidden(target: Path, stage: str, ending: str) -> Path:
    """This process's hidden name for ``target``: absolute, so that FFmpeg cannot take it for a URL."""
    return target.parent.absolute() / f".{target.stem}.{os.getpid()}.{stage}.{ending}"


def leftovers(target: Path) -> Iterator[Path]:
    """What processes that are gone have left of films called like ``target``, whatever their ending."""
    mark = re.compile(rf"\.{re.escape(target.stem)}\.([0-9]+)\.(?:part|done|old)\.([a-z0-9]+)")
    with suppress(OSError):
        for path in sorted(target.parent.absolute().iterdir()):
            found = mark.fullmatch(path.name)
            if found and not alive(int(found[1])) and not _elsewhere(target.with_suffix(f".{found[2]}")):
                yield path


def sweep(target: Path) -> None:
    """Removes the leftovers of ``target``; see `settle` for films that had stepped aside."""
    for path in leftovers(target):
        if ".old." in path.name.removeprefix(f".{target.stem}"):
            settle(path, target)
        else:
            remove(path)


def settle(old: Path, target: Path) -> None:
    """Removes an older film that had stepped aside, or brings it back if its name is free."""
    final = target.with_suffix("" if old.is_dir() else old.suffix)
    if final.exists():
        remove(old)
    else:
        with suppress(OSError):
            old.rename(final)


def remove(path: Path) -> None:
    """Removes a file or a folder, if it is there and as far as that is allowed."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of a folder's files; 0 where there is nothing."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    return 0


def _elsewhere(target: Path) -> bool:
    """Whether another host holds the lock: its processes cannot be seen from here."""
    owner = holder(target)
    return owner is not None and not owner.is_here
