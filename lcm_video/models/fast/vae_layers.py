"""The layers of a VAE's decoder, over images that stay in the order (frames, height, width, channels).

A residual block changes its images in place and needs two pieces of `Scratch` as large beside it, the same ones
throughout the decoder: no memory is fresh, so none has to be cleared by the system first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcm_video.models.fast.compiled import calls
from lcm_video.models.fast.convolutions import Convolution, Direct, Subpixel
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.winograd import Winograd

CACHED, LARGE = 2**17, 2**20
"""Numbers in a strip of lines that several passes find in the cache, and in one that a single pass works on."""

SAFE = 2**16
"""How many numbers PyTorch's channels-last GroupNorm may add up before it loses digits."""

TINY = 1e-12


@runtime_checkable
class Layer(Protocol):
    """A step of the decoder; the image given is lost."""

    def __call__(self, x: Tensor, scratch: Scratch, /) -> Tensor: ...


class Norm:
    """GroupNorm, then SiLU if ``silu``.

    Large images go in strips that stay in the cache, as PyTorch's own kernel for channels-last images adds up all of a
    group in one float32: at 512×512 pixels of 128 channels that is wrong by 4e-5 of the norm, more than all the rest
    of the decoder together. Its statistics of a strip are good; put together in float64 they give 8e-8, in less time.
    """

    def __init__(self, norm: nn.GroupNorm, *, silu: bool = True) -> None:
        self.groups, self.eps, self.silu = norm.num_groups, norm.eps, silu
        self.weight, self.bias = norm.weight.detach(), norm.bias.detach()

    def __call__(self, x: Tensor, /) -> Tensor:
        """The normed image."""
        if calls.norms(x, self.weight, self.bias):
            self.write(x, out := torch.empty_like(x))
            return out
        if x.dtype == torch.float32 and x[0].numel() > SAFE * self.groups:
            self.write(x, out := torch.empty_like(x))
            return out
        normed = F.group_norm(x.permute(0, 3, 1, 2), self.groups, self.weight, self.bias, self.eps)
        return (F.silu(normed, inplace=True) if self.silu else normed).permute(0, 2, 3, 1)

    def write(self, x: Tensor, out: Tensor) -> None:
        """Fills ``out``, which may be part of a larger image, with the normed ``x``."""
        if out.dtype in (x.dtype, torch.float32) and calls.norms(x, self.weight, self.bias):
            calls.group_norm(x, self.groups, self.weight, self.bias, self.eps, out, silu=self.silu)
            return
        for image, target in zip(x.split(1), out.split(1), strict=True):
            factor, shift = self._affine(image)
            for lines in strips(image):
                torch.addcmul(shift, image[:, lines], factor, out=target[:, lines])
                if self.silu:
                    F.silu(target[:, lines], inplace=True)

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Per channel, what numbers are multiplied by and what is added then."""
        few = min(CACHED, SAFE // 8 * self.groups)
        moments = torch.stack([self._moments(x[:, lines]) for lines in strips(x, few)]).sum(0)
        mean, square = moments / (x.shape[1] * x.shape[2])
        scale = (square - mean * mean + self.eps).rsqrt()
        each = x.shape[3] // self.groups
        factor = scale.repeat_interleave(each) * self.weight
        return factor.to(x.dtype), (self.bias - mean.repeat_interleave(each) * factor).to(x.dtype)

    def _moments(self, strip: Tensor) -> Tensor:
        """The mean of each group and the mean of its squares, times the pixels of the strip; float64."""
        pixels = strip.shape[1] * strip.shape[2]
        sizes = (1, strip.shape[3], pixels, self.groups)
        _, mean, scale = torch.native_group_norm(strip.permute(0, 3, 1, 2), None, None, *sizes, TINY)
        mean, variance = mean[0].double(), scale[0].double() ** -2 - TINY
        return torch.stack([mean, variance + mean * mean]) * pixels


def strips(x: Tensor, numbers: int = CACHED) -> Iterator[slice]:
    """Lines of the images that hold so many numbers together, which fit into the cache."""
    frames, height, width, channels = x.shape
    step = max(1, numbers // (frames * width * channels))
    return (slice(first, min(first + step, height)) for first in range(0, height, step))


@dataclass(frozen=True)
class Activated:
    """What a residual block does twice: GroupNorm, SiLU, convolution."""

    norm: Norm
    conv: Convolution

    def __call__(self, x: Tensor, scratch: Scratch, *, onto: Tensor | None = None) -> Tensor:
        """The result, in scratch memory, or added to ``onto``, which may be changed by it."""
        if not isinstance(self.conv, Winograd):
            added = None if onto is None else onto.permute(0, 3, 1, 2)
            return self.conv(self.norm(x).permute(0, 3, 1, 2), residual=added).permute(0, 2, 3, 1)
        out = onto
        if out is None:
            out = scratch("between", *x.shape[:3], self.conv.outputs, like=x)
        if self.conv.takes(x):
            self.norm.write(x, normed := scratch("normed", *x.shape, like=x))
            self.conv.compiled(normed, out, self.conv.bias, onto, scratch)
            return out
        self.conv.write(self._padded(x, self.conv, scratch), out, added=onto, scratch=scratch)
        return out

    def _padded(self, x: Tensor, conv: Winograd, scratch: Scratch) -> Tensor:
        """The normed image with the zeros around it that ``conv`` needs: one copy less than padding it afterwards."""
        padded, inner = conv.framed(x.shape[0], x.shape[1], x.shape[2], scratch)
        if x.dtype == torch.float32 or calls.norms(x, self.norm.weight, self.norm.bias):
            self.norm.write(x, inner)
        else:  # bfloat16, which PyTorch's kernel norms in one pass: a copy costs less than strips do
            inner.copy_(self.norm(x))
        return padded


@dataclass(frozen=True)
class Pointwise:
    """A 1×1 convolution, strip by strip, into memory that is there already."""

    conv: Direct

    def __call__(self, x: Tensor, scratch: Scratch, /) -> Tensor:
        """The image with other channels, in scratch memory."""
        out = scratch.other(*x.shape[:3], len(self.conv.bias), like=x)
        for lines in strips(x, LARGE):
            out[:, lines] = self.conv(x[:, lines].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out


@dataclass(frozen=True)
class Resnet:
    """Two activated convolutions beside a shortcut."""

    first: Activated
    second: Activated
    shortcut: Pointwise | None

    def __call__(self, x: Tensor, scratch: Scratch, /) -> Tensor:
        """The block's image, in the memory of ``x`` if it has as many channels."""
        between = self.first(x, scratch)
        return self.second(between, scratch, onto=x if self.shortcut is None else self.shortcut(x, scratch))


@dataclass(frozen=True)
class Attention:
    """Every pixel looks at every other, beside a shortcut."""

    norm: Norm
    inward: tuple[Tensor, Tensor]  # weight and bias for queries, keys and values in one
    outward: tuple[Tensor, Tensor]
    heads: int

    def __call__(self, x: Tensor, scratch: Scratch, /) -> Tensor:
        """The image plus what its pixels saw."""
        tokens = self.norm(x).flatten(1, 2)
        # (1, pixels, 3 heads features) → three of (1, heads, pixels, features)
        q, k, v = F.linear(tokens, *self.inward).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = calls.attention(q, k, v)
        return F.linear(seen, *self.outward).view(x.shape).add_(x)


@dataclass(frozen=True)
class Doubling:
    """An image of twice the size, convolved."""

    conv: Subpixel

    def __call__(self, x: Tensor, scratch: Scratch, /) -> Tensor:
        """The doubled image, in scratch memory."""
        out = scratch.other(len(x), 2 * x.shape[1], 2 * x.shape[2], self.conv.outputs, like=x)
        self.conv.write(x.permute(0, 3, 1, 2), out, scratch=scratch)
        return out
