"""Tensors on their way to a GPU and back, while it computes. On a CPU all of it is nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def device_of(model: nn.Module) -> torch.device:
    """Where a model is, by its first weight: diffusers looks through all of its modules for it, for milliseconds."""
    return next(model.parameters()).device


def dtype_of(model: nn.Module) -> torch.dtype:
    """A model's precision, by its first weight."""
    return next(model.parameters()).dtype


def moved(value: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """``value`` on a device; to a GPU through pinned memory, without waiting, pictures with their channels last."""
    if device.type != "cuda":
        return value.to(device, dtype)
    layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    value = value.pin_memory() if value.device.type == "cpu" else value
    return value.to(device, dtype, non_blocking=True, memory_format=layout)


def arranged(model: nn.Module) -> None:
    """Lays out the weights of convolutions as a GPU's tensor cores read them: channels last."""
    for weight in model.parameters():
        if weight.ndim == 4 and weight.device.type == "cuda":
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


class Lane:
    """A stream of work beside all other on a GPU, and what comes out of it."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Queues what is computed inside on this lane."""
        if self.stream is None:
            yield
            return
        with torch.cuda.stream(self.stream):
            yield

    def fetched(self, results: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
        """Begins to copy ``results`` to the host; what is given waits until they are there."""
        if self.stream is None:
            return lambda: list(results)
        hosts = [torch.empty(result.shape, dtype=result.dtype, pin_memory=True) for result in results]
        for host, result in zip(hosts, results, strict=True):
            host.copy_(result, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(self.stream)

        def wait() -> list[Tensor]:
            arrived.synchronize()
            return hosts

        return wait
