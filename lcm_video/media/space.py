"""How much room a film takes on disk, and whether there is so much: before it begins, and while it grows."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from lcm_video.errors import ResourceError
from lcm_video.media.film import Film
from lcm_video.media.leftovers import bytes_of, leftovers
from lcm_video.media.output import FORMATS, Output

BITS = {
    "h264": (1.0, 6), "h265": (1.5, 6), "av1": (0.8, 8), "vp9": (0.8, 8), "prores": (6.5, 18),
    "gif": (8.0, 0), "webp": (3.0, 20), "apng": (16.5, 0), "png": (16.5, 0), "jpg": (3.0, 20),
}  # fmt: skip
"""Bits a pixel at quality 18, and the steps of quality that halve them (0: none do).

Measured at 384² on 24 synthetic frames that do not flatter: a cloudy ground that pans, three textured things moving
over it, with and without grain of 2 in 255; the larger of both, rounded up.
"""

COPIES = {"webp": 1, "apng": 1, "png": 1, "jpg": 1}
"""How often a film lies on the disk while it is finished; those that are written in two passes do twice."""

SPOOL = 24
"""Bits a pixel of a film that waits for the palette of its small GIF."""
SAFETY = 1.3
FILE, PICTURE = 20_000, 4_000
"""Bytes of a file, and of one picture in a folder, that are not pixels: tags, the storyboard."""
SOUND = 24_000
"""Bytes a second."""

RESERVE = 64_000_000
LOOK_AHEAD = 84
"""Frames that encoders hold back (AV1 the most), and still write when a film ends early."""


class NoSpaceLeft(ResourceError):
    """Raised while a film grows, as long as there is room to end it properly."""


def space_needed(output: Output, width: int, height: int, fps: Fraction, frames: int) -> dict[Path, int]:
    """Bytes that writing a film takes at most, by folder: what is hidden while it grows, and the finished files."""
    needed: dict[Path, int] = {}
    for ending in output.endings:
        folder = output.path_of(ending).parent
        needed[folder] = needed.get(folder, 0) + _bytes(output, ending, width * height, fps, frames)
    return needed


def check_space(
    output: Output, *, width: int, height: int, fps: Fraction, frames: int, more: Mapping[Path, int] | None = None
) -> None:
    """Raises ResourceError unless there is room for the film, and for ``more`` bytes by folder.

    What an earlier render has left hidden counts as free: writing begins with sweeping it away.
    """
    needs = [*space_needed(output, width, height, fps, frames).items(), *(more or {}).items()]
    needed: dict[int, int] = {}
    for folder, size in needs:
        needed[_disk(folder)] = needed.get(_disk(folder), 0) + size
    film = output.path_of(output.endings[0])
    swept = sum(bytes_of(path) for path in leftovers(film))
    for folder, _ in needs:
        size = needed[_disk(folder)]
        free = shutil.disk_usage(_nearest(folder)).free + swept * (_disk(folder) == _disk(film.parent))
        if free < size:
            raise ResourceError(
                f"{folder}: about {human(size)} are needed, {human(free)} are free",
                remedy="free space there, choose another output.path, a smaller or shorter film, or a larger quality",
            )


class Room:
    """Watches the free space of the folder that a film grows in.

    reserve: bytes that must be left, so that what is there can be ended: 64 MB, or for a small film a twentieth of
        what it needs and the frames that its encoders hold back
    """

    def __init__(self, film: Film) -> None:
        self.path = film.output.path_of(film.output.endings[0])

        def needed(frames: int) -> int:
            return sum(space_needed(film.output, film.width, film.height, film.fps, frames).values())

        video = any(FORMATS[ending].is_video for ending in film.output.endings)
        self.reserve = min(RESERVE, needed(film.expected or 0) // 20 + needed(LOOK_AHEAD if video else 1))

    def check(self) -> None:
        """Raises NoSpaceLeft if less than the reserve is left."""
        with suppress(FileNotFoundError):  # the folder is gone; whoever writes will notice
            free = shutil.disk_usage(self.path.parent).free
            if free < self.reserve:
                raise NoSpaceLeft(
                    f"only {human(free)} are left for {self.path}", remedy="free space there and run again"
                )


def human(size: float) -> str:
    """A number of bytes for people.

    >>> human(999), human(1_234_000), human(56e9)
    ('999 B', '1.2 MB', '56 GB')
    """
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    unit = units[0]
    return f"{size:.1f} {unit}" if size < 10 and unit != "B" else f"{size:.0f} {unit}"


def _bytes(output: Output, ending: str, pixels: int, fps: Fraction, frames: int) -> int:
    """Bytes for one of the files, with every copy that exists at once."""
    lossless = ending == "webp" and output.quality == 0
    at_18, halves = BITS["apng" if lossless else output.codec_of(ending) or ending]
    bits = at_18 * (2 ** ((18 - output.quality) / halves) if halves else 1)
    if FORMATS[ending].is_video and output.chroma == "444":
        bits *= 1.5
    bits *= COPIES.get(ending, 2)
    if ending == "gif" and output.gif == "small":
        bits += SPOOL
    extra = PICTURE * frames if ending in ("png", "jpg") else FILE
    if output.audio.source and FORMATS[ending].audio:
        extra += round(SOUND * frames / fps)
    return round(SAFETY * (bits / 8 * pixels * frames + extra))


def _disk(folder: Path) -> int:
    return _nearest(folder).stat().st_dev


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(place for place in [folder.absolute(), *folder.absolute().parents] if place.exists())
