"""What kind of file a weight file is, told from its first bytes. Reads headers only, and needs no torch."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from lcm_video.errors import CheckpointError

Container: TypeAlias = Literal["safetensors", "zip", "pickle"]
"""safetensors; PyTorch's zip; or a bare pickle, as PyTorch wrote before version 1.6."""

Shapes: TypeAlias = dict[str, tuple[int, ...]]

LONGEST_HEADER = 100_000_000
AGAIN = "download it again"


class Header(NamedTuple):
    """A safetensors file's table of contents."""

    shapes: Shapes
    metadata: dict[str, str]


def sniff(path: Path) -> Container:
    """How ``path`` stores tensors, whatever its name says. Raises CheckpointError if it cannot be a weight file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if size == 0:
        raise CheckpointError(f"{path.name} is empty (0 bytes): the download did not finish", remedy=AGAIN)
    if head.startswith(b"version https://git-lfs"):
        message = f"{path.name} is a git-lfs pointer, not the model itself"
        raise CheckpointError(message, remedy="run `git lfs pull` where it came from")
    if head.lstrip()[:1] == b"<":
        message = f"{path.name} is a web page (HTML), not a model"
        raise CheckpointError(message, remedy="the link was wrong or needs a login: download it in a browser")
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(f"{path.name} is truncated: its zip directory is missing", remedy=AGAIN)
        return "zip"
    length = header_length(head)
    if head[8:9] == b"{" and 2 <= length <= LONGEST_HEADER:
        if 8 + length > size:
            message = f"{path.name} is truncated: it has {size:,} bytes, its header alone needs {8 + length:,}"
            raise CheckpointError(message, remedy=AGAIN)
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    message = f"{path.name} is not a model file: neither safetensors nor PyTorch"
    raise CheckpointError(message, remedy="give a .safetensors, .ckpt, .pt, .pth or .bin file")


def header_length(head: bytes) -> int:
    """The length that a safetensors file states in its first 8 bytes; -1 if there are fewer."""
    return struct.unpack("<Q", head[:8])[0] if len(head) >= 8 else -1


def header(path: Path) -> Header:
    """The table of contents of a safetensors file. Raises CheckpointError if the file is not as long as it says.

    That one comparison finds every interrupted download before a single weight is read.
    """
    with path.open("rb") as file:
        length = header_length(file.read(8))
        try:
            entries = json.loads(file.read(length))
            metadata = entries.pop("__metadata__", None) or {}
            shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
            end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            raise CheckpointError(f"{path.name} has a damaged header", remedy=AGAIN) from None
    if end != (size := path.stat().st_size):
        message = f"{path.name} is truncated or damaged: it has {size:,} bytes, its header promises {end:,}"
        raise CheckpointError(message, remedy=AGAIN)
    return Header(shapes, metadata)
