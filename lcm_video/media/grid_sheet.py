"""A labelled grid of pictures: what a sweep came to, in one look."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from lcm_video.errors import EncodeError
from lcm_video.media.contact_sheet import (
    BACKGROUND,
    EDGE,
    LINE,
    MARGIN,
    SIZES,
    TARGET,
    TEXT,
    Font,
    font_for,
    scaled,
    shortened,
    thumbnail,
    write_line,
    written,
)  # fmt: skip
from lcm_video.types import Frame

GAP = 8
LABEL = 260
"""Pixels that the labels of rows take, at most."""
LINES = 3
"""Lines of a label, at most."""
HIGHEST = 12_000
"""Pixels of a sheet's height that are aimed at; pictures of many rows are smaller, but never less than SMALLEST."""
SMALLEST = 48


def grid(
    cells: Sequence[Sequence[Frame | None]],
    path: Path,
    *,
    rows: Sequence[str],
    columns: Sequence[str] = (),
    title: str = "",
) -> Path:
    """Writes a PNG of ``cells``, row by row, and returns its path; a cell without a picture stays empty.

    rows, columns: their labels, in up to three lines each; without ``columns`` there are none above
    """
    first = next((frame for row in cells for frame in row if frame is not None), None)
    if first is None:
        raise EncodeError("there are no frames for a contact sheet", remedy="give at least one")
    width, height = thumbnail(first, aim=max(SMALLEST, min(TARGET, HIGHEST // len(cells) - GAP)))
    across = max(map(len, cells))
    beside = [_wrapped(label, LABEL) for label in rows]
    above = [_wrapped(label, width) for label in columns]
    left = MARGIN + max((round(font.getlength(line)) for lines, font in beside for line in lines), default=0) + 2 * GAP
    top = MARGIN + (SIZES["title"] + 22 if title else 0) + max((len(lines) for lines, _ in above), default=0) * LINE
    size = left + across * (width + GAP) - GAP + MARGIN, top + len(cells) * (height + GAP) - GAP + MARGIN
    canvas = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    if title:
        write_line(draw, (MARGIN, MARGIN - 4), title, "title", width=size[0] - 2 * MARGIN)
    for column, (lines, font) in enumerate(above):
        _write(draw, (left + column * (width + GAP), top - 6 - len(lines) * LINE), lines, font)
    for row, (frames, (lines, font)) in enumerate(zip(cells, beside, strict=True)):
        y = top + row * (height + GAP)
        _write(
            draw, (MARGIN, y + (height - min(len(lines) * LINE, height)) // 2), lines[: max(1, height // LINE)], font
        )
        for column, frame in enumerate(frames):
            x = left + column * (width + GAP)
            draw.rectangle((x - 1, y - 1, x + width, y + height), outline=EDGE)
            if frame is not None:
                canvas.paste(scaled(frame, (width, height)), (x, y))
    return written(canvas, path)


def _wrapped(label: str, width: int) -> tuple[list[str], Font]:
    """A label in up to LINES lines of ``width`` pixels, and its font."""
    font, label = font_for(label, SIZES["caption"])
    words, lines = " ".join(label.split()).split(" "), [""]
    while words:
        longer = f"{lines[-1]} {words[0]}".strip()
        if lines[-1] and len(lines) < LINES and font.getlength(longer) > width:
            lines.append(words.pop(0))
        else:
            lines[-1] = longer
            words.pop(0)
    return [shortened(line, font, width) for line in lines], font


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], font: Font) -> None:
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * LINE), line, font=font, fill=TEXT)
