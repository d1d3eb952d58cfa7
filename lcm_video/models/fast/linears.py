"""Linear layers of rows, with what follows them done in the same pass over memory: a residual, a GELU, a gate.

oneDNN keeps weights in blocks that fit its loops, if it may pack them beforehand. PyTorch offers this only privately
(its compiler uses it), so it is tried once for each precision, and plain products serve where it fails or differs.

Measured on a Zen 4 core in float32, against ``F.linear``: 1.2x at 320 channels, 1.2-1.35x at 640, 1.45-1.55x at 1280;
with the residual or the GELU in the same pass 1.2-1.6x against two passes. In bfloat16 1.05-1.4x.

Narrow layers are our own, `compiled`, where they were built; feed-forwards take their norm into the same pass.
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lcm_video.models.fast.compiled import built_for, calls
from lcm_video.models.fast.compiled.weights import Norm, Widening, words

Rows: TypeAlias = Float[Tensor, "rows _"]
"""Tokens of all frames, one after the other; contiguous."""

WORTH = 2_000_000
"""Multiplications from which packed weights win: a call to oneDNN takes 20 µs more (0.7x at 64 rows of 96 × 96)."""

SMALL = 2**16
"""Numbers in a weight that may be kept packed and plain."""

NARROW, NARROW_FORWARD = 128, 320
"""Channels up to which compiled layers win: single ones (in float32), feed-forwards. Wider weights leave the cache."""

PIECE, WIDE = 512, 2**25
"""Rows that a feed-forward works on at a time where it would widen all of them to ``WIDE`` bytes or more: what lies
between its products stays in the cache then. Measured 1.13x in float32 (8192 rows of 320, within the UNet)."""


@dataclass(frozen=True)
class LayerNorm:
    """A layer norm of rows.

    shift: what is added after it, (frames, channels)
    """

    weight: Tensor
    bias: Tensor
    eps: float
    shift: Tensor | None = None

    @classmethod
    def of(cls, layer: nn.LayerNorm) -> "LayerNorm":
        """The norm with the weights of ``layer``."""
        return cls(layer.weight, layer.bias, layer.eps)

    def __call__(self, x: Rows) -> Rows:
        """``x``, normalised."""
        out = torch.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        if self.shift is not None:
            out.view(len(self.shift), -1, out.shape[1]).add_(self.shift[:, None])
        return out

    def shifted(self, shift: Tensor) -> "LayerNorm":
        """This norm, with ``shift`` (frames, channels) added after it."""
        return replace(self, shift=shift)

    @cached_property
    def compiled(self) -> Norm:
        """The norm as compiled layers take it; nothing is added after it there."""
        return Norm(self.weight, self.bias, self.eps)


class Linear:
    """``x · weightᵀ + bias``, over a copy of the weights."""

    def __init__(self, weight: Float[Tensor, "out into"], bias: Float[Tensor, " out"] | None = None) -> None:
        weight = weight.contiguous()
        self.inputs, self.bias = weight.shape[1], bias
        fits = self.inputs <= NARROW and not any(size % 16 for size in weight.shape)
        self.narrow = words(weight) if fits and built_for(weight) == "float32" else None
        self.packed = None
        if self.narrow is None and packs(weight.dtype):
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        # Small weights are kept both ways; large ones are worth packing for any number of rows.
        self.few = WORTH // weight.numel() if weight.numel() <= SMALL else 0
        self.few = self.few if self.packed is not None else 2**62
        self.plain = weight.t().contiguous() if self.few and self.narrow is None else None

    @property
    def weight(self) -> Float[Tensor, "out into"]:
        """The weights as they were given."""
        if self.narrow is not None:
            return self.narrow.t()
        if self.plain is not None:
            return self.plain.t()
        assert self.packed is not None
        return self.packed.to_dense()

    def __call__(self, x: Rows, residual: Rows | None = None, *, bias: Tensor | None = None) -> Rows:
        """The rows' products plus ``residual``, which is left as it is; ``bias`` stands in for the layer's own."""
        bias = self.bias if bias is None else bias
        if self.narrow is not None:
            return calls.linear(x, self.narrow, bias, residual)
        if len(x) < self.few:
            product = self._product(x, bias)
            return product if residual is None else product.add_(residual)
        if residual is None:
            return torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, "none", [], "")
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.packed, bias, "add")

    def times(self, x: Rows, gate: Rows) -> Rows:
        """The rows' products, each multiplied with its ``gate``."""
        if len(x) < self.few:
            return self._product(x, self.bias).mul_(gate)
        return torch.ops.mkldnn._linear_pointwise.binary(x, gate, self.packed, self.bias, "mul")

    def gelu(self, x: Rows) -> Rows:
        """The GELU of the rows' products: the exact one, not its tanh approximation."""
        if len(x) < self.few:
            return F.gelu(self._product(x, self.bias))
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "gelu", [], "none")

    def _product(self, x: Rows, bias: Tensor | None) -> Rows:
        if self.narrow is not None:
            return calls.linear(x, self.narrow, bias, None)
        assert self.plain is not None
        return torch.mm(x, self.plain) if bias is None else torch.addmm(bias, x, self.plain)


