"""Textual inversions (arXiv:2208.01618): words made of trained vectors, called by their file's name in a prompt."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lcm_video.errors import CheckpointError

Vectors = Float[Tensor, "vectors width"]

FAMILIES = {(768,): "SD 1.5", (1024,): "SD 2", (1280,): "SDXL's second text encoder alone", (768, 1280): "SDXL"}
"""Whom an inversion is for, by the widths of its vectors."""

PAIRS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
"""Names of the vectors for SDXL's two text encoders, as different trainers write them."""

REMEDY = "use the version of the embedding made for the checkpoint's family"


def vectors(tensors: Mapping[str, Any], name: str, *, widths: Sequence[int]) -> tuple[Vectors, ...]:
    """The vectors of an inversion in the file ``name``: as many for each text encoder, whose features are ``widths``.

    Reads A1111's (``emb_params``, ``string_to_param``), diffusers' and SDXL's pairs. Raises CheckpointError if the
    file holds something else, several words, or vectors of other widths.
    """
    found = tuple(_rows(tensor, name) for tensor in _found(tensors, name))
    if (own := tuple(rows.shape[1] for rows in found)) != tuple(widths):
        made, wanted = (" and ".join(map(str, numbers)) for numbers in (own, widths))
        encoders = "the text encoder takes" if len(widths) == 1 else "the text encoders take"
        message = f"{name} has vectors of {made} numbers, for {FAMILIES.get(own, 'another family')}"
        raise CheckpointError(f"{message}; {encoders} {wanted}", remedy=REMEDY)
    if len({len(rows) for rows in found}) > 1:
        counts = " and ".join(str(len(rows)) for rows in found)
        message = f"{name} has {counts} vectors for the two text encoders, where it needs as many"
        raise CheckpointError(message, remedy="the file is damaged: download it again")
    return found


def _found(tensors: Mapping[str, Any], name: str) -> list[Tensor]:
    """The vectors in the file, however they are wrapped: one tensor for each text encoder."""
    if pair := next((pair for pair in PAIRS if set(pair) <= tensors.keys()), None):
        return [tensors[part] for part in pair]
    inside = (
        {"emb_params": tensors["emb_params"]} if "emb_params" in tensors else tensors.get("string_to_param", tensors)
    )
    found = [tensor for tensor in dict(inside).values() if isinstance(tensor, Tensor)]
    if len(found) != 1:
        message = f"{name} holds {len(found)} words, not one textual inversion"
        raise CheckpointError(message, remedy="give one file for each word, for the checkpoint's family")
    return found


def _rows(tensor: Tensor, name: str) -> Vectors:
    """The vectors of one text encoder, one a row."""
    rows = tensor.detach()[None] if tensor.ndim == 1 else tensor.detach()
    if rows.ndim != 2 or not len(rows):
        message = f"{name} holds numbers of shape {tuple(rows.shape)}, which are no vectors"
        raise CheckpointError(message, remedy="give a textual inversion")
    if not torch.isfinite(rows.float()).all():
        raise CheckpointError(f"{name} holds NaN or infinity: the file is damaged", remedy="download it again")
    return rows
