"""Attention over rows, on views: heads, frames and pixels are strides, so nothing is copied on the way in.

The compiled kernel takes such views as they are, and so does PyTorch's for CPUs, bit for bit as it takes copies, in
0.7-1.3x of the time; both leave their output in the order of the rows.
"""

from typing import Any

from lcm_video.models.fast.compiled.calls import attention
from lcm_video.models.fast.keyframes import KeysAndValues
from lcm_video.models.fast.linears import LayerNorm, Rows, linear


class SelfAttention:
    """Queries, keys and values of one input as one product (1.1x on small layers, and two calls fewer)."""

    def __init__(self, layer: Any) -> None:
        self.heads: int = layer.heads
        self.qkv, self.out = linear(layer.to_q, layer.to_k, layer.to_v), linear(layer.to_out[0])

    def over_pixels(self, x: Rows, norm: LayerNorm, frames: int) -> Rows:
        """``x`` and what the pixels of each frame see of each other, all normalised."""
        # (frames, pixels, qkv, heads, width) → qkv, each (frames, heads, pixels, width)
        q, k, v = self.qkv(norm(x)).view(frames, -1, 3, self.heads, self._width).permute(2, 0, 3, 1, 4).unbind()
        return self.out(attention(q, k, v), x)

    def over_frames(self, x: Rows, norm: LayerNorm, frames: int) -> Rows:
        """``x`` and what each pixel sees of itself in the other frames."""
        # (frames, pixels, qkv, heads, width) → qkv, each (pixels, heads, frames, width)
        q, k, v = self.qkv(norm(x)).view(frames, -1, 3, self.heads, self._width).permute(2, 1, 3, 0, 4).unbind()
        return self.out(attention(q, k, v, tokens_first=True), x)

    @property
    def _width(self) -> int:
        return self.out.inputs // self.heads


class CrossAttention:
    """What pixels see of the prompt, whose keys and values come from `keyframes`; ``place`` is the layer's there."""

    def __init__(self, layer: Any, place: int) -> None:
        self.heads: int = layer.heads
        self.place = place
        self.q, self.out = linear(layer.to_q), linear(layer.to_out[0])

    def __call__(self, x: Rows, norm: LayerNorm, keys_values: KeysAndValues) -> Rows:
        """``x`` and what each pixel sees of its frame's prompt."""
        width = self.out.inputs // self.heads
        both = keys_values(self.place)
        # Frames that share a prompt are one long sequence: 1.05-1.5x, the same bits.
        q = self.q(norm(x)).view(len(both), -1, self.heads, width).transpose(1, 2)
        # (frames, tokens, kv, heads, width) → kv, each (frames, heads, tokens, width)
        k, v = both.view(*both.shape[:2], 2, self.heads, width).permute(2, 0, 3, 1, 4).unbind()
        return self.out(attention(q, k, v), x)
