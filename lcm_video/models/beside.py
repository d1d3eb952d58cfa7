"""LoRAs whose strength varies by frame: they run beside their layers, instead of being merged into the weights.

The strength of the frames at hand comes from the `call`; nothing is remembered between calls. A low-rank change costs
two small products a call; every other kind is worked out once, and holds as much memory as the layers it changes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lcm_video.errors import CheckpointError
from lcm_video.models.call import Call, calling, current
from lcm_video.models.lora import Change, Lora, LowRank, places
from lcm_video.models.lora.merging import parameter

Response = Callable[[Tensor], Tensor]
"""What a change adds to a layer's output at strength 1, given the layer's input."""


def attach(model: nn.Module, lora: Lora, *, name: str) -> Callable[[], None]:
    """Lets ``lora`` act on ``model``, as strongly as each call says per frame under ``name``; gives its undoing.

    A call that gives none runs as if the LoRA were not there. Changes that depend on the weights (DoRA) are those of
    the weights as they are now. Raises CheckpointError as `merge` does, and for changes of norms.
    """
    found = places(model, lora)
    if norms := [key for key, layer in found.items() if not isinstance(layer, nn.Linear | nn.Conv2d)]:
        message = f"it changes {len(norms)} norms, first {norms[0]}, which cannot vary by frame"
        raise CheckpointError(message, remedy="give it a constant scale")
    handles = [_beside(layer, lora[key], key, name) for key, layer in found.items()]

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


@contextmanager
def acting(strengths: Mapping[str, float]) -> Iterator[None]:
    """Lets attached LoRAs act at these strengths on a batch of one, such as a prompt, until the block ends."""
    with calling(Call(1, strengths={name: torch.tensor([strength]) for name, strength in strengths.items()})):
        yield


def _beside(layer: nn.Linear | nn.Conv2d, change: Change, key: str, name: str) -> RemovableHandle:
    respond = bias(layer, change) if parameter(key) == "bias" else response(layer, change)
    spread = over_paths if "motion_modules" in key else over_rows

    def add(layer: Any, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        call = current(len(inputs[0]))
        strength = call.strengths.get(name)
        return out if strength is None else out + respond(inputs[0]) * spread(strength.to(out), out, call)

    return layer.register_forward_hook(add)


def over_rows(strength: Tensor, out: Tensor, call: Call) -> Tensor:
    """Strengths for an image layer's output, whose rows are frames."""
    return strength.view(-1, *[1] * (out.ndim - 1))


def over_paths(strength: Tensor, out: Tensor, call: Call) -> Tensor:
    """Strengths for a temporal layer's output, whose rows are pixels of clips; its frames lie along the second axis."""
    by_clip = rearrange(strength, "(clips frames) -> clips frames 1", frames=call.clip)
    return by_clip.repeat_interleave(len(out) // len(by_clip), dim=0)


@torch.no_grad()
def bias(layer: nn.Linear | nn.Conv2d, change: Change) -> Response:
    """The response of a changed bias, the same for every input."""
    assert layer.bias is not None, "places has checked it"
    added = change.delta(layer.bias).to(layer.weight)
    added = added.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else added
    return lambda x: added


@torch.no_grad()
def response(layer: nn.Linear | nn.Conv2d, change: Change) -> Response:
    """The response of a changed weight."""
    if isinstance(change, LowRank) and change.mid is None:
        factor = change.factor
        down = change.down.reshape(-1, *layer.weight.shape[1:]).to(layer.weight)
        up = change.up.flatten(1).to(layer.weight)
        if isinstance(layer, nn.Linear):
            return lambda x: factor * F.linear(F.linear(x, down), up)
        return lambda x: factor * F.conv2d(F.conv2d(x, down, None, layer.stride, layer.padding), up[:, :, None, None])
    added = change.delta(layer.weight).to(layer.weight)
    if isinstance(layer, nn.Linear):
        return lambda x: F.linear(x, added)
    return lambda x: F.conv2d(x, added, None, layer.stride, layer.padding)
