"""Memory as stages meet it: whether an error means that it ran out, how much is free, and giving back what is held."""

import gc
import os
from contextlib import suppress

import torch

from lcm_video.errors import ResourceError

SAID = ("DefaultCPUAllocator", "std::bad_alloc", "MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What errors without a class of their own say: torch's on a CPU and on Apple's GPUs, and that of cuBLAS."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory.

    >>> ran_out(MemoryError()), ran_out(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return type(error) is RuntimeError and any(said in str(error) for said in SAID)


def lost(error: torch.AcceleratorError) -> ResourceError:
    """What to tell when a GPU failed: nothing more can be computed on it in this process."""
    message = f"the GPU stopped working: {str(error).splitlines()[0]}"
    return ResourceError(message, remedy="render again: in a fresh process it goes on where it stopped")


def free(device: torch.device) -> int:
    """Bytes that could be allocated on a device; 0 where the system does not say."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    with suppress(OSError, ValueError, StopIteration), open("/proc/meminfo", encoding="ascii") as lines:
        # What could be had, the file cache included; in kB.
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return 0


def total(device: torch.device) -> int:
    """Bytes of memory that a device has; 0 where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def release(device: torch.device) -> None:
    """Gives back what nothing refers to any more, so that a smaller attempt has all there is."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def named(device: torch.device) -> str:
    """What a device is called in messages, and where settings that fit it are remembered."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
