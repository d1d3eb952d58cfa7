"""Reading weight files into tensors. Nothing in a file is ever executed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.container import AGAIN, Container, header, sniff
from lcm_video.models.digests import digest
from lcm_video.models.pickles import refused, table, unwrapped


class Weights(NamedTuple):
    """What a file holds: tensors by name, and its metadata (safetensors only)."""

    tensors: dict[str, Any]
    metadata: dict[str, str]


def read(path: Path) -> Weights:
    """The weights in ``path``, mapped from disk where the format allows: bytes are read when used.

    Wrappers around the weights (``state_dict``, ``module.``) are taken off. Raises CheckpointError if the file is
    damaged, no weight file, or a pickle that wants more than tensors.
    """
    if (container := sniff(path)) == "safetensors":
        metadata = header(path).metadata
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                return Weights({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f"{path.name} is damaged: {error}", remedy=AGAIN) from None
    return Weights(_unwrapped(unpickled(path, container), path), {})


def unpickled(path: Path, container: Container) -> Any:
    """What a PyTorch file holds, wrappers and all. Raises CheckpointError for more than tensors and plain data."""
    table(path, container)  # refuses what is unsafe by name, and what would fill the memory
    try:
        with torch.serialization.safe_globals(_harmless()):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=container == "zip")
    except Exception as error:
        found = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|global:?) ?(?:GLOBAL )?([\w.]+)", str(error))
        if wants := next((name for name in found.groups() if name), "") if found else "":
            raise refused(path, wants) from error
        raise CheckpointError(f"{path.name} cannot be read", remedy=AGAIN) from error


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
    inside = unwrapped(found)
    if not isinstance(inside, Mapping):
        message = f"{path.name} holds {type(inside).__name__}, not weights by name"
        raise CheckpointError(message, remedy="give a checkpoint, motion module, LoRA, VAE or embedding")
    return dict(inside)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal; computed again only if the file changed."""
    return digest(path)


def unsound(tensors: Mapping[str, Any]) -> list[str]:
    """The names of weights that are not numbers (NaN) or infinite. Reads every weight."""
    return [
        name
        for name, tensor in tensors.items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not _finite(tensor)
    ]


def _finite(tensor: Tensor) -> bool:
    wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # float8 has no arithmetic
    return bool(torch.isfinite(wide).all())
