"""LoRAs to be trained (arXiv:2106.09685): lcm-video's own, running beside the layers they change."""

import math
from collections.abc import Mapping

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from lcm_video.models.lora import LowRank

CHANGED = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    "conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj",
)  # fmt: skip
"""Endings of the layers that the LCM-LoRA of arXiv:2311.05556 changes."""


def new_lora(unet: UNet2DConditionModel, *, rank: int) -> dict[str, LowRank]:
    """A LoRA of ``unet`` that changes nothing yet: random downwards, zero upwards; alpha is the rank."""
    changes = {}
    for name, layer in unet.named_modules():
        if name.endswith(CHANGED) and isinstance(layer, nn.Linear | nn.Conv2d):
            outer, *inner = layer.weight.shape
            down = nn.Parameter(torch.empty(rank, *inner))
            nn.init.kaiming_uniform_(down, a=math.sqrt(5))
            up = nn.Parameter(torch.zeros(outer, rank, *[1] * (len(inner) - 1)))
            changes[name.replace(".", "_")] = LowRank(down, up, alpha=float(rank))
    return changes


def parameters(changes: Mapping[str, LowRank]) -> dict[str, nn.Parameter]:
    """Everything that is trained, by its name in kohya's files."""
    return {
        f"lora_unet_{layer}.lora_{way}.weight": getattr(change, way)
        for layer, change in changes.items()
        for way in ("down", "up")
    }


def kohya(changes: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """The weights of a file as kohya's scripts write it."""
    weights = {name: weight.detach() for name, weight in parameters(changes).items()}
    return weights | {f"lora_unet_{layer}.alpha": torch.tensor(change.alpha) for layer, change in changes.items()}
