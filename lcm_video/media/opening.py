"""Opens media files made by anyone: regular files only, known formats only, sizes checked before anything is decoded.

Names never reach FFmpeg or imageio: both would follow URLs and playlists. They get an open file and the format that
its first bytes show.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError

from lcm_video.errors import InputError

MAX_SIDE = 8192
MAX_PIXELS = 64_000_000

IMAGES = ("png", "jpeg", "gif", "webp", "bmp", "tiff", "avif")
DEMUXERS = {
    "mp4": "mov", "matroska": "matroska", "avi": "avi",
    "wav": "wav", "mp3": "mp3", "flac": "flac", "ogg": "ogg", "aac": "aac",
}  # fmt: skip
MAGIC = [
    ("png", rb"\x89PNG\r\n\x1a\n"), ("jpeg", rb"\xff\xd8\xff"), ("gif", rb"GIF8[79]a"), ("webp", rb"RIFF.{4}WEBP"),
    ("tiff", rb"II\*\0|MM\0\*"), ("avif", rb".{4}ftypavi[fs]"), ("bmp", rb"BM.{4}\0\0\0\0"),
    ("mp4", rb".{4}(ftyp|moov|mdat|free|skip|wide)"), ("matroska", rb"\x1aE\xdf\xa3"), ("avi", rb"RIFF.{4}AVI "),
    ("wav", rb"RIFF.{4}WAVE"), ("flac", rb"fLaC"), ("ogg", rb"OggS"), ("aac", rb"\xff[\xf0\xf1\xf8\xf9]"),
    ("mp3", rb"ID3|\xff[\xe2-\xfb]"),
]  # fmt: skip
FRAME_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading. Raises InputError, at once, for whatever is not a non-empty regular file."""
    try:
        file = open(str(path), "rb", opener=_without_waiting)  # noqa: SIM115 (closed below)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot open {path}: {reason}", remedy=_near(path)) from None
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file", remedy="give a file, not a device, pipe or folder")
        if status.st_size == 0:
            raise InputError(f"{path} is empty", remedy="was the download or the disk interrupted?")
        yield file


def sniff(file: BinaryIO) -> str:
    """The format that the first bytes show. Raises InputError for formats that are not read."""
    file.seek(0)
    head = file.read(32)
    file.seek(0)
    for kind, pattern in MAGIC:
        if re.match(pattern, head, re.DOTALL):
            return kind
    known = ", ".join(kind for kind, _ in MAGIC)
    raise InputError(f"{file.name}: not an image, video or sound that is read here (it begins {head[:12]!r})",
                     remedy=f"known: {known}")  # fmt: skip


@contextmanager
def open_media(file: BinaryIO, kind: str) -> Iterator[InputContainer]:
    """The file as a PyAV container of the format ``kind``. FFmpeg's errors become InputErrors."""
    name = file.name
    if kind not in DEMUXERS:
        raise InputError(f"{name} is {container_of(kind)}, not video or sound", remedy=f"known: {', '.join(DEMUXERS)}")
    try:
        with av.open(file, "r", format=DEMUXERS[kind], metadata_errors="replace") as container:
            yield container
    except FFmpegError as error:
        reason = error.strerror or "damaged"
        raise InputError(f"{name}: cannot read this {container_of(kind)}: {reason}", remedy="is it complete?") from None


def check_size(width: int, height: int, name: object) -> None:
    """Raises InputError for pictures that would not fit into memory, before they are decoded."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise InputError(
            f"{name}: {width}×{height} pixels", remedy=f"at most {MAX_SIDE} a side and {MAX_PIXELS // 10**6} megapixels"
        )


def frames_in(folder: Path) -> list[Path]:
    """The pictures in a folder of frames, in the order of their numbers. Raises InputError if there are none."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in FRAME_ENDINGS and path.name[0] != "."]
    if not found:
        raise InputError(f"{folder} holds no pictures", remedy=f"known endings: {', '.join(FRAME_ENDINGS)}")
    return sorted(found, key=lambda path: [int(word) if word.isdigit() else word for word in _split(path.name)])


def container_of(kind: str) -> str:
    """A format's name for people."""
    return {"mp4": "MP4 or MOV", "matroska": "Matroska or WebM", "jpeg": "JPEG", "webp": "WebP"}.get(kind, kind.upper())


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe that nobody writes to would otherwise wait for ever.
    return os.open(path, flags | os.O_NONBLOCK)


def _split(name: str) -> list[str]:
    # Digits alternate with the rest, starting with the rest: numbers only ever meet numbers.
    return re.split(r"([0-9]+)", name)


def _near(path: Path) -> str:
    from difflib import get_close_matches

    try:
        names = sorted(other.name for other in path.parent.iterdir() if not other.name.startswith("."))
    except OSError:
        return f"there is no folder {path.parent}"
    close = get_close_matches(path.name, names, n=3, cutoff=0.4)
    return f"did you mean {', '.join(close)}?" if close else f"see what is in {path.parent}"
