"""Transformers of few channels, each in one compiled call: a frame, or a pixel's frames, stay in a core's cache.

The embedded model's UNet takes 0.86 of the time that it takes layer by layer.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn

from lcm_video.models.fast.compiled import address, built_for, function
from lcm_video.models.fast.compiled.weights import Attention, Block, Layer, Norm, Widening, words
from lcm_video.models.fast.layout import GroupNorm, Image
from lcm_video.models.fast.linears import NARROW, Linear, linear
from lcm_video.models.fast.transformers import Call, Spatial
from lcm_video.models.temporal import TemporalLayer

SOME = 8
"""Frames from which all threads have something to do where each takes a frame. It does not depend on how many threads
there are, for the bits of a frame must not."""


class CallPlan(ctypes.Structure):
    """`Call` in `transformer.cpp`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("frames", "lines", "columns", "threads", "together")),
        *((name, ctypes.c_void_p) for name in ("positions", "scale", "prompts")),
        *((name, ctypes.c_int64) for name in ("count", "tokens")),
        *((name, ctypes.c_void_p) for name in ("between", "shares")),
    )


def fits(layer: Any) -> bool:
    """Whether a transformer, over pixels or frames, can run in one call."""
    weight, block = layer.proj_in.weight, layer.transformer_blocks[0]
    channels, hidden, attentions = len(weight), block.ff.net[2].in_features, (block.attn1, block.attn2)
    square = weight.flatten(1).shape == (channels, channels) and block.attn1.to_q.out_features == channels
    narrow = channels <= NARROW and channels % 32 == 0 and hidden % 32 == 0
    plain = all(part.bias is None for layer in attentions for part in (layer.to_q, layer.to_k, layer.to_v))
    return square and narrow and plain and built_for(weight) == "float32"


class NarrowSpatial:
    """One of the image UNet's transformers; the keys and values it needs of prompts are added to ``keys_values``."""

    def __init__(self, layer: Any, keys_values: list[Linear]) -> None:
        self.over_clip = GroupNorm.of(layer.norm).over_clip
        self.weights = weights_of(layer, over_frames=False)
        self.layers = Spatial(layer, keys_values)
        self.places = [block.prompt.place for block in self.layers.blocks]

    def __call__(self, x: Image, call: Call) -> Image:
        """``x`` after the transformer."""
        if len(x) < SOME:
            return self.layers(x, call)
        found = call.keys_values
        prompts = [row[place] for place in self.places for row in found.rows]
        where = (ctypes.c_void_p * len(prompts))(*(prompt.data_ptr() for prompt in prompts))
        mixing = (len(found.rows), len(prompts[0]), address(found.numbers), address(found.shares))
        return run(self.weights, x, self.over_clip, None, None, ctypes.addressof(where), *mixing)


class NarrowTemporal:
    """A motion module's layer, over the frames of one clip."""

    def __init__(self, layer: TemporalLayer) -> None:
        self.fits, self.over_clip = layer.check, layer.over_window
        self.weights = weights_of(layer, over_frames=True)
        block: Any = layer.transformer_blocks[0]
        self.positions = block.positions.float().contiguous()

    def __call__(self, x: Image, call: Call) -> Image:
        """``x`` after the layer."""
        self.fits(len(x))
        scale = None if call.motion_scale is None else call.motion_scale.float().contiguous()
        return run(self.weights, x, self.over_clip, address(self.positions), address(scale))


def run(weights: Layer, x: Image, over_clip: bool, *others: int | None) -> Image:
    """``x`` after the transformer with these weights; ``others`` are what `CallPlan` has after ``together``."""
    lines = x.permute(0, 2, 3, 1).contiguous()
    out = torch.empty_like(lines)
    plan = CallPlan(*lines.shape[:3], torch.get_num_threads(), over_clip, *others)
    function("transformer", "float32")(ctypes.byref(weights.plan), ctypes.byref(plan), lines.data_ptr(), out.data_ptr())
    return out.permute(0, 3, 1, 2)


def weights_of(layer: Any, *, over_frames: bool) -> Layer:
    """The weights of a transformer's layers as the compiled one takes them."""
    blocks = tuple(block_of(block, over_frames) for block in layer.transformer_blocks)
    norm = GroupNorm.of(layer.norm).layer
    ends = [(words(proj.weight.flatten(1)), proj.bias) for proj in (layer.proj_in, layer.proj_out)]
    sizes = (len(norm.weight), layer.transformer_blocks[0].attn1.heads, norm.num_groups, over_frames, len(blocks))
    return Layer(*sizes, blocks, norm_of(norm), *ends[0], *ends[1])


def block_of(block: Any, over_frames: bool) -> Block:
    """The weights of a block."""
    forward = Widening.of(block.ff.net[0].proj, block.ff.net[2])
    first = attention_of(block.attn1, block.norm1, given=False)
    second = attention_of(block.attn2, block.norm2, given=not over_frames)
    return Block(first, second, norm_of(block.norm3), forward)


def attention_of(layer: Any, norm: nn.LayerNorm, *, given: bool) -> Attention:
    """The weights of an attention, whose keys and values may be ``given``."""
    parts = [layer.to_q] if given else [layer.to_q, layer.to_k, layer.to_v]
    out: Tensor = layer.to_out[0].weight
    return Attention(norm_of(norm), words(linear(*parts).weight), words(out), layer.to_out[0].bias)


def norm_of(norm: nn.LayerNorm | nn.GroupNorm) -> Norm:
    """The weights of a norm."""
    return Norm(norm.weight, norm.bias, norm.eps)
