"""A contact sheet: some frames of a film side by side, so that one look tells what it shows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lcm_video.errors import EncodeError
from lcm_video.media.failures import explained
from lcm_video.types import Frame

BACKGROUND, TEXT, FAINT, EDGE = (23, 24, 27), (222, 224, 228), (134, 139, 149), (44, 46, 51)
MARGIN, GUTTER = 28, 16
TARGET = 224
"""Pixels that a thumbnail's longer side aims at."""
SIZES = {"title": 20, "number": 13, "caption": 14}
LINE = 20
"""Pixels from one line of text to the next."""
ELLIPSIS = "…"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
WIDER_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf", "msgothic.ttc")
"""Tried by name, where the system keeps its fonts, for letters that Pillow's own font lacks."""
STAND_INS = str.maketrans({"×": "x", "→": ">", "–": "-", "\ufe0f": None})


@dataclass(frozen=True)
class Layout:
    """Where things go, in pixels."""

    columns: int
    rows: int
    thumb: tuple[int, int]
    top: int
    below: int

    @property
    def size(self) -> tuple[int, int]:
        """The sheet's width and height."""
        width = 2 * MARGIN + self.columns * self.thumb[0] + (self.columns - 1) * GUTTER
        height = self.top + self.rows * (self.thumb[1] + self.below) + (self.rows - 1) * GUTTER + MARGIN
        return width, height

    def place(self, index: int) -> tuple[int, int]:
        """The upper left corner of a thumbnail."""
        row, column = divmod(index, self.columns)
        return MARGIN + column * (self.thumb[0] + GUTTER), self.top + row * (self.thumb[1] + self.below + GUTTER)


def picked(total: int, count: int) -> list[int]:
    """At most ``count`` of ``total`` frame numbers, evenly spaced, the first and the last among them.

    >>> picked(16, 4), picked(3, 8), picked(5, 1)
    ([0, 5, 10, 15], [0, 1, 2], [0])
    """
    if count >= total:
        return list(range(total))
    return [round(index * (total - 1) / (count - 1)) for index in range(count)] if count > 1 else [0][:count]


def sheet(
    frames: Sequence[tuple[int, Frame, str]],
    path: str | Path,
    *,
    columns: int = 0,
    title: str = "",
    fps: float = 0.0,
    aim: int = TARGET,
) -> Path:
    """Writes a PNG of ``frames`` (number, picture, caption) and returns its path.

    columns: thumbnails side by side; 0 = chosen by their number
    title: a line above them
    fps: where given, each frame's time stands beside its number
    aim: pixels that a thumbnail's longer side is near
    """
    if not frames:
        raise EncodeError("there are no frames for a contact sheet", remedy="give at least one")
    path = Path(path)
    layout = arranged(frames, columns=columns, title=title, aim=aim)
    canvas = Image.new("RGB", layout.size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    if title:
        write_line(draw, (MARGIN, MARGIN - 4), title, "title", width=layout.size[0] - 2 * MARGIN)
    for index, (number, frame, caption) in enumerate(frames):
        left, top = layout.place(index)
        width, height = layout.thumb
        canvas.paste(scaled(frame, layout.thumb), (left, top))
        draw.rectangle((left - 1, top - 1, left + width, top + height), outline=EDGE)
        label = f"{number}" + (f"  ·  {number / fps:.2f} s" if fps else "")
        write_line(draw, (left, top + height + 8), label, "number", width=width)
        if caption:
            write_line(draw, (left, top + height + 8 + LINE), caption, "caption", width=width)
    return written(canvas, path, quick=aim < TARGET)


def written(canvas: Image.Image, path: Path, *, quick: bool = False) -> Path:
    """Writes a picture as a PNG that is whole whenever it is looked at, and returns its path; quickly, if larger."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part.png")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            iio.imwrite(partial, np.asarray(canvas), plugin="pillow", compress_level=1 if quick else 6)
            return partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def arranged(frames: Sequence[tuple[int, Frame, str]], *, columns: int, title: str, aim: int = TARGET) -> Layout:
    """Thumbnails of whole-number or near scale, in a block that is wider than high."""
    height, width = frames[0][1].shape[:2]
    columns = min(len(frames), columns or _columns(len(frames), width / height))
    thumb = thumbnail(frames[0][1], aim=aim)
    lines = 1 + any(caption for _, _, caption in frames)
    return Layout(
        columns=columns,
        rows=-(-len(frames) // columns),
        thumb=thumb,
        top=MARGIN + (SIZES["title"] + 22 if title else 0),
        below=8 + lines * LINE,
    )


def thumbnail(frame: Frame, *, aim: int = TARGET) -> tuple[int, int]:
    """The width and height at which a frame is shown: its longer side near ``aim`` pixels."""
    height, width = frame.shape[:2]
    scale = aim / max(width, height)
    # Small frames grow by whole factors: every pixel of the film stays a square.
    scale = max(1, round(scale)) if scale > 1 else scale
    return max(1, round(width * scale)), max(1, round(height * scale))


def _columns(count: int, shape: float) -> int:
    """The number of columns that wastes fewest places, near a sheet of 16:9."""
    ideal = (count * 16 / 9 / shape) ** 0.5
    candidates = [n for n in range(1, count + 1) if abs(n - ideal) <= 1.5] or [max(1, min(count, round(ideal)))]
    return min(candidates, key=lambda n: (-count % n, abs(n - ideal)))


def scaled(frame: Frame, size: tuple[int, int]) -> Image.Image:
    """A frame at another size: smooth, but where it grows by a whole factor, in squares."""
    picture = Image.fromarray(frame)
    whole = size[0] % picture.width == 0 and size[1] % picture.height == 0
    return picture.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)


def write_line(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, style: str, *, width: int) -> None:
    """One line of text, shortened to ``width`` pixels."""
    font, text = font_for(text, SIZES[style])
    colour = FAINT if style == "number" else TEXT
    draw.text(place, shortened(text, font, width), font=font, fill=colour)


def font_for(text: str, size: int) -> tuple[Font, str]:
    """Pillow's own font, or one of the system's for letters that it lacks; failing both, boxes."""
    own, plain = ImageFont.load_default(size=size), text.translate(STAND_INS)
    if _covers(own, plain):
        return own, plain
    for name in WIDER_FONTS:
        try:
            font = ImageFont.truetype(name, size - 1)
        except OSError:
            continue
        if _covers(font, text):
            return font, text
    return own, plain


def _covers(font: Font, text: str) -> bool:
    missing = _shape(font, "\uffff")
    return not any(_shape(font, letter) == missing for letter in {*text} if not letter.isspace())


def _shape(font: Font, letter: str) -> bytes:
    mask: Any = font.getmask(letter)
    return bytes(mask)


def shortened(text: str, font: Font, width: int) -> str:
    """``text`` on one line, its end replaced by an ellipsis where it is wider than ``width`` pixels."""
    text = " ".join(text.split())[:400]
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + ELLIPSIS) > width:
        text = text[:-1]
    return text.rstrip(" ,;") + ELLIPSIS
