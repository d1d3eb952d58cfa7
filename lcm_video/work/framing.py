"""Files that say whether they are whole: a line with what they should be, then their content.

    lcm-video work 1 <bytes> <sha256>\\n<content>

They are written beside their place, brought to disk, and only then given their name. So a file is there as it was
meant or, after a crash, a fault of the disk or a visit by somebody else, it is told from one that is; nothing else
about it, such as its times, is ever believed.
"""

import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import count
from pathlib import Path
from platform import node

from lcm_video.errors import ResourceError

SCHEMA = 1
"""Raised when what is kept, or how, changes its meaning: what other versions have kept is then left alone."""

MAGIC = b"lcm-video work "
HEADER = re.compile(rb"lcm-video work (?P<schema>[0-9]{1,9}) (?P<length>[0-9]{1,15}) (?P<digest>[0-9a-f]{64})\n")
LONGEST = 128
"""Bytes that a header takes at most."""

DAY = 86_400.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ANOTHER_PLACE = "set LCM_VIDEO_WORK to a folder elsewhere"


class Damaged(Exception):
    """Raised for a file that is not what it should be; its text says what it is, as in "is cut short"."""


class Unreadable(Damaged):
    """Raised for a file that may be what it should be, but does not let itself be read now."""


def framed(content: bytes, label: str) -> bytes:
    """The bytes of a file with this content; ``label`` says whose it is, so that no other's is taken for it."""
    return b"%s%d %d %s\n" % (MAGIC, SCHEMA, len(content), _digest(content, label)) + content


def unframed(found: bytes, label: str) -> bytes:
    """The content of a file with these bytes. Raises Damaged unless they are those of `framed`."""
    header = HEADER.match(found[:LONGEST])
    if not header:
        raise Damaged("is empty" if not found else "is not a file of lcm-video's work")
    if int(header["schema"]) != SCHEMA:
        raise Damaged("is of another version of lcm-video")
    content = found[header.end() :]
    if len(content) != int(header["length"]):
        raise Damaged("is cut short" if len(content) < int(header["length"]) else "is longer than it should be")
    if _digest(content, label) != header["digest"]:
        raise Damaged("is damaged, or another's")
    return content


def _digest(content: bytes, label: str) -> bytes:
    found = sha256(label.encode() + b"\0")
    found.update(content)
    return found.hexdigest().encode()


def read(path: Path, label: str) -> bytes | None:
    """The content of a file, or None if there is none. Raises Damaged for anything else in its place."""
    try:
        # Not through links, and without waiting: what a pipe or a device holds is not asked for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Damaged("is not a file")
            with open(handle, "rb", closefd=False) as file:
                found = file.read()
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Damaged("is a link") from None
        raise Unreadable(f"cannot be read ({error.strerror})") from None
    return unframed(found, label)


def write(path: Path, content: bytes, label: str) -> None:
    """Puts a file in place, on disk, whole. Raises ResourceError; then what was there before is still there."""
    place(path, framed(content, label))


def place(path: Path, found: bytes) -> None:
    """Puts these bytes in place as they are."""
    partial = path.with_name(f".{path.name}{mark()}")
    with explained(path.parent):
        try:
            with partial.open("xb") as file:
                file.write(found)
                file.flush()
                os.fsync(file.fileno())
            with suppress(IsADirectoryError):
                partial.replace(path)
                return flush(path.parent)
            remove(path)
            partial.replace(path)
            flush(path.parent)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise


def flush(folder: Path) -> None:
    """Waits until the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Removes whatever is at ``path``, not what it points to; what cannot be removed stays."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


_numbers = count()


def mark() -> str:
    """What the names of this process' partial files end in: whose they are, and that they are partial."""
    return f".{_machine()}.{os.getpid()}.{next(_numbers)}.part"


def _machine() -> str:
    """A name for this machine, or container: where process numbers mean the same processes."""
    own = ""
    with suppress(OSError):
        own = os.readlink("/proc/self/ns/pid")
    return sha256(f"{node()}|{own}".encode()).hexdigest()[:12]


LEFTOVER = re.compile(r"\..+\.(?P<machine>[0-9a-f]{12})\.(?P<process>[0-9]{1,10})\.[0-9]+\.part")


def sweep(folder: Path) -> None:
    """Removes the partial files of processes that are no more; those of other machines after a day."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if (found := LEFTOVER.fullmatch(entry.name)) and _is_left(entry, found):
                remove(Path(entry.path))


def _is_left(entry: os.DirEntry, found: re.Match[str]) -> bool:
    if found["machine"] == _machine():
        return not alive(int(found["process"]))
    with suppress(OSError):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
    return False


def alive(process: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns what the system raises about the work folder into a ResourceError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            remedy = f"free space there, for example by `lcm-video cache gc --all`, or {ANOTHER_PLACE}"
            raise ResourceError(f"no space left for the work in {folder}: {reason}", remedy=remedy) from error
        if isinstance(error, FileNotFoundError):
            message = f"the work folder {folder} was removed while it was in use"
            raise ResourceError(message, remedy="render again: what was in it is drawn anew") from error
        message = f"cannot keep work in {folder}: {reason}"
        raise ResourceError(message, remedy=f"make the folder writable, or {ANOTHER_PLACE}") from error
