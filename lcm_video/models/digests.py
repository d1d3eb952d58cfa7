"""SHA-256 of files, remembered between runs: a checkpoint of 7 GB is read for it once."""

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lcm_video.models.places import cache_folder


class Identity(NamedTuple):
    """What a file is without reading it: it changes whenever the file is written to, or another takes its place.

    size: bytes
    mtime_ns: when its content was last changed, which anybody can set
    ctime_ns: when anything about it was, which nobody can
    inode: its number on its disk
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def identity(path: Path) -> Identity:
    """The file's identity. Raises OSError if there is none."""
    facts = path.stat()
    return Identity(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)


def digest(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; computed again only if the file may have changed.

    Where the cache cannot be written, the hash is computed once a process.
    """
    before = identity(path)
    key = f"{path.resolve()}|{'|'.join(map(str, before))}"
    if found := _known().get(key):
        return found
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if identity(path) == before:  # a file that was written to meanwhile may have become anything
        _known()[key] = found
        _remember(key, found)
    return found


@cache
def _known() -> dict[str, str]:
    """Hashes by path and identity; of each file only the latest counts."""
    found = {}
    with suppress(OSError):
        for line in _file().read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                match json.loads(line):
                    case [str(key), str(value)] if len(value) == 64:
                        found[key] = value
    return found


def _remember(key: str, value: str) -> None:
    """Adds a line to the cache: one write, so that two processes do not mix theirs."""
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        line = (json.dumps([key, value]) + "\n").encode()
        handle = os.open(_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


def _file() -> Path:
    return cache_folder() / "sha256.jsonl"
