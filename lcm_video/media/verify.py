"""Reads a finished file again before it gets its name: all frames, first and last picture, length, tags, text."""

from fractions import Fraction
from pathlib import Path

from lcm_video.errors import EncodeError, InputError
from lcm_video.media.embedded_text import about, fitting
from lcm_video.media.film import Film
from lcm_video.media.inspecting import MediaFacts, facts
from lcm_video.media.output import FORMATS
from lcm_video.media.reading import ends

IMAGE_TICK = Fraction(1, 100)
RATE_TOLERANCE = 10**6
"""Matroska stores a frame's length in whole nanoseconds."""


def verify(path: Path, film: Film, *, frames: int, ending: str) -> None:
    """Raises EncodeError if ``path`` is not the whole film."""
    try:
        found = facts(path)
        pictures = ends(path)
        text = about(path)
    except InputError as error:
        raise EncodeError(f"what was written cannot be read: {error.message}", remedy="please report this") from error
    expected = fitting(film.about, ending) if film.about else None
    checks = {
        "frames": (found.frames, frames),
        "size": ((found.width, found.height), (film.width, film.height)),
        "first and last picture": ({picture.shape[:2] for picture in pictures}, {(film.height, film.width)}),
        "embedded text": (text, expected),
        **(_video_checks(found, film, ending) if FORMATS[ending].is_video else {}),
        **(_image_checks(found, film, frames) if ending in ("gif", "webp", "apng") else {}),
    }
    wrong = [f"{name}: {is_!r} instead of {should!r}" for name, (is_, should) in checks.items() if is_ != should]
    if wrong:
        raise EncodeError(f"{ending} failed its check: {'; '.join(wrong)}"[:500], remedy="please report this")


def _video_checks(found: MediaFacts, film: Film, ending: str) -> dict[str, tuple[object, object]]:
    index_first = (found.faststart, True if ending in ("mp4", "mov") else None)
    colour = (found.colour, "bt709 limited")
    same_rate = found.fps is not None and abs(found.fps - film.fps) < film.fps / RATE_TOLERANCE
    return {
        "frame rate": (film.fps if same_rate else found.fps, film.fps),
        "colour": colour,
        "index first": index_first,
        "closed": (found.closed_gop, True),
    }


def _image_checks(found: MediaFacts, film: Film, frames: int) -> dict[str, tuple[object, object]]:
    length = frames / film.fps
    exact = abs(found.duration - length) <= IMAGE_TICK
    return {"length": (found.duration if not exact else length, length)}
