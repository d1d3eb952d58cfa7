"""The UNet, built from the layers of diffusers' and of a motion module, and equal to it to rounding.

Images keep their channels last from the first convolution to the last, so that every layer is a product over rows.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from lcm_video.models.fast import narrow
from lcm_video.models.fast.fitted import Fitted
from lcm_video.models.fast.keyframes import Keyframes
from lcm_video.models.fast.layout import GroupNorm, Image
from lcm_video.models.fast.linears import Linear
from lcm_video.models.fast.narrow import NarrowSpatial, NarrowTemporal
from lcm_video.models.fast.resnets import Downsample, Resnet, Upsample
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.taking import give_up, hand_back
from lcm_video.models.fast.times import Shift, Times
from lcm_video.models.fast.transformers import Call, Spatial, Temporal
from lcm_video.models.motion import Spatiotemporal
from lcm_video.models.temporal import TemporalLayer
from lcm_video.models.unet import of_frames
from lcm_video.types import Encoding, Latents

Layer = Resnet | Spatial | Temporal | NarrowSpatial | NarrowTemporal


class FastUnet:
    """Predicts the noise in clips, one after the other, on a CPU. Any number of threads may call it.

    take: whether the weights are moved here, so that they do not exist twice; the model itself gives only NaN then
    """

    def __init__(self, model: UNet2DConditionModel, *, take: bool) -> None:
        self.dtype = model.dtype
        with torch.no_grad():
            build = Builder(take)
            self.first, self.last = Fitted(model.conv_in), Fitted(model.conv_out)
            assert model.conv_norm_out is not None, "known.py has looked"
            self.norm = GroupNorm.of(model.conv_norm_out)
            self.down = [(build.steps(block), build.downsample(block)) for block in model.down_blocks]
            self.middle = [*build.middle(model.mid_block)]
            self.up = [(build.steps(block), build.upsample(block)) for block in model.up_blocks]
        self.take, self._size = take, torch.Size()
        self.times = Times(model, build.shifts)
        self.keyframes = Keyframes(build.keys_values, self.dtype)

    def __call__(self, latents: Latents, timestep: float, encoding: Encoding, clip: int) -> Latents:
        """The predicted noise of clips of ``clip`` frames each; clips in one batch do not see each other.

        ``encoding`` may know its prompts (`keyframes.Travelling`), which saves work; any mapping will do.
        """
        if len(latents) == clip:
            return self.predicted(latents, timestep, encoding)
        clips = [slice(first, first + clip) for first in range(0, len(latents), clip)]
        return torch.cat([self.predicted(latents[rows], timestep, of_frames(encoding, rows)) for rows in clips])

    def predicted(self, latents: Latents, timestep: float, encoding: Encoding) -> Latents:
        """The predicted noise of one clip."""
        # Inference mode spares autograd's bookkeeping: 1.1x where calls, not arithmetic, take the time.
        with torch.inference_mode():
            x = latents.to(self.dtype).contiguous(memory_format=torch.channels_last)
            shifts = self.times(timestep, encoding, x)
            out = self._through(x, Call(shifts, self.keyframes(encoding), scale_of(encoding), Scratch(weights=1)))
        if self.take and self._size != x.shape[2:]:
            self._size = x.shape[2:]
            hand_back()  # convolutions have just taken the form for this size
        return out.to(latents.dtype, memory_format=torch.contiguous_format, copy=True)

    def _through(self, x: Image, call: Call) -> Image:
        """All the way down and up again; what was seen on the way down is put beside it on the way up."""
        x = self.first(x)
        seen = [x]
        for steps, halve in self.down:
            for layers in steps:
                x = through(layers, x, call)
                seen.append(x)
            if halve is not None:
                x = halve(x)
                seen.append(x)
        x = through(self.middle, x, call)
        for steps, double in self.up:
            for layers in steps:
                x = through(layers, torch.cat([x, seen.pop()], dim=1), call)
            if double is not None:
                x = double(x, (seen[-1].shape[2], seen[-1].shape[3]))
        return self.last(self.norm.silu(x))


def through(layers: Sequence[Layer], x: Image, call: Call) -> Image:
    """``x`` after the layers, one after the other."""
    for layer in layers:
        x = layer(x, call)
    return x


def scale_of(encoding: Encoding) -> Tensor | None:
    """The motion module's strength in each frame, unless it is 1 in all."""
    scale = encoding.get("motion_scale")
    return None if scale is None or bool((scale == 1).all()) else scale


class Builder:
    """Builds layers in the order in which they run, and collects what is worked out for all of them at once.

    shifts: by resnet how the time shifts its channels
    keys_values: by cross-attention the product that gives a prompt's keys and values
    """

    def __init__(self, take: bool) -> None:
        self.take = take
        self.shifts: list[Shift] = []
        self.keys_values: list[Linear] = []

    def steps(self, block: Any) -> list[list[Layer]]:
        """The layers of a block, in steps that each end in an image to be seen again."""
        attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
        return [
            [made for layer in step if layer is not None for made in self.layers(layer)]
            for step in zip(block.resnets, attentions, strict=True)
        ]

    def middle(self, block: Any) -> Iterator[Layer]:
        """The layers of the middle block."""
        first, *others = block.resnets
        yield from self.layers(first)
        for attention, resnet in zip(block.attentions, others, strict=True):
            yield from self.layers(attention)
            yield from self.layers(resnet)

    def layers(self, layer: nn.Module) -> Iterator[Layer]:
        """A layer of the image UNet, and the motion module's behind it if there is one."""
        if isinstance(layer, Spatiotemporal):
            yield from self.layers(layer.spatial)
            yield from self.layers(layer.temporal)
            return
        if isinstance(layer, ResnetBlock2D):
            yield Resnet(layer, self.shifts)
        elif isinstance(layer, Transformer2DModel):
            yield (NarrowSpatial if narrow.fits(layer) else Spatial)(layer, self.keys_values)
        else:
            assert isinstance(layer, TemporalLayer), "known.py has looked at every layer"
            yield NarrowTemporal(layer) if narrow.fits(layer) else Temporal(layer)
        self._taken(layer)

    def downsample(self, block: Any) -> Downsample | None:
        """What makes images smaller after a block, if anything does."""
        return self._sampler(Downsample, block.downsamplers)

    def upsample(self, block: Any) -> Upsample | None:
        """What makes images larger after a block, if anything does."""
        return self._sampler(Upsample, block.upsamplers)

    def _sampler(self, kind: Any, layers: Any) -> Any:
        if layers is None:
            return None
        (layer,) = layers
        made = kind(layer)
        self._taken(layer)
        return made

    def _taken(self, layer: nn.Module) -> None:
        if self.take:
            give_up(layer)
            hand_back()
