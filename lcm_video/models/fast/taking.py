"""Taking weights over from a model: what is packed for speed need not exist a second time."""

import ctypes
from contextlib import suppress

import torch
from torch import nn


def give_up(layer: nn.Module) -> None:
    """Frees the memory of a layer's weights; their shapes stay, and whatever is computed with them is not a number."""
    for module in layer.modules():
        for name, weight in [*module._parameters.items()]:
            if weight is not None:
                nothing = weight.new_full((1,) * weight.ndim, torch.nan).expand(weight.shape)
                module._parameters[name] = nn.Parameter(nothing, requires_grad=False)


def hand_back() -> None:
    """Gives memory that was freed back to the system, where the C library would keep it in pieces (glibc).

    Without it, a full-size UNet ends up with a fifth more memory than its weights have.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def size_of(model: nn.Module) -> int:
    """Bytes of all weights."""
    return sum(weight.nbytes for weight in model.parameters())
