"""One render to one file: a lock beside each target, which tells who holds it and since when.

The system lets go of a lock (flock) when its process ends, however that came about. The file that is left then names a
process that is gone, and is taken over. Other machines do not always see such locks, so a file that names another host
is left alone.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from lcm_video.errors import LockedError
from lcm_video.media.failures import explained
from lcm_video.media.output import Output


@dataclass(frozen=True)
class Holder:
    """Who has locked a file: a process on a host, since a time of day."""

    pid: int
    host: str
    since: str

    @classmethod
    def here(cls) -> "Holder":
        """This process, now."""
        return cls(os.getpid(), socket.gethostname(), datetime.now().astimezone().isoformat(timespec="seconds"))

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def locked(output: Output, *, take_over: bool = False) -> Iterator[list[str]]:
    """Holds the locks of all files of ``output``; gives notes about those that dead processes had left.

    take_over: also take locks that another host has left, where nobody can see whether its render still runs

    Raises LockedError if somebody else holds one, ResourceError if the folder cannot be written to.
    """
    notes: list[str] = []
    with ExitStack() as held:
        for ending in output.endings:
            _lock(output.path_of(ending), held, notes, take_over)
        yield notes


@contextmanager
def held(output: Output) -> Iterator[None]:
    """Holds the locks of ``output`` as `locked` does, save those that this process holds already."""
    with ExitStack() as locks:
        for ending in output.endings:
            path = output.path_of(ending)
            try:
                _lock(path, locks, [], take_over=False)
            except LockedError:
                owner = holder(path)
                if owner is None or (owner.pid, owner.is_here) != (os.getpid(), True):
                    raise
        yield


def holder(target: Path) -> Holder | None:
    """Who has, or had, locked a file. None: nobody, or the lock says nothing."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(lock_of(target).read_text(encoding="utf-8"))
        return Holder(int(facts["pid"]), str(facts["host"]), str(facts["since"]))
    return None


def lock_of(target: Path) -> Path:
    """Where a file's lock is: ``fox.mp4`` has ``.fox.mp4.lock`` beside it."""
    return target.with_name(f".{target.name}.lock")


def alive(pid: int) -> bool:
    """Whether a process of that number runs on this host."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _lock(target: Path, locks: ExitStack, notes: list[str], take_over: bool) -> None:
    """Locks a file until ``locks`` closes. A folder made for it is removed then if nothing came into it."""
    with explained(target):
        parents = [folder for folder in target.absolute().parents if not folder.exists()]
        for folder in reversed(parents):
            locks.callback(_remove_if_empty, folder)
        handle = None
        while handle is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # another render has just removed the empty folder
                handle = os.open(lock_of(target), os.O_RDWR | os.O_CREAT, 0o644)
                handle = _claimed(handle, target, notes, take_over)
        locks.callback(_release, handle, lock_of(target))
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(asdict(Holder.here())).encode(), 0)


def _claimed(handle: int, target: Path, notes: list[str], take_over: bool) -> int | None:
    """The open lock file, now ours. None: it was removed while it was opened. Raises LockedError if it is not free."""
    try:
        owner = _seized(handle, target)
        if owner and not owner.is_here and not take_over:
            raise LockedError(
                f"{target} is locked by {owner}, which cannot be seen from here",
                remedy=f"if that render is over, delete {lock_of(target)}",
            )
        if not _is_at(handle, lock_of(target)):
            os.close(handle)
            return None
    except BaseException:
        os.close(handle)
        raise
    if owner:
        gone = "which is gone" if owner.is_here else "as told"
        notes.append(f"took over {target.name} from {owner}, {gone}")
    return handle


def _seized(handle: int, target: Path) -> Holder | None:
    """Locks the file for this process, and returns who had left it behind. Raises LockedError if its owner lives."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(target, holder(target)) from None
    except OSError:  # a file system without locks: what the file says has to do
        owner = holder(target)
        if owner and owner.is_here and alive(owner.pid):
            raise _busy(target, owner) from None
    return holder(target)


def _busy(target: Path, owner: Holder | None) -> LockedError:
    stop = f"stop it (kill {owner.pid})" if owner and owner.is_here else "stop it"
    who = owner or "another process"
    return LockedError(
        f"{target} is being written by {who}", remedy=f"wait until it is done, {stop}, or choose another output.path"
    )


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _release(handle: int, lock: Path) -> None:
    # Removed while it is still held: whoever opens the name afterwards makes a new file.
    with suppress(OSError):
        if _is_at(handle, lock):
            lock.unlink()
    os.close(handle)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
