"""SHA-256 of files, remembered between runs: a checkpoint of 7 GB is read for it once."""

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from lcm_video.models.places import cache_folder


def digest(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; computed again only if its size or time changed.

    Where the cache cannot be written, the hash is computed once a process.
    """
    facts = path.stat()
    key = f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"
    known = _known()
    if key not in known:
        with path.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        _remember(key, known[key])
    return known[key]


@cache
def _known() -> dict[str, str]:
    """Hashes by path, size and time; of each file only the latest counts."""
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
