"""What the time adds to the channels of every resnet: worked out once a timestep, for all of them in one product."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from lcm_video.models.size import NAMED
from lcm_video.models.unet import size_numbers
from lcm_video.types import Encoding, Latents

REMEMBERED = 64
"""Timesteps whose shifts are kept: 73 kB each for SD 1.5 in float32."""


class Shift(NamedTuple):
    """How a resnet's channels depend on the embedded time; its first convolution's bias is part of it."""

    weight: Tensor
    bias: Tensor


class Times:
    """The shifts of all resnets of a UNet, in their order."""

    def __init__(self, model: UNet2DConditionModel, shifts: Sequence[Shift]) -> None:
        self.model: Any = model
        self.weight = torch.cat([shift.weight for shift in shifts])
        self.bias = torch.cat([shift.bias for shift in shifts])
        self.channels = [len(shift.bias) for shift in shifts]
        self._known: OrderedDict[float, list[Tensor]] = OrderedDict()

    def __call__(self, timestep: float, encoding: Encoding, latents: Latents) -> list[Tensor]:
        """By resnet (channels,); (frames, channels) where frames differ, as those of SDXL may by prompt and size."""
        if "pooled" in encoding:
            return self._shifts(self._embedded(timestep, encoding, latents))
        if (known := self._known.get(timestep)) is None:
            known = self._shifts(self._embedded(timestep, None, latents[:1]))
            self._known[timestep] = known
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _embedded(self, timestep: float, encoding: Encoding | None, latents: Latents) -> Tensor:
        """The time, and what else SDXL is told, as the plain model embeds it: one row if all frames have the same."""
        model = self.model
        embedded = model.time_embedding(model.get_time_embed(sample=latents, timestep=timestep))
        if encoding is not None:
            told = told_of(latents, encoding)
            embedded = embedded + model.get_aug_embed(emb=embedded, encoder_hidden_states=None, added_cond_kwargs=told)
        return embedded[:1] if (embedded == embedded[:1]).all() else embedded

    def _shifts(self, embedded: Tensor) -> list[Tensor]:
        whole = F.linear(F.silu(embedded), self.weight, self.bias)
        return [*(whole[0] if len(whole) == 1 else whole).split(self.channels, dim=-1)]


def told_of(latents: Latents, encoding: Encoding) -> dict[str, Tensor]:
    """What SDXL is told beside the time, by diffusers' names."""
    numbers = {name: values for name, values in encoding.items() if name.startswith(NAMED)}
    return {"text_embeds": encoding["pooled"].to(latents), "time_ids": size_numbers(latents, numbers)}
