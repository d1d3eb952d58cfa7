"""Which implementation of a part's layers runs: the plain one it was trained as, or our own, written for CPUs.

The plain one is the reference that the other is tested against.
"""

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import nn

from lcm_video.errors import CheckpointError
from lcm_video.models.ladder import Notes
from lcm_video.types import Images, Latents

Choice: TypeAlias = Literal["auto", "plain", "fast"]

Fast = TypeVar("Fast")
"""A fast implementation."""

DTYPES = (torch.float32, torch.bfloat16)
"""Precisions that our own kernels are written for."""

LARGE = 2**27
"""Bytes of a VAE's weights that are too many to have twice."""


@runtime_checkable
class Decoder(Protocol):
    """A fast decoder: latents, divided by the model's scaling factor, to images from -1 to 1."""

    def __call__(self, latents: Latents, /) -> Images: ...

    @property
    def most(self) -> int:
        """How many frames it is best given at once. It changes none of their bits."""
        ...


class Kernels(Generic[Fast]):
    """Our own implementation of a model, built when it is first asked for, by whichever thread comes first.

    build: model, and what it is built for → its fast implementation, or why there is none
    """

    def __init__(self, build: Callable[..., Fast | str], choice: Choice, notes: Notes) -> None:
        self.build, self.choice, self.notes = build, choice, notes
        self._made: tuple[tuple[int, ...], Fast | None] | None = None
        self._lock = Lock()

    def of(self, model: nn.Module, *purpose: int) -> Fast | None:
        """The implementation to run in place of ``model``; None for the plain one. The last ``purpose`` is kept."""
        with self._lock:
            if self._made is None or self._made[0] != purpose:
                self._made = None  # before the next one takes its memory
                self._made = purpose, self._choose(model, *purpose)
            return self._made[1]

    def _choose(self, model: nn.Module, *purpose: int) -> Fast | None:
        weight = next(model.parameters())
        if self.choice == "plain" or (self.choice == "auto" and weight.device.type != "cpu"):
            return None
        if weight.device.type == "cpu" and weight.dtype in DTYPES:
            found = self.build(model, *purpose)
        else:
            found = f"they compute on CPUs in float32 and bfloat16, not on {weight.device.type} in {weight.dtype}"
        if not isinstance(found, str):
            return found
        if self.choice == "fast":
            message = f"runtime.kernels is fast, and there are no fast kernels for this model: {found}"
            raise CheckpointError(message, remedy="set runtime.kernels=auto")
        self.notes.add(f"{type(model).__name__} runs with the plain kernels, which are slower: {found}")
        return None


def fast_unet(model: Any) -> Callable[..., Any] | str:
    """The fast UNet of ``model``; it takes the weights of a large one over."""
    from lcm_video.models import fast

    return fast.unet_of(model) or fast.unknown_in(model)


def fast_vae(model: Any, height: int, width: int) -> Decoder | str:
    """The fast decoder of ``model``, for latents of that size."""
    from lcm_video.models import fast

    large = sum(weight.nbytes for weight in model.parameters()) > LARGE
    return fast.vae_of(model, take=large, latents=(height, width)) or "they do not know one of its layers"


def refuse_taken(model: nn.Module) -> None:
    """Raises CheckpointError for a model whose weights fast kernels have taken over."""
    if any(weight.numel() > 1 and not any(weight.stride()) for weight in model.parameters()):
        message = "the weights of this UNet were moved into its fast kernels"
        raise CheckpointError(message, remedy="load the model again, with runtime.kernels=plain")
