"""GIF colours by table look-up: one palette for some dozens of frames, instead of a search for every pixel.

Frames are gathered up to a cut, or some dozens at most. Their palette is a median cut refined by k-means, and
continues the one before where there was no cut, so that still parts do not flicker. Then each of the colours that
occur, of 6 bits a channel, is looked up once in the palette, and each pixel in that table.

All distances are whole numbers below 2²⁴, exact in float32, so the bytes do not depend on who adds them up.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lcm_video.media.film import Film
from lcm_video.types import Frame

Palette = NDArray[np.float32]
"""256 colours of whole numbers, (256, 3)."""

Colours = NDArray[np.float32]
"""(colours, 3), 0 to 255."""

LONGEST, LARGEST = 32, 2**23
"""Frames that share a palette at most, and their pixels, which wait in memory until it is known."""

CUT = 24.0
"""Mean difference between neighbouring frames, of 255, from which the second one begins anew."""

SAMPLE, REFINED, ROUNDS = 8_000, 16_000, 6
"""Pixels that a palette is cut from, those that it is refined with, and how often. With 60 000 the cut takes 20 times
as long, for a palette that is no better once refined; two rounds give 0.3 dB less."""

GOLDEN = (5**0.5 - 1) / 2

CELLS = 64
"""Steps of a channel in the table: finer ones gain less than 0.1 dB and leave the cache."""


class PalettePerSegment:
    """Frames in the nearest of 256 colours, chosen for a stretch of the film, without dither."""

    def __init__(self, film: Film) -> None:
        self.waiting: list[Frame] = []
        self.ready: deque[av.VideoFrame] = deque()
        self.palette: Palette | None = None
        self.count = 0
        self.longest = max(1, min(LONGEST, LARGEST // (film.width * film.height)))

    def push(self, frame: Frame | None) -> None:
        """Takes the next frame; None after the last."""
        cut = frame is not None and bool(self.waiting) and _distance(self.waiting[-1], frame) > CUT
        if self.waiting and (frame is None or cut or len(self.waiting) == self.longest):
            self._finish_segment()
        if cut:
            self.palette = None
        if frame is not None:
            self.waiting.append(frame)

    def pulled(self) -> Iterator[av.VideoFrame]:
        """The frames that are ready: none until a segment is complete."""
        while self.ready:
            yield self.ready.popleft()

    def _finish_segment(self) -> None:
        start = median_cut(sample(self.waiting, SAMPLE)) if self.palette is None else self.palette
        self.palette = refined(start, sample(self.waiting, REFINED).astype(np.float32), rounds=ROUNDS)
        cells = [cells_of(frame) for frame in self.waiting]
        table = lookup(self.palette, cells)
        shown = np.full((256, 4), 255, np.uint8)  # opacity comes first
        shown[:, 1:] = self.palette
        for each in cells:
            picture: Any = (np.take(table, each), shown)
            video = av.VideoFrame.from_ndarray(picture, format="pal8")
            video.pts, video.time_base = self.count, Fraction(1, 100)
            self.ready.append(video)
            self.count += 1
        self.waiting = []


def sample(frames: Sequence[Frame], wanted: int) -> NDArray[np.uint8]:
    """About as many pixels as wanted from all over the frames, (pixels, 3).

    They are spread by the golden ratio: a fixed step would meet the same few columns in every row.
    """
    found = []
    for number, frame in enumerate(frames):
        pixels = frame.reshape(-1, 3)
        steps = np.arange(min(-(-wanted // len(frames)), len(pixels)))
        found.append(pixels[np.floor(((steps + number / len(frames)) * GOLDEN) % 1 * len(pixels)).astype(int)])
    return np.concatenate(found)


def median_cut(pixels: NDArray[np.uint8]) -> Palette:
    """A palette that halves the pixels again and again, at the median of the channel that varies most."""
    image = Image.fromarray(pixels[None])
    found = image.quantize(256, method=Image.Quantize.MEDIANCUT).getpalette() or []
    colours = np.array(found, np.float32).reshape(-1, 3)
    return np.concatenate([colours, np.zeros((256 - len(colours), 3), np.float32)])


def refined(palette: Palette, pixels: Colours, *, rounds: int) -> Palette:
    """The palette after rounds of k-means: each colour becomes the mean of the pixels it is nearest to."""
    for _ in range(rounds):
        owner = nearest(palette, pixels)
        counts = np.bincount(owner, minlength=256)
        sums = np.stack([np.bincount(owner, weights=channel, minlength=256) for channel in pixels.T], axis=1)
        used = counts > 0
        palette = palette.copy()
        palette[used] = np.round(sums[used] / counts[used, None])
    return palette


def nearest(palette: Palette, colours: Colours) -> NDArray[np.intp]:
    """The number of the palette's colour next to each colour; of equally near ones the first."""
    # |p - c|² without |c|², which is the same for all.
    lengths = np.square(palette).sum(1)
    pieces = [colours[first : first + 8192] for first in range(0, len(colours), 8192)]
    return np.concatenate([(lengths - 2 * (piece @ palette.T)).argmin(1) for piece in pieces])


def cells_of(frame: Frame) -> NDArray[np.int32]:
    """The table's cell for each pixel, (rows, columns)."""
    red, green, blue = np.moveaxis(frame // (256 // CELLS), -1, 0)
    cells = red.astype(np.int32)
    for channel in (green, blue):
        cells *= CELLS
        cells += channel
    return cells


def lookup(palette: Palette, cells: list[NDArray[np.int32]]) -> NDArray[np.uint8]:
    """The palette's nearest colour for each of the cells that occur; the others are left at 0."""
    occurs = np.zeros(CELLS**3, bool)
    for each in cells:
        occurs[each] = True
    used = np.flatnonzero(occurs)
    width = 256 // CELLS
    middles = np.stack(np.unravel_index(used, (CELLS,) * 3), axis=1) * width + width // 2
    table = np.zeros(CELLS**3, np.uint8)
    table[used] = nearest(palette, middles.astype(np.float32))
    return table


def _distance(one: Frame, other: Frame) -> float:
    """Mean difference of every eighth pixel of every eighth line."""
    return float(np.abs(one[::8, ::8].astype(np.int16) - other[::8, ::8]).mean())
