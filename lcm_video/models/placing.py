"""Where a model is put, and in which precision, with the reason."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from lcm_video.errors import ResourceError
from lcm_video.models import Runtime, memory
from lcm_video.models.files import read
from lcm_video.models.parts import ModelFile

LARGE = 200_000_000
"""Weights of a UNet from which bfloat16 pays on a CPU: a small one spends its time between the layers, not in them."""


@dataclass(frozen=True)
class Precision:
    """A data type, and why it was taken."""

    dtype: torch.dtype
    why: str

    @property
    def note(self) -> str:
        """What to tell of it: nothing where it is what was asked for, or what is usual."""
        return f"computes in {str(self.dtype).removeprefix('torch.')}: {self.why}" if self.why else ""


@dataclass(frozen=True)
class Place:
    """The device of a model, and how its precision is found once its size is known."""

    device: torch.device
    asked: str

    def precision(self, weights: int) -> Precision:
        """The precision of a model whose UNet has so many weights."""
        if self.asked != "auto":
            return Precision(getattr(torch, self.asked), "")
        if self.device.type != "cpu":
            # SD 1.5 and SDXL are published in float16 and stay within its range (SDXL's VAE does not, see vae_files,
            # and any VAE is decoded again in float32 where it overflows). It is as fast as bfloat16, and eight times
            # finer.
            return Precision(torch.float16, "")
        if weights < LARGE:
            return Precision(torch.float32, "")
        if not (unit := bfloat16_unit()):
            return Precision(torch.float32, "")
        return Precision(torch.bfloat16, f"this CPU has {unit}; runtime.dtype=float32 is finer, and slower")

    @property
    def half(self) -> bool:
        """Whether files in 16 bits will do, where there are others too."""
        return self.asked in ("float16", "bfloat16") or (self.asked == "auto" and self.device.type != "cpu")


def place_for(runtime: Runtime) -> Place:
    """The place that ``runtime`` asks for. Raises ResourceError if this machine has no such device."""
    return Place(device_for(runtime), runtime.dtype)


def usual_precision() -> str:
    """What ``auto`` takes on this machine, and why, in a few words."""
    place = place_for(Runtime())
    large, small = place.precision(LARGE), place.precision(0)
    if large == small:
        return str(large.dtype).removeprefix("torch.")
    names = [str(each.dtype).removeprefix("torch.") for each in (large, small)]
    return f"{names[0]} for large models ({large.why.partition(';')[0]}), {names[1]} for small ones"


def device_for(runtime: Runtime) -> torch.device:
    """The device that ``runtime`` asks for. Raises ResourceError if this machine has none such."""
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(runtime.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"device {runtime.device!r} cannot be used: {str(error).splitlines()[0]}"
        raise ResourceError(message, remedy="set runtime.device to auto, cpu, cuda or cuda:1") from None
    return device


def bfloat16_unit() -> str:
    """What this CPU multiplies bfloat16 with, faster than float32: AMX or AVX-512; empty if it has nothing."""
    capabilities: dict[str, Any] = {}
    # torch tells this in 2.13; older ones are asked for what they test themselves.
    if ask := getattr(torch.cpu, "get_capabilities", None):
        capabilities = ask()
    for name, key, private in (
        ("AMX-BF16", "amx_bf16", "_is_amx_tile_supported"),
        ("AVX512-BF16", "avx512_bf16", "_is_avx512_bf16_supported"),
    ):
        test: Callable[[], bool] = getattr(torch.cpu, private, lambda: False)
        if capabilities[key] if key in capabilities else test():
            return name
    return ""


@contextmanager
def fitting(place: Place, files: Sequence[ModelFile]) -> Iterator[None]:
    """Tells, if memory runs out while a model is loaded, how much its ``files`` need and what would need less.

    ``files`` are those read so far. Raises ResourceError.
    """
    try:
        yield
        return
    except torch.AcceleratorError as error:
        raise memory.lost(error) from error
    except (RuntimeError, MemoryError) as error:
        if not memory.ran_out(error):
            raise
    # Here the error is gone, and with it the half-loaded model in its frames.
    memory.release(place.device)
    raise does_not_fit(place, sum(weights_in(file) for file in files))


def does_not_fit(place: Place, weights: int) -> ResourceError:
    """What is told of a model of so many weights that does not fit."""
    dtype = place.precision(weights).dtype
    free, total = memory.free(place.device) / 1e9, memory.total(place.device) / 1e9
    name = str(dtype).removeprefix("torch.")
    needed = f"{weights / 1e6:.0f} million weights need {weights * dtype.itemsize / 1e9:.1f} GB in {name}"
    room = f"{free:.1f} GB of {total:.1f} GB are free on {memory.named(place.device)}"
    message = f"the model does not fit: its {needed}, and {room}"
    halved = f"runtime.dtype=bfloat16 needs {weights * 2 / 1e9:.1f} GB" if dtype.itemsize == 4 else ""
    moved = "runtime.device=cpu uses this machine's memory" if place.device.type != "cpu" else ""
    return ResourceError(message, remedy="; ".join(filter(None, (halved, moved, "closing other programs frees some"))))


def weights_in(file: ModelFile) -> int:
    """How many numbers a model file holds."""
    return sum(tensor.numel() for tensor in read(file.path).tensors.values() if isinstance(tensor, torch.Tensor))
