"""Transformers over pixels (the image UNet's) and over frames (motion modules'), on rows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lcm_video.models.fast.attention import CrossAttention, SelfAttention
from lcm_video.models.fast.keyframes import KeysAndValues
from lcm_video.models.fast.layout import GroupNorm, Image, image, rows
from lcm_video.models.fast.linears import LayerNorm, Linear, Rows, feed_forward, linear
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.temporal import TemporalLayer


@dataclass(frozen=True)
class Call:
    """What layers must know of the call they run in.

    shifts: by resnet what the time adds to its channels: (channels,), or (frames, channels)
    keys_values: of the frames' prompts, by cross-attention
    motion_scale: (frames,), or None where all are 1
    scratch: memory for convolutions
    """

    shifts: list[Tensor]
    keys_values: KeysAndValues
    motion_scale: Tensor | None
    scratch: Scratch


class SpatialBlock:
    """Attention among the pixels of a frame, to its prompt, and a feed-forward."""

    def __init__(self, layer: Any, keys_values: list[Linear]) -> None:
        self.norms = [LayerNorm.of(norm) for norm in (layer.norm1, layer.norm2, layer.norm3)]
        self.attention = SelfAttention(layer.attn1)
        self.prompt = CrossAttention(layer.attn2, place=len(keys_values))
        keys_values.append(linear(layer.attn2.to_k, layer.attn2.to_v))
        self.feed_forward = feed_forward(layer.ff.net[0].proj, layer.ff.net[2])

    def __call__(self, x: Rows, frames: int, call: Call) -> Rows:
        """``x`` after the block."""
        first, second, third = self.norms
        x = self.attention.over_pixels(x, first, frames)
        x = self.prompt(x, second, call.keys_values)
        return self.feed_forward(x, third)


class Spatial:
    """One of the image UNet's transformers; the keys and values it needs of prompts are added to ``keys_values``."""

    def __init__(self, layer: Any, keys_values: list[Linear]) -> None:
        self.norm = GroupNorm.of(layer.norm)
        self.inwards, self.outwards = linear(layer.proj_in), linear(layer.proj_out)
        self.blocks = [SpatialBlock(block, keys_values) for block in layer.transformer_blocks]

    def __call__(self, x: Image, call: Call) -> Image:
        """``x`` after the transformer."""
        hidden = self.inwards(rows(self.norm(x)))
        for block in self.blocks:
            hidden = block(hidden, len(x), call)
        return image(self.outwards(hidden, rows(x)), x)


class Temporal:
    """A motion module's layer, over the frames of one clip. Its linear layers and norms do not care for the order of
    rows, so frames stay where they are; only attention looks at them the other way (1.0-2.7x on ``proj_in``)."""

    def __init__(self, layer: TemporalLayer) -> None:
        self.fits = layer.check
        block: Any = layer.transformer_blocks[0]
        self.norm = GroupNorm(GroupNorm.of(layer.norm).layer, layer.over_window)
        self.inwards, self.outwards = linear(layer.proj_in), linear(layer.proj_out)
        self.norms = [LayerNorm.of(norm) for norm in (block.norm1, block.norm2, block.norm3)]
        self.attentions = [SelfAttention(block.attn1), SelfAttention(block.attn2)]
        self.feed_forward = feed_forward(block.ff.net[0].proj, block.ff.net[2])
        self.positions: Tensor = block.positions

    def __call__(self, x: Image, call: Call) -> Image:
        """``x`` after the layer."""
        frames = len(x)
        self.fits(frames)
        positions = self.positions[:frames].to(x.dtype)
        hidden = self.inwards(rows(self.norm(x)))
        for norm, attention in zip(self.norms, self.attentions, strict=False):
            hidden = attention.over_frames(hidden, norm.shifted(positions), frames)
        hidden = self.feed_forward(hidden, self.norms[2])
        if call.motion_scale is None:
            return image(self.outwards(hidden, rows(x)), x)
        moved = image(self.outwards(hidden), x)
        return torch.addcmul(x, moved, call.motion_scale.to(x.dtype).view(-1, 1, 1, 1))
