"""A UNet's transformer blocks in slices: the same numbers from less memory, a little slower.

Most of what a UNet holds at its peak are the feed-forward layers of its transformer blocks, and those treat every row
of their batch alone: a frame in the image layers, a pixel in the temporal ones.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from lcm_video.models.call import current
from lcm_video.models.temporal import Block

_SLICES: ContextVar[int] = ContextVar("slices", default=1)


@contextmanager
def in_slices(model: nn.Module, count: int) -> Iterator[None]:
    """Lets the transformer blocks of ``model`` run in ``count`` slices, in this thread only, until the block ends."""
    for module in model.modules() if count > 1 else ():
        if isinstance(module, BasicTransformerBlock | Block) and "forward" not in vars(module):
            setattr(module, "forward", partial(_sliced, module.forward))  # noqa: B010
    token = _SLICES.set(count)
    try:
        yield
    finally:
        _SLICES.reset(token)


def _sliced(forward: Callable[..., Tensor], x: Tensor, *args: Any, **named: Any) -> Tensor:
    """What ``forward`` gives, computed slice by slice along the batch."""
    rows = -(-len(x) // _SLICES.get())
    # Varying LoRAs look up the strength of every frame of the call: those calls stay whole.
    if rows == len(x) or current(len(x)).strengths:
        return forward(x, *args, **named)

    def part(value: Any, place: slice) -> Any:
        return value[place] if isinstance(value, Tensor) and len(value) == len(x) else value

    out = torch.empty_like(x)
    for first in range(0, len(x), rows):
        place = slice(first, first + rows)
        others = {name: part(value, place) for name, value in named.items()}
        out[place] = forward(x[place], *(part(value, place) for value in args), **others)
    return out
