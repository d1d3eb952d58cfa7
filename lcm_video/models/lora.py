"""LoRA (arXiv:2106.09685): reading the files, and merging into the weights: no wrapper layers, no cost per step.

Merge before `motion.inject`, while layers still have the names the LoRA was trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lcm_video.errors import CheckpointError

UNET, TEXT = "unet", "text"

# Where a name begins, in each spelling, and whom it belongs to. Trainers write dots as underscores, peft does not.
PREFIXES = {
    "lora_unet_": UNET,
    "lora_te_text_model_": TEXT,
    "lora_te_": TEXT,
    "unet.": UNET,
    "text_encoder.text_model.": TEXT,
    "text_encoder.": TEXT,
}
DOWN = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight")
UP = (".lora_up.weight", ".lora_B.weight", ".lora.up.weight")
ALPHA = (".alpha",)
UNSUPPORTED = {"hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "oft_": "OFT"}
REMEDY = "check that LoRA and checkpoint are of the same family"


@dataclass(frozen=True)
class LowRank:
    """What a LoRA adds to one layer: ``up @ down``, times alpha over rank."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def factor(self) -> float:
        """Alpha over rank: what the product is multiplied by at strength 1."""
        return self.alpha / self.down.shape[0]

    def delta(self, scale: float) -> Tensor:
        """The change of the weight, in float32: a k×k convolution is a matrix over flattened patches."""
        change = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return (scale * self.factor * change).unflatten(1, self.down.shape[1:])


Lora = Mapping[str, LowRank]
"""Low-rank changes of one model by layer, dots written as underscores."""


def read(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, LowRank]]:
    """A LoRA's changes of the ``unet`` and of the ``text`` encoder, from kohya's, LCM's or peft's spelling.

    Raises CheckpointError for kinds of LoRA that are not supported, incomplete layers and numbers that are none.
    """
    for mark, what in UNSUPPORTED.items():
        if any(mark in key for key in tensors):
            raise CheckpointError(f"it is a {what}, which is not supported", remedy="use an ordinary LoRA or LoCon")
    collected: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        if place := _place(key):
            target, layer, role = place
            collected.setdefault((target, layer), {})[role] = tensor
        else:
            unknown.append(key)
    if unknown:
        message = f"{len(unknown)} of its {len(tensors)} weights have unknown names, first {unknown[0]}"
        raise CheckpointError(message, remedy="convert it to kohya's names: lora_unet_….lora_down.weight")
    found: dict[str, dict[str, LowRank]] = {UNET: {}, TEXT: {}}
    for (target, layer), roles in collected.items():
        found[target][layer] = _low_rank(layer, roles)
    return found


def _place(key: str) -> tuple[str, str, str] | None:
    """Whom a weight changes, in which layer, and what it is there."""
    prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
    for role, endings in {"down": DOWN, "up": UP, "alpha": ALPHA}.items():
        if prefix and (ending := next((ending for ending in endings if key.endswith(ending)), None)):
            layer = key.removeprefix(prefix).removesuffix(ending).replace(".", "_")
            return PREFIXES[prefix], layer, role
    return None


def _low_rank(layer: str, roles: Mapping[str, Tensor]) -> LowRank:
    for role in ("down", "up"):
        if role not in roles:
            raise CheckpointError(f"{layer} has no {role} weight", remedy="the file is incomplete: download it again")
        if not torch.isfinite(roles[role].float()).all():
            message = f"{layer} holds NaN or infinity: the file is damaged"
            raise CheckpointError(message, remedy="download it again; bad float16 conversions do this, too")
    alpha = float(roles["alpha"]) if "alpha" in roles else float(len(roles["down"]))
    return LowRank(roles["down"], roles["up"], alpha)


def places(model: nn.Module, lora: Lora) -> dict[str, Any]:
    """The layers of ``model`` that ``lora`` changes, by name. Raises CheckpointError unless all are there and fit."""
    layers = {
        name.removeprefix("text_model.").replace(".", "_"): layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }
    if unknown := sorted(name for name in lora if name not in layers):
        message = f"{len(unknown)} of its {len(lora)} modules are not in this model, first {unknown[0]}"
        raise CheckpointError(message, remedy=REMEDY)
    for name, change in lora.items():
        wanted, found = tuple(layers[name].weight.shape), (change.up.shape[0], *change.down.shape[1:])
        if wanted != found or change.up.flatten(1).shape[1] != change.down.shape[0]:
            raise CheckpointError(f"{name} is {wanted} in this model, the LoRA changes {found}", remedy=REMEDY)
    return {name: layers[name] for name in lora}


@torch.no_grad()
def merge(model: nn.Module, lora: Lora, *, scale: float = 1.0) -> int:
    """Adds ``scale`` times every change of ``lora`` to the weights of ``model``; gives how many modules changed.

    Computed in float32 and rounded once. The weights are replaced, not written to: they may be mapped from a file.
    """
    for name, layer in places(model, lora).items():
        weight = layer.weight
        merged = weight.float() + lora[name].delta(scale).to(weight.device)
        layer.weight = nn.Parameter(merged.to(weight.dtype), requires_grad=False)
    return len(lora)
