"""What can change a bit of a frame beside storyboard and files: the machine, the libraries, this code. Loads none.

What ``runtime.device: auto`` comes to is not asked of torch, which takes seconds to load. It is settled by what is
told here: the processor, the graphics cards, the libraries.
"""

import os
import platform
import re
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lcm_video.models import card_for
from lcm_video.storyboard import Scene, Storyboard

LIBRARIES = ("torch", "diffusers", "numpy")
READERS = ("av", "imageio", "pillow")
"""Libraries that read the picture or film a shot begins from."""

VARIABLES = (
    "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES", "DNNL_MAX_CPU_ISA", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS", "ONEDNN_MAX_CPU_ISA",
)  # fmt: skip
"""Environment variables that choose how a processor computes."""

PACKAGE = Path(__file__).parents[1]
WRITING = ("cli", "importers")
"""Parts of this package that have no say in what frames look like."""


def facts_of(board: Storyboard, scene: Scene) -> dict[str, Any]:
    """The facts for `shot_key`."""
    libraries = (*LIBRARIES, *(READERS if scene.start.source else ()))
    return {
        "card": card_for(board.model.motion, folders=board.runtime.folders),
        "machine": [platform.system(), platform.machine(), *_processor(), *_graphics()],
        # Sums are cut into as many pieces as there are threads, and rounded so.
        "threads": _cores(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "versions": {name: _version(name) for name in libraries},
        "code": code(),
    }


_version = cache(version)


@cache
def code() -> str:
    """A hash of this package's own code, compiled code too: work done by other code is not taken for its own."""
    found = sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.so")]):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] not in WRITING:
            found.update(f"{inside.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def _cores() -> int:
    """The cores that this process may use, which is how many threads torch begins with."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _processor() -> list[str]:
    """The processor's name and what it can do, where the system tells: sums are rounded as its widest units do."""
    told = _read(Path("/proc/cpuinfo"))
    found = re.findall(r"^(?:model name|flags|Features)\s*:.*$", told.split("\n\n")[0], re.MULTILINE)
    return found or [platform.processor()]


@cache
def _graphics() -> list[str]:
    """The graphics cards by name, where the system tells, and their driver."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [line for card in cards for line in _read(card).splitlines() if line.startswith("Model:")]
    return [*names, _read(Path("/proc/driver/nvidia/version"))]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
