"""Who is at work in a folder: any number of renders at once, or one that clears it away, never both.

The system lets go of a lock when its process ends, however it ends: no lock is ever stale.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing that is open can be removed
    fcntl = None

NAME = "lock"
TRIES = 100


class Lock:
    """A lock on a folder, held until `release`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def release(self) -> None:
        """Lets go; a second time does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def shared(folder: Path) -> Lock:
    """Makes the folder if need be, and joins those at work in it. Raises OSError."""
    for _ in range(TRIES):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # it was cleared away between two lines
            handle = _open(folder)
            _lock(handle, exclusive=False)
            if _is_there(folder, handle):
                return Lock(handle)
            os.close(handle)  # it was cleared away while this waited
    raise FileNotFoundError(errno.ENOENT, "the folder keeps being removed", str(folder))


def exclusive(folder: Path) -> Lock | None:
    """Keeps all others out of a folder; None if somebody is at work in it."""
    try:
        handle = _open(folder)
    except OSError:
        return None
    with suppress(BlockingIOError):
        _lock(handle, exclusive=True)
        if _is_there(folder, handle):
            return Lock(handle)
    os.close(handle)
    return None


def _open(folder: Path) -> int:
    return os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _lock(handle: int, *, exclusive: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a file system without locks: work goes on, only clearing away could disturb it


def _is_there(folder: Path, handle: int) -> bool:
    own = os.fstat(handle)
    try:
        found = os.stat(folder / NAME, follow_symlinks=False)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