@cache
def packs(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch packs weights of ``dtype``, and then computes what plain layers do."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    numbers = torch.arange(24 * 16).remainder(7).sub(3).div(4)
    weight, x, other, bias = (numbers[: a * b].view(a, b).to(dtype) for a, b in ((24, 16), (8, 16), (8, 24), (1, 24)))
    product = F.linear(x.double(), weight.double(), bias.double())
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        pointwise, bias = torch.ops.mkldnn._linear_pointwise, bias[0]
        pairs = [
            (pointwise(x, packed, bias, "none", [], ""), product),
            (pointwise(x, packed, None, "none", [], ""), product - bias.double()),
            (pointwise(x, packed, bias, "gelu", [], "none"), F.gelu(product)),
            (pointwise.binary(x, other, packed, bias, "add"), product + other.double()),
            (pointwise.binary(x, other, packed, bias, "mul"), product * other.double()),
        ]
        restored = torch.equal(packed.to_dense(), weight)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    near = 1e-5 if dtype == torch.float32 else 2e-2
    return restored and all(torch.allclose(ours.double(), theirs, near, near) for ours, theirs in pairs)


def linear(*layers: nn.Linear | nn.Conv2d) -> Linear:
    """Several linear layers of the same input as one that gives their outputs side by side; 1 × 1 convolutions too."""
    weights = [layer.weight.flatten(1) for layer in layers]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    if len(layers) == 1:
        return Linear(weights[0], *biases)
    return Linear(torch.cat(weights), torch.cat(biases) if biases else None)


class FeedForward:
    """Widens and narrows again through a gate (GEGLU): three products, each with what follows it in the same pass."""

    def __init__(self, wide: nn.Linear, narrow: nn.Linear) -> None:
        (value, gate), biases = wide.weight.chunk(2), wide.bias.chunk(2)
        self.value, self.gate = Linear(value, biases[0]), Linear(gate, biases[1])
        self.out = linear(narrow)

    def __call__(self, x: Rows, norm: LayerNorm) -> Rows:
        """``x`` and what becomes of it, normalised."""
        if len(x) * self.out.inputs * x.itemsize < WIDE:
            return self._of(norm(x), x)
        out = torch.empty_like(x)
        for piece, around, target in zip(norm(x).split(PIECE), x.split(PIECE), out.split(PIECE), strict=True):
            target.copy_(self._of(piece, around))
        return out

    def _of(self, x: Rows, residual: Rows) -> Rows:
        return self.out(self.value.times(x, self.gate.gelu(x)), residual)


class NarrowFeedForward:
    """The same, compiled."""

    def __init__(self, wide: nn.Linear, narrow: nn.Linear) -> None:
        self.weights = Widening.of(wide, narrow)

    def __call__(self, x: Rows, norm: LayerNorm) -> Rows:
        """``x`` and what becomes of it, normalised."""
        return calls.feed_forward(x, norm.compiled, self.weights)


def feed_forward(wide: nn.Linear, narrow: nn.Linear) -> FeedForward | NarrowFeedForward:
    """The fastest feed-forward with these weights; ``wide`` gives the values, and beside them their gates."""
    width, hidden = narrow.out_features, narrow.in_features
    fits = width <= NARROW_FORWARD and width % 32 == 0 and hidden % 32 == 0
    return (NarrowFeedForward if fits and built_for(wide.weight) else FeedForward)(wide, narrow)
