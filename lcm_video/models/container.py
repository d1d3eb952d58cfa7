"""What kind of file a weight file is, told from its first bytes. Reads headers only, and needs no torch."""

import json
import struct
import zipfile
from math import prod
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, NamedTuple, TypeAlias

from lcm_video.errors import CheckpointError

Container: TypeAlias = Literal["safetensors", "zip", "pickle"]
"""safetensors; PyTorch's zip; or a bare pickle, as PyTorch wrote before version 1.6."""

Shapes: TypeAlias = dict[str, tuple[int, ...]]

LONGEST_HEADER = 100_000_000
MOST_TENSORS = 20_000
"""An SDXL checkpoint with a copy of its averaged weights has about 4,200."""

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
BYTES |= {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
"""Bytes per number, by the name of the type in a safetensors file."""

AGAIN = "download it again"


class Header(NamedTuple):
    """A safetensors file's table of contents."""

    shapes: Shapes
    metadata: dict[str, str]


def sniff(path: Path) -> Container:
    """How ``path`` stores tensors, whatever its name says. Raises CheckpointError if it cannot be a weight file."""
    head, size = _head(path)
    if size == 0:
        raise CheckpointError(f"{path.name} is empty (0 bytes): the download did not finish", remedy=AGAIN)
    if head.startswith(b"version https://git-lfs"):
        message = f"{path.name} is a git-lfs pointer, not the model itself"
        raise CheckpointError(message, remedy="run `git lfs pull` where it came from")
    length = header_length(head)
    if head[8:9] == b"{" and 2 <= length <= LONGEST_HEADER:
        if 8 + length > size:
            message = f"{path.name} is truncated: it has {size:,} bytes, its header alone needs {8 + length:,}"
            raise CheckpointError(message, remedy=AGAIN)
        return "safetensors"
    if head.lstrip()[:1] == b"<":  # after safetensors, whose first byte may be this one
        message = f"{path.name} is a web page (HTML), not a model"
        raise CheckpointError(message, remedy="the link was wrong or needs a login: download it in a browser")
    if head.startswith(b"PK\x03\x04"):
        if not _has_directory(path):
            raise CheckpointError(f"{path.name} is truncated: its zip directory is missing", remedy=AGAIN)
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    message = f"{path.name} is not a model file: neither safetensors nor PyTorch"
    raise CheckpointError(message, remedy="give a .safetensors, .ckpt, .pt, .pth or .bin file")


def _has_directory(path: Path) -> bool:
    """Whether a zip file's table of contents is there; one that speaks of several disks is none of torch's."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def _head(path: Path) -> tuple[bytes, int]:
    """A file's first bytes and its size. Raises CheckpointError for what is no file, or may not be read."""
    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe or a device would never end
            raise CheckpointError(f"{path.name} is not a file", remedy="give a model file")
        with path.open("rb") as file:
            return file.read(64), path.stat().st_size
    except OSError as error:
        message = f"{path.name} cannot be opened: {error.strerror or error}"
        raise CheckpointError(message, remedy="check the path and the file's permissions") from None


def header_length(head: bytes) -> int:
    """The length that a safetensors file states in its first 8 bytes; -1 if there are fewer."""
    return struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else -1


def header(path: Path) -> Header:
    """The table of contents of a safetensors file. Raises CheckpointError unless it describes the file exactly.

    That finds every interrupted download, and every table made to do harm, before a single weight is read.
    """
    entries, start = _entries(path)
    try:
        metadata = {str(name): str(text) for name, text in (entries.pop("__metadata__", None) or {}).items()}
        spans = {name: _span(entry) for name, entry in entries.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CheckpointError(f"{path.name} has a damaged header", remedy=AGAIN) from None
    end = 0
    for name, (first, last, _) in sorted(spans.items(), key=lambda item: item[1][:2]):
        if first != end:
            raise CheckpointError(
                f"{path.name} has a damaged header: {name} overlaps another weight, or a gap is before it", remedy=AGAIN
            )
        end = last
    if start + end != (size := path.stat().st_size):
        message = f"{path.name} is truncated or damaged: it has {size:,} bytes, its header promises {start + end:,}"
        raise CheckpointError(message, remedy=AGAIN)
    return Header({name: shape for name, (_, _, shape) in spans.items()}, metadata)


def dtypes(path: Path) -> dict[str, str]:
    """The type of every weight of a safetensors file, as it is written there: F16, BF16, F32."""
    entries, _ = _entries(path)
    return {name: entry["dtype"] for name, entry in entries.items() if name != "__metadata__"}


def _entries(path: Path) -> tuple[dict[str, Any], int]:
    """A header as written, and where the weights begin."""
    with path.open("rb") as file:
        length = header_length(file.read(8))
        raw = file.read(length)
    if (count := raw.count(b'"data_offsets"')) > MOST_TENSORS:
        message = f"{path.name} claims to hold {count:,} tensors; models have at most a few thousand"
        raise CheckpointError(message, remedy="it is not a model file: get the model from its source")
    try:
        entries = json.loads(raw, object_pairs_hook=_unique)
    except _Twice as error:
        raise CheckpointError(f"{path.name} has a damaged header: {error} is there twice", remedy=AGAIN) from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path.name} has a damaged header", remedy=AGAIN) from None
    if not isinstance(entries, dict):
        raise CheckpointError(f"{path.name} has a damaged header", remedy=AGAIN)
    return entries, 8 + length


class _Twice(Exception):
    """A name that appears twice: which of the two is meant, nobody can say."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _span(entry: Any) -> tuple[int, int, tuple[int, ...]]:
    """Where a weight begins and ends, and its shape. Raises ValueError unless the three agree."""
    shape, (first, last) = tuple(entry["shape"]), entry["data_offsets"]
    whole = all(type(number) is int and number >= 0 for number in (first, last, *shape))
    if not whole or last - first != prod(shape) * BYTES[entry["dtype"]]:
        raise ValueError
    return first, last, shape
