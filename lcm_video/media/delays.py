"""How long each frame of an animated image is shown, exactly as its file says (decoders round)."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

from lcm_video.errors import InputError
from lcm_video.media.gif_blocks import GRAPHIC_CONTROL, blocks, delay


def delays(file: BinaryIO, kind: str) -> list[Fraction]:
    """Seconds per frame of a GIF, WebP or APNG; empty for stills and other formats."""
    if kind not in READERS:
        return []
    file.seek(0)
    try:
        return [*READERS[kind](file)]
    except (EOFError, struct.error) as error:
        raise InputError(f"{file.name}: {error}", remedy="is the file complete?") from None
    finally:
        file.seek(0)


def _gif(file: BinaryIO) -> Iterator[Fraction]:
    return (Fraction(delay(block), 100) for block in blocks(file) if block.startswith(GRAPHIC_CONTROL))


def _webp(file: BinaryIO) -> Iterator[Fraction]:
    file.seek(12)
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[4:], "little")
        start = file.tell()
        if head[:4] == b"ANMF":
            yield Fraction(int.from_bytes(file.read(16)[12:15], "little"), 1000)
        file.seek(start + size + size % 2)


def _png(file: BinaryIO) -> Iterator[Fraction]:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        start = file.tell()
        if head[4:] == b"fcTL":
            numerator, denominator = struct.unpack(">HH", file.read(26)[20:24])
            yield Fraction(numerator, denominator or 100)  # the specification's meaning of 0
        file.seek(start + int.from_bytes(head[:4], "big") + 4)


READERS = {"gif": _gif, "webp": _webp, "png": _png}
