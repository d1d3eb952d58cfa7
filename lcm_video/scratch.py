"""Room for latents: in memory, or where there are many of them in a temporary file that vanishes with its process."""

import math
import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lcm_video.errors import ResourceError

if TYPE_CHECKING:
    from torch import Tensor

LIMIT = 256 * 2**20
"""Bytes that are kept in memory; more go to a file."""


def room(*shape: int, limit: int = LIMIT) -> "Tensor":
    """A float32 tensor to be filled; one of more than ``limit`` bytes is a temporary file, mapped into memory.

    The file has no name, so that nothing is left of it when the process ends, however it does. Raises ResourceError
    if the disk has no room for it.
    """
    import numpy as np
    import torch

    size = 4 * math.prod(shape)
    if size <= limit:
        return torch.empty(shape, dtype=torch.float32)
    with tempfile.TemporaryFile(prefix="lcm-video-") as file:
        _reserve(file.fileno(), size, shape)
        return torch.from_numpy(np.memmap(file, np.float32, mode="r+", shape=shape))


def _reserve(descriptor: int, size: int, shape: Sequence[int]) -> None:
    """Takes the disk's room now: a mapped file that finds none later would end the process without a word."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.truncate(descriptor, size)
    except OSError as error:
        message = f"the latents of {shape[0]} frames need {size / 2**30:.1f} GiB in {tempfile.gettempdir()}"
        remedy = "make room there, or set TMPDIR to a folder on a larger disk"
        raise ResourceError(f"{message}: {error.strerror}", remedy=remedy) from error
