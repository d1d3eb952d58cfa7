"""Finding the layers that a LoRA changes, and changing them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lcm_video.errors import CheckpointError
from lcm_video.models.lora.changes import Change
from lcm_video.models.lora.spelling import BIAS
from lcm_video.models.motion import original

Lora = Mapping[str, Change]
"""Changes of one model by layer, dots written as underscores; ``….bias`` where a bias is changed."""

CHANGEABLE = nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm
MOTION = "motion_modules"
REMEDY = "check that LoRA and checkpoint are of the same family"


def places(model: nn.Module, lora: Lora) -> dict[str, Any]:
    """The layers of ``model`` that ``lora`` changes, by name. Raises CheckpointError unless all are there and fit.

    Injected motion modules count as parts of the model, and change none of its own layers' names.
    """
    layers = {
        original(name).removeprefix("text_model.").replace(".", "_"): layer
        for name, layer in model.named_modules()
        if isinstance(layer, CHANGEABLE)
    }
    if unknown := sorted(name for name in lora if name.removesuffix(BIAS) not in layers):
        raise unmatched(unknown, len(lora), layers)
    found = {name: layers[name.removesuffix(BIAS)] for name in lora}
    for name, layer in found.items():
        check(name, lora[name], layer)
    return found


def unmatched(unknown: list[str], total: int, layers: Mapping[str, Any]) -> CheckpointError:
    """What is said of a LoRA with modules that the model lacks: how many, the first names, and why, if it shows."""
    first = ", ".join(unknown[:3]) + (" …" if len(unknown) > 3 else "")
    message = f"{len(unknown)} of its {total} modules are not in this model, first {first}"
    moving = [name for name in unknown if MOTION in name]
    if moving and not any(MOTION in name for name in layers):
        message = f"it is a motion LoRA ({len(moving)} modules), and there is no motion module that it could change"
        return CheckpointError(message, remedy="set model.motion, for example to animatediff-v2")
    if moving and len(moving) == len(unknown) and all(name.startswith("mid_block") for name in moving):
        message = f"{message}: it is made for a motion module with a middle block, and this one has none"
        return CheckpointError(message, remedy="use it with animatediff-v2, or use a motion LoRA made for this module")
    return CheckpointError(message, remedy=REMEDY)


def parameter(name: str) -> str:
    """The parameter that a change of this name is of."""
    return "bias" if name.endswith(BIAS) else "weight"


def check(name: str, change: Change, layer: nn.Module) -> None:
    """Raises CheckpointError unless ``change`` fits the layer. Computes shapes alone."""
    weight = getattr(layer, parameter(name))
    if weight is None:
        raise CheckpointError(f"{name} does not exist in this model", remedy=REMEDY)
    try:
        change.check(weight)
    except ValueError as error:
        raise CheckpointError(f"{name} {error}", remedy=REMEDY) from None
    except RuntimeError:
        message = f"the factors of {name} do not fit each other"
        raise CheckpointError(message, remedy="the file is damaged: download it again") from None


@torch.no_grad()
def merge(model: nn.Module, lora: Lora, *, scale: float = 1.0) -> int:
    """Adds ``scale`` times every change of ``lora`` to the weights of ``model``; gives how many modules changed.

    Computed in float32 and rounded once. The weights are replaced, not written to: they may be mapped from a file.
    """
    for name, layer in places(model, lora).items():
        old: Tensor = getattr(layer, parameter(name))
        new = old.float() + scale * lora[name].delta(old)
        setattr(layer, parameter(name), nn.Parameter(new.to(old.dtype), requires_grad=False))
    return len(lora)
