"""Reading weight files into tensors. Nothing in a file is ever executed."""

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.container import AGAIN, header, sniff


class Weights(NamedTuple):
    """What a file holds: tensors by name, and its metadata (safetensors only)."""

    tensors: dict[str, Any]
    metadata: dict[str, str]


def read(path: Path) -> Weights:
    """The weights in ``path``, mapped from disk where the format allows: bytes are read when used.

    Wrappers around the weights (``state_dict``, ``module.``) are taken off. Raises CheckpointError if the file is
    damaged, no weight file, or a pickle that wants more than tensors.
    """
    if sniff(path) == "safetensors":
        metadata = header(path).metadata
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                return Weights({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f"{path.name} is damaged: {error}", remedy=AGAIN) from None
    return Weights(_unwrapped(_unpickled(path), path), {})


def _unpickled(path: Path) -> Any:
    if path.suffix == ".safetensors":  # torch.load would go by the ending
        message = f"{path.name} is a PyTorch file under a .safetensors name"
        raise CheckpointError(message, remedy="if you trust where it comes from, rename it to .ckpt")
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=sniff(path) == "zip")
    except Exception as error:
        found = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|global:?) ?(?:GLOBAL )?([\w.]+)", str(error))
        wants = next((name for name in found.groups() if name), "") if found else ""
        message = f"{path.name} was refused: it wants to run {wants}" if wants else f"{path.name} cannot be read"
        raise CheckpointError(message, remedy="get its .safetensors version, or download it again") from error


def _harmless() -> list[Any]:
    """Classes that ordinary old files name beside their tensors. They are data or thrown away; all else is refused."""
    import numpy as np

    stub = type("ModelCheckpoint", (), {})
    array = np._core.multiarray  # pyright: ignore[reportAttributeAccessIssue]
    rebuilt = [
        (getattr(array, name), f"{module}.{name}")
        for name in ("scalar", "_reconstruct")
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    ]
    return [
        (stub, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
        torch.nn.ParameterDict,
        np.dtype,
        np.ndarray,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
        *rebuilt,
    ]


def _unwrapped(found: Any, path: Path) -> dict[str, Any]:
    while isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        message = f"{path.name} holds {type(found).__name__}, not weights by name"
        raise CheckpointError(message, remedy="give a checkpoint, motion module, LoRA, VAE or embedding")
    names = [name for name, value in found.items() if isinstance(value, Tensor)]
    if names and all(str(name).startswith("module.") for name in names):  # saved from data-parallel training
        return {str(name).removeprefix("module."): value for name, value in found.items()}
    return {str(name): value for name, value in found.items()}


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; computed again only if the file changed."""
    facts = path.stat()
    return _sha256(path.resolve(), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
