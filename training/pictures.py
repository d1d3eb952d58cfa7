"""Contact sheets, to look at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor


def sheet(pictures: Tensor, path: Path, *, columns: int = 8) -> None:
    """Writes pictures (pictures, 3, height, width) in -1..1 to ``path``, row by row."""
    values = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    rows = -(-len(values) // columns)
    height, width = values.shape[1:3]
    canvas = np.full((rows * (height + 2), columns * (width + 2), 3), 128, np.uint8)
    for index, value in enumerate(values):
        top, left = index // columns * (height + 2), index % columns * (width + 2)
        canvas[top : top + height, left : left + width] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path)


def names(texts: Sequence[str]) -> str:
    """Texts numbered, one a line, to read beside a sheet."""
    return "\n".join(f"{index:3d} {text}" for index, text in enumerate(texts))
