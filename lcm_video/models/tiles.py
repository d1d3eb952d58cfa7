"""Frames in tiles that overlap, for VAEs that do not fit in memory whole.

Approximate: a VAE's norms and its attention see only the tile, so that tiles can differ in tone from the whole frame
and from each other; over the overlap one fades into the next.
"""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor

OVERLAP = 4
"""One part in so many of a tile's side lies in the next tile too, or more."""

SMALLEST = 16
"""Latent pixels along one side below which a tile is not made smaller."""


def tiled(make: Callable[[Tensor], Tensor], x: Tensor, *, side: int, unit: int = 1) -> Tensor:
    """What ``make`` gives for ``x`` (frames, channels, height, width), made from tiles and faded together.

    side: a tile's, in latent pixels. unit: pixels of ``x`` for each latent pixel: 1 to decode, 8 to encode.
    """
    height, width = (extent // unit for extent in x.shape[-2:])
    total = weights = None
    for rows, columns in product(spans(height, side), spans(width, side)):
        made = make(x[..., rows.start * unit : rows.stop * unit, columns.start * unit : columns.stop * unit])
        scale = made.shape[-1] / len(columns)  # output pixels for each latent pixel
        if total is None or weights is None:
            size = (*made.shape[:2], int(height * scale), int(width * scale))
            total = made.new_zeros(size, dtype=torch.float32)
            weights = made.new_zeros(total.shape[-2:], dtype=torch.float32)
        fade = torch.outer(_fade(rows, height, scale), _fade(columns, width, scale)).to(weights.device)
        place = (slice(int(rows.start * scale), int(rows.stop * scale)),
                 slice(int(columns.start * scale), int(columns.stop * scale)))  # fmt: skip
        total[..., *place] += made * fade
        weights[place] += fade
    assert total is not None, "a frame has at least one tile"
    assert weights is not None
    return (total / weights).to(x.dtype)


def spans(extent: int, side: int) -> Iterator[range]:
    """Yields where tiles of at most ``side`` lie along ``extent``: all alike, evenly spread, and overlapping.

    >>> [*spans(10, 6)], [*spans(5, 6)]
    ([range(0, 6), range(4, 10)], [range(0, 5)])
    """
    if extent <= side:
        yield range(extent)
        return
    step = side - max(side // OVERLAP, 1)
    count = -(-(extent - side) // step) + 1
    for number in range(count):
        start = round(number * (extent - side) / (count - 1))
        yield range(start, start + side)


def _fade(span: range, extent: int, scale: float) -> Tensor:
    """How much each output pixel of a tile counts: rising from its edges, except where the frame itself ends."""
    size, ramp = int(len(span) * scale), max(int(len(span) // OVERLAP * scale), 1)
    rise = ((torch.arange(size) + 0.5) / ramp).clamp(max=1.0)
    ahead = rise if span.start > 0 else torch.ones(size)
    return torch.minimum(ahead, rise.flip(0) if span.stop < extent else torch.ones(size))


def side_after(halvings: int, height: int, width: int) -> int:
    """The side of a tile after a number of halvings of the frame, in latent pixels."""
    return max(-(-max(height, width) // 2**halvings), SMALLEST)


def halvings(height: int, width: int) -> int:
    """How often a frame of so many latent pixels can be halved into tiles.

    >>> halvings(64, 64), halvings(64, 96), halvings(16, 16)
    (2, 3, 0)
    """
    count = 0
    while max(height, width) > SMALLEST * 2**count:
        count += 1
    return count
