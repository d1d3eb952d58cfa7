"""Layers in C++, where they were built when the package was installed: for x86-64 with AVX2 or AVX-512, under Linux.

Each does what a few calls of PyTorch do, in one pass over memory, on PyTorch's own threads. Without them those calls
do it, so nothing here is needed; whoever calls asks `built_for` first. How much faster they are, in a UNet's shapes,
on two cores of a Zen 4:

- attention: 1.1-1.7x in float32; in bfloat16 2x over pixels, 2.3-2.8x to prompts, 3.5-5x over frames;
- feed-forwards with their norm: 1.2-2.3x up to 320 channels in float32, 1.05x to 1.8x in bfloat16;
- linear layers: 1.3-2x up to 128 channels in float32; whole transformers of those: 1.2x again;
- Winograd's convolutions, with group norms and their SiLU before them: SD's decoder takes 1.5x less time in float32,
  the embedded model's 1.6x.

All round as PyTorch's do, within a third, but for Winograd's: see `winograd.py`.
"""

import ctypes
import functools
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lcm_video.models.placing import bfloat16_unit

FOLDER = Path(__file__).parent


class Library(NamedTuple):
    """What could be loaded.

    calls: the functions of a library, or None
    what: the instruction set that it was built for, or why there is none
    """

    calls: Any
    what: str


@functools.cache
def library(level: str = "") -> Library:
    """The library for this processor, or for the instruction set ``level`` (`avx2`, `avx512`)."""
    level = level or torch.backends.cpu.get_cpu_capability().lower()
    path = FOLDER / f"{level}.so"
    if not path.exists():
        return Library(None, f"no layers were compiled for {level.upper()} when lcm-video was installed")
    try:
        calls = ctypes.CDLL(str(path))
        calls.sources.restype = ctypes.c_char_p
        built_from = calls.sources().decode()
    except (OSError, AttributeError) as error:
        return Library(None, f"the compiled layers for {level.upper()} cannot be loaded: {error}")
    if built_from != fingerprint():
        return Library(None, f"the compiled layers for {level.upper()} are of another version: install lcm-video again")
    return Library(calls, level.upper().replace("X5", "X-5"))


def fingerprint() -> str:
    """What tells the sources beside this file from others, as ``hatch_build.py`` tells them."""
    files = sorted([*FOLDER.glob("*.cpp"), *FOLDER.glob("*.h")])
    return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def built_for(tensor: Tensor) -> str:
    """How the library's functions for numbers like those of ``tensor`` end; empty if it has none for them.

    Processors with AMX multiply bfloat16 faster than these functions do: there PyTorch's serve.
    """
    calls = library().calls
    if tensor.device.type != "cpu" or calls is None:
        return ""
    if tensor.dtype == torch.float32:
        return "float32"
    halves = hasattr(calls, "attention_bfloat16") and bfloat16_unit() == "AVX512-BF16"
    return "bfloat16" if halves and tensor.dtype == torch.bfloat16 else ""


ADDRESSES = {
    "attention": 5, "linear": 6, "feed_forward": 5, "transformer": 4, "group_norm": 5, "winograd": 7,
    "winograd_weights": 4,
}  # fmt: skip
"""How many arguments functions have, by their names without the kind of numbers: all are addresses."""


def function(name: str, numbers: str) -> Any:
    """A function of the library, for a kind of ``numbers`` (see `built_for`)."""
    return _function(library().calls, name, numbers)


@functools.cache
def _function(calls: Any, name: str, numbers: str) -> Any:
    call = getattr(calls, f"{name}_{numbers}")
    call.argtypes, call.restype = [ctypes.c_void_p] * ADDRESSES[name], ctypes.c_int
    call.errcheck = done
    return call


def done(returned: int, *_: Any) -> None:
    """Raises MemoryError where a function found no memory to work in."""
    if returned:
        raise MemoryError("a compiled layer found no memory to work in")


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers are, or null."""
    return None if tensor is None else tensor.data_ptr()
