"""Animated WebP and APNG: each frame is encoded by imageio as a still, and the still's data go into the animation.

Pillow's own animation writers hold every frame in memory and round every delay alike; these write each frame as it
comes, with delays whose sum is exact.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import imageio.v3 as iio
from PIL.PngImagePlugin import PngInfo

from lcm_video.media.embedded_text import fitting, xmp
from lcm_video.media.film import Film
from lcm_video.media.stills import jpeg_quality, png_info
from lcm_video.types import Frame

MILLISECONDS = 1000
WEBP_XMP, WEBP_ANIMATED = 0x04, 0x02
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_MAX_DELAY = 65535


class WebpSink:
    """Frames to an animated WebP (RFC 9649); without loss at quality 0."""

    def __init__(self, path: Path, film: Film) -> None:
        self.path, self.film, self.trouble = path, film, ""
        self.count = 0
        self.file = path.open("w+b")
        self.file.write(b"RIFF\0\0\0\0WEBP")
        flags = WEBP_ANIMATED | (WEBP_XMP if film.about else 0)
        self.file.write(_riff(b"VP8X", bytes([flags, 0, 0, 0]) + _int24(film.width - 1) + _int24(film.height - 1)))
        self.file.write(_riff(b"ANIM", struct.pack("<IH", 0, 0 if film.repeat else 1)))

    def add(self, frame: Frame) -> None:
        """Writes the next frame."""
        quality = self.film.output.quality
        still = iio.imwrite(
            "<bytes>", frame, extension=".webp", plugin="pillow", lossless=quality == 0, quality=jpeg_quality(quality)
        )
        place = bytes(6) + _int24(self.film.width - 1) + _int24(self.film.height - 1)
        delay = _int24(self.film.ticks(self.count, MILLISECONDS))
        data = b"".join(_riff(name, body) for name, body in _riff_chunks(still) if name in (b"VP8 ", b"VP8L"))
        self.file.write(_riff(b"ANMF", place + delay + b"\x02" + data))  # 2: opaque, no blending
        self._set_length()
        self.count += 1

    def close(self) -> Path:
        """Adds the text."""
        if self.film.about:
            self.file.write(_riff(b"XMP ", xmp(fitting(self.film.about, "webp"))))
            self._set_length()
        self.file.close()
        return self.path

    def abandon(self) -> None:
        """Closes the file."""
        with suppress(OSError):  # a full disk, which is why it is abandoned
            self.file.close()

    def _set_length(self) -> None:
        """Says at the beginning how long the file is: a film that is cut off here plays so far."""
        self.file.flush()
        length = self.file.tell()
        self.file.seek(4)
        self.file.write(struct.pack("<I", length - 8))
        self.file.flush()
        self.file.seek(length)


class ApngSink:
    """Frames to an APNG (PNG specification, third edition): exact, and with the exact rate."""

    def __init__(self, path: Path, film: Film) -> None:
        self.path, self.film, self.trouble = path, film, ""
        self.count = self.sequence = 0
        self.file = path.open("w+b")
        self.control = 0  # where the number of frames stands

    def add(self, frame: Frame) -> None:
        """Writes the next frame."""
        info = png_info(self.film, frame=None) if self.count == 0 else PngInfo()
        still = iio.imwrite("<bytes>", frame, extension=".png", plugin="pillow", pnginfo=info)
        chunks = [*_png_chunks(still)]
        data = b"".join(body for name, body in chunks if name == b"IDAT")
        if self.count == 0:
            self._start(chunks)
        self._chunk(
            b"fcTL", self._next() + struct.pack(">IIII", self.film.width, self.film.height, 0, 0) + self._delay()
        )
        if self.count == 0:
            self._chunk(b"IDAT", data)
        else:
            self._chunk(b"fdAT", self._next() + data)
        self.count += 1
        self._end()

    def close(self) -> Path:
        """The file, which is complete after every frame."""
        self.file.close()
        return self.path

    def abandon(self) -> None:
        """Closes the file."""
        with suppress(OSError):  # a full disk, which is why it is abandoned
            self.file.close()

    def _end(self) -> None:
        """Ends the file here, and sets the number of frames at its beginning; the next frame overwrites the end."""
        length = self.file.tell()
        self._chunk(b"IEND", b"")
        self.file.flush()
        self.file.seek(self.control)
        self._chunk(b"acTL", struct.pack(">II", self.count, 0 if self.film.repeat else 1))
        self.file.flush()
        self.file.seek(length)

    def _start(self, chunks: list[tuple[bytes, bytes]]) -> None:
        self.file.write(PNG_START)
        for name, body in chunks:
            if name not in (b"IDAT", b"IEND"):
                self._chunk(name, body)
            if name == b"IHDR":
                self.control = self.file.tell()
                self._chunk(b"acTL", struct.pack(">II", 0, 0))

    def _delay(self) -> bytes:
        delay = 1 / self.film.fps
        if max(delay.numerator, delay.denominator) > PNG_MAX_DELAY:
            delay = Fraction(self.film.ticks(self.count, MILLISECONDS), MILLISECONDS)
        return struct.pack(">HHBB", delay.numerator, delay.denominator, 0, 0)

    def _next(self) -> bytes:
        self.sequence += 1
        return struct.pack(">I", self.sequence - 1)

    def _chunk(self, name: bytes, body: bytes) -> None:
        self.file.write(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))


def _int24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = 12
    while start < len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], data[start + 8 : start + 8 + size]
        start += 8 + size + size % 2


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    start = len(PNG_START)
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], data[start + 8 : start + 8 + size]
        start += 12 + size
