"""Walks the blocks of a GIF (GIF89a specification, 1990)."""

from collections.abc import Iterator
from typing import BinaryIO

HEADER = 13
GRAPHIC_CONTROL, COMMENT, APPLICATION, IMAGE, TRAILER = b"!\xf9", b"!\xfe", b"!\xff", b",", b";"


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """The header with its palette, then each block whole; the last is the trailer. Raises EOFError when cut short."""
    header = _exactly(file, HEADER)
    yield header + _exactly(file, _palette(header[10]))
    while (kind := _exactly(file, 1)) != TRAILER:
        if kind == IMAGE:
            head = kind + _exactly(file, 9)
            yield head + _exactly(file, _palette(head[9])) + _exactly(file, 1) + _sub_blocks(file)
        else:
            yield kind + _exactly(file, 1) + _sub_blocks(file)
    yield TRAILER


def comment(text: bytes) -> bytes:
    """A comment block: up to 255 bytes at a time."""
    parts = (text[start : start + 255] for start in range(0, len(text), 255))
    return COMMENT + b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def with_delay(block: bytes, hundredths: int) -> bytes:
    """A graphic control block with another delay."""
    return block[:4] + hundredths.to_bytes(2, "little") + block[6:]


def delay(block: bytes) -> int:
    """The delay of a graphic control block, in hundredths of a second."""
    return int.from_bytes(block[4:6], "little")


def _palette(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(file: BinaryIO) -> bytes:
    parts = []
    while size := _exactly(file, 1)[0]:
        parts += [bytes([size]), _exactly(file, size)]
    return b"".join([*parts, b"\0"])


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the GIF ends within a block")
    return data
