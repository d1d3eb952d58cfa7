"""A LoRA's file to its changes, one for each layer."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, cast

import torch
from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.lora.changes import Change, Decomposed, Product
from lcm_video.models.lora.configured import alpha_for
from lcm_video.models.lora.spelling import TEXT, TEXT_2, UNET, Place, place

UNSUPPORTED = {
    ".oft_": "an OFT",
    ".boft_": "a BOFT",
    ".on_input": "an (IA)³",
    ".a1.weight": "a GLoRA",
    "double_blocks": "a FLUX LoRA",
    "single_blocks": "a FLUX LoRA",
    "single_transformer_blocks": "a FLUX LoRA",
    "joint_blocks": "an SD 3 LoRA",
}
AGAIN = "the file is incomplete: download it again"


def read(tensors: Mapping[str, Any], metadata: Mapping[str, str] = {}) -> dict[str, dict[str, Change]]:
    """The changes of the UNet and of the text encoders, by layer, from any known spelling.

    ``metadata`` is that of a safetensors file, in which peft's alphas stand. Raises CheckpointError for algorithms
    that are not supported, unknown names, incomplete layers and numbers that are none.
    """
    found: dict[str, dict[str, Change]] = {UNET: {}, TEXT: {}, TEXT_2: {}}
    for (target, layer), parts in collected(tensors).items():
        found[target][layer] = change(target, layer, parts, metadata)
    return found


SDXL_ONLY = re.compile(r"up_blocks_0_attentions|transformer_blocks_[1-9]")
SD15_ONLY = re.compile(r"down_blocks_0_attentions|(down|up)_blocks_3_")


def family(changes: Mapping[str, Mapping[str, Change]]) -> str:
    """The checkpoints a LoRA is for, "sd15" or "sdxl", as far as the layers it changes exist in one alone; else ""."""
    if changes[TEXT_2] or any(SDXL_ONLY.search(layer) for layer in changes[UNET]):
        return "sdxl"
    return "sd15" if any(SD15_ONLY.search(layer) for layer in changes[UNET]) else ""


def check_family(changes: Mapping[str, Mapping[str, Change]], wanted: str) -> None:
    """Raises CheckpointError if a LoRA is made for checkpoints of another family than ``wanted``."""
    names = {"sd15": "SD 1.5", "sdxl": "SDXL"}
    if (found := family(changes)) and found != wanted:
        message = f"it is an {names[found]} LoRA, the checkpoint is {names[wanted]}"
        raise CheckpointError(message, remedy=f"use the LoRA's version for {names[wanted]}, or another checkpoint")


def collected(tensors: Mapping[str, Any]) -> dict[tuple[str, str], list[tuple[Place, Tensor]]]:
    """The tensors of each layer, with their places."""
    for mark, what in UNSUPPORTED.items():
        if any(mark in key for key in tensors):
            raise CheckpointError(
                f"it is {what}, which is not supported", remedy="use a LoRA, LoCon, LoHa, LoKr or DoRA"
            )
    layers: dict[tuple[str, str], list[tuple[Place, Tensor]]] = {}
    unknown = []
    for key, tensor in tensors.items():
        if (found := place(key)) and isinstance(tensor, Tensor):
            layers.setdefault((found.target, found.layer), []).append((found, tensor))
        else:
            unknown.append(key)
    if unknown:
        message = f"{len(unknown)} of its {len(tensors)} weights have unknown names, first {unknown[0]}"
        raise CheckpointError(message, remedy="convert it to kohya's names: lora_unet_….lora_down.weight")
    return layers


def change(target: str, layer: str, parts: list[tuple[Place, Tensor]], metadata: Mapping[str, str]) -> Change:
    """One layer's change, put together from its tensors."""
    for _, tensor in parts:
        if not torch.isfinite(tensor.float()).all():
            message = f"{layer} holds NaN or infinity: the file is damaged"
            raise CheckpointError(message, remedy="download it again; bad float16 conversions do this, too")
    if len({(place.change, place.factor) for place, _ in parts}) < len(parts):
        message = f"{layer} is changed twice, under two names"
        raise CheckpointError(message, remedy="get the file from its source again: two LoRAs were put into one")
    algorithms = {place.change for place, _ in parts if place.change}
    if len(algorithms) != 1:
        what = " and ".join(sorted(algorithm.__name__ for algorithm in algorithms)) or "no factors"
        raise CheckpointError(f"{layer} has {what}, not one change", remedy=AGAIN)
    algorithm = cast("type[Product]", algorithms.pop())
    factors = {place.factor: tensor for place, tensor in parts if place.change}
    for field in fields(algorithm):
        if field.default is MISSING and field.name not in factors:
            raise CheckpointError(f"{layer} has no {field.name} weight", remedy=AGAIN)
    beside = {place.factor: tensor for place, tensor in parts if not place.change}
    made = algorithm(**factors)
    if any(field.name == "alpha" for field in fields(algorithm)):
        alpha = float(beside["alpha"]) if "alpha" in beside else alpha_for(metadata, target, layer, made.rank or 1)
        made = replace(made, alpha=alpha)
    return decomposed(made, beside)


def decomposed(direction: Product, beside: Mapping[str, Tensor]) -> Change:
    """``direction`` itself, or with the lengths that make it a DoRA.

    peft's lengths are those of the outputs, however it shapes them; LyCORIS' have their axis, and ones elsewhere.
    """
    if (lengths := beside.get("magnitude")) is not None:
        return Decomposed(direction, lengths)
    if (lengths := beside.get("dora_scale")) is not None:
        return Decomposed(direction, lengths, axis=int(lengths.ndim > 1 and lengths.shape[0] == 1))
    return direction
