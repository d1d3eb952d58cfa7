"""Transformers over pixels (the image UNet's) and over frames (motion modules'), on rows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lcm_video.models.fast.attention import CrossAttention, SelfAttention
from lcm_video.models.fast.keyframes import KeysAndValues
from lcm_video.models.fast.layout import GroupNorm, Image, LayerNorm, image, rows
from lcm_video.models.fast.linears import Linear, Rows, halves, linear
from lcm_video.models.temporal import TemporalLayer

PIECE, WIDE = 512, 2**25
"""Rows that a feed-forward works on at a time where it would widen all of them to ``WIDE`` bytes or more: what lies
between its products stays in the cache then. Measured 1.13x in float32 (8192 rows of 320, within the UNet)."""


@dataclass(frozen=True)
class Call:
    """What layers must know of the call they run in.

    shifts: by resnet what the time adds to its channels: (channels,), or (frames, channels)
    keys_values: of the frames' prompts, by cross-attention
    motion_scale: (frames,), or None where all are 1
    """

    shifts: list[Tensor]
    keys_values: KeysAndValues
    motion_scale: Tensor | None


class FeedForward:
    """Widens and narrows again through a gate (GEGLU): three products, each with what follows it in the same pass."""

    def __init__(self, layer: Any) -> None:
        self.value, self.gate = halves(layer.net[0].proj)
        self.out = linear(layer.net[2])

    def __call__(self, x: Rows, residual: Rows) -> Rows:
        """``residual`` and what becomes of ``x``."""
        if len(x) * self.out.inputs * x.itemsize < WIDE:
            return self._of(x, residual)
        out = torch.empty_like(residual)
        for piece, around, target in zip(x.split(PIECE), residual.split(PIECE), out.split(PIECE), strict=True):
            target.copy_(self._of(piece, around))
        return out

    def _of(self, x: Rows, residual: Rows) -> Rows:
        return self.out(self.value.times(x, self.gate.gelu(x)), residual)


class SpatialBlock:
    """Attention among the pixels of a frame, to its prompt, and a feed-forward."""

    def __init__(self, layer: Any, keys_values: list[Linear]) -> None:
        self.norms = [LayerNorm.of(norm) for norm in (layer.norm1, layer.norm2, layer.norm3)]
        self.attention = SelfAttention(layer.attn1)
        self.prompt = CrossAttention(layer.attn2, place=len(keys_values))
        keys_values.append(linear(layer.attn2.to_k, layer.attn2.to_v))
        self.feed_forward = FeedForward(layer.ff)

    def __call__(self, x: Rows, frames: int, call: Call) -> Rows:
        """``x`` after the block."""
        first, second, third = self.norms
        x = self.attention.over_pixels(first(x), x, frames)
        x = self.prompt(second(x), x, call.keys_values)
        return self.feed_forward(third(x), x)


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
        self.feed_forward = FeedForward(block.ff)
        self.positions: Tensor = block.positions

    def __call__(self, x: Image, call: Call) -> Image:
        """``x`` after the layer."""
        frames, channels = x.shape[:2]
        self.fits(frames)
        positions = self.positions[:frames, None].to(x.dtype)
        hidden = self.inwards(rows(self.norm(x)))
        for norm, attention in zip(self.norms, self.attentions, strict=False):
            placed = norm(hidden).view(frames, -1, channels).add_(positions)
            hidden = attention.over_frames(placed.view(-1, channels), hidden, frames)
        hidden = self.feed_forward(self.norms[2](hidden), hidden)
        if call.motion_scale is None:
            return image(self.outwards(hidden, rows(x)), x)
        moved = image(self.outwards(hidden), x)
        return torch.addcmul(x, moved, call.motion_scale.to(x.dtype).view(-1, 1, 1, 1))
