"""LoRAs whose strength varies by frame: they run beside their layers, instead of being merged into the weights.

The strength of the frames at hand comes from the `call`; nothing is remembered between calls.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lcm_video.models.call import current
from lcm_video.models.lora import Lora, LowRank, places


def attach(model: nn.Module, lora: Lora, *, name: str) -> Callable[[], None]:
    """Lets ``lora`` act on ``model``, as strongly as each call says per frame under ``name``; gives its undoing.

    A call that gives none runs as if the LoRA were not there.
    """
    handles = [_beside(layer, lora[key], name) for key, layer in places(model, lora).items()]

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


def _beside(layer: nn.Linear | nn.Conv2d, change: LowRank, name: str) -> RemovableHandle:
    down, up = (weight.to(layer.weight) for weight in (change.down, change.up))

    def add(layer: Any, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        x = inputs[0]
        strength = current(len(x)).strengths.get(name)
        if strength is None:
            return out
        if isinstance(layer, nn.Linear):
            added = F.linear(F.linear(x, down.flatten(1)), up.flatten(1))
        else:
            added = F.conv2d(F.conv2d(x, down, None, layer.stride, layer.padding), up)
        return out + added * (strength * change.factor).to(out).view(-1, *[1] * (out.ndim - 1))

    return layer.register_forward_hook(add)
