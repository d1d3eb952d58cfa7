"""Textual inversions (arXiv:2208.01618): words made of trained vectors, called by their file's name in a prompt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.files import read
from lcm_video.models.kinds import expect


def vectors(path: Path, *, width: int) -> Float[Tensor, "vectors width"]:
    """The vectors of an inversion in ``path``, for a text encoder of ``width`` features.

    Reads A1111's (``emb_params``, ``string_to_param``) and diffusers' files. Raises CheckpointError if the file holds
    something else, several words, or vectors of another width.
    """
    tensors = read(path).tensors
    expect("textual inversion", tensors, name=path.name)
    found = _found(tensors, path)
    found = found.detach()[None] if found.ndim == 1 else found.detach()
    if found.ndim != 2 or found.shape[1] != width:
        made = {768: "SD 1.5", 1024: "SD 2", 1280: "SDXL"}.get(found.shape[-1], "another family")
        message = f"{path.name} has vectors of {found.shape[-1]} numbers, for {made}; the text encoder takes {width}"
        raise CheckpointError(message, remedy="use the version of the embedding made for the checkpoint's family")
    if not torch.isfinite(found.float()).all():
        raise CheckpointError(f"{path.name} holds NaN or infinity: the file is damaged", remedy="download it again")
    return found


def _found(tensors: Mapping[str, Any], path: Path) -> Tensor:
    """The one tensor of vectors in the file, however it is wrapped."""
    inside = tensors.get("string_to_param", tensors)
    found = [tensor for tensor in dict(inside).values() if isinstance(tensor, Tensor)]
    if "emb_params" in tensors:
        found = [tensors["emb_params"]]
    if len(found) != 1:
        message = f"{path.name} holds {len(found)} words, not one textual inversion"
        raise CheckpointError(message, remedy="give one file for each word, for the checkpoint's family")
    return found[0]
