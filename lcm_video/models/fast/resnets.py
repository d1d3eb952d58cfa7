"""Residual blocks of convolutions, and what changes the size of images between them."""

from typing import Any

from lcm_video.models.fast.convolutions import Subpixel, small
from lcm_video.models.fast.fitted import Fitted
from lcm_video.models.fast.layout import GroupNorm, Image, image, rows
from lcm_video.models.fast.linears import linear
from lcm_video.models.fast.neighbourhoods import Doubling
from lcm_video.models.fast.times import Shift
from lcm_video.models.fast.transformers import Call


class Resnet:
    """Two convolutions and a shortcut. The time's part is the first one's bias, the shortcut added in the second.

    What the time needs of the layer is added to ``shifts``.
    """

    def __init__(self, layer: Any, shifts: list[Shift]) -> None:
        self.place = len(shifts)
        shifts.append(Shift(layer.time_emb_proj.weight, layer.time_emb_proj.bias + layer.conv1.bias))
        self.norms = GroupNorm.of(layer.norm1), GroupNorm.of(layer.norm2)
        self.first, self.second = Fitted(layer.conv1), Fitted(layer.conv2)
        self.nothing = layer.conv1.bias.new_zeros(layer.conv1.out_channels)
        self.shortcut = None if layer.conv_shortcut is None else linear(layer.conv_shortcut)

    def __call__(self, x: Image, call: Call) -> Image:
        """``x`` after the block."""
        before, between = self.norms
        hidden = self._shifted(before.silu(x), call)
        around = x if self.shortcut is None else image(self.shortcut(rows(x)), x)
        return self.second(between.silu(hidden), residual=around, scratch=call.scratch)

    def _shifted(self, x: Image, call: Call) -> Image:
        """The first convolution, its own bias being part of the time's shift."""
        shift = call.shifts[self.place]
        if shift.ndim == 1:
            return self.first(x, bias=shift, scratch=call.scratch)
        return self.first(x, bias=self.nothing, scratch=call.scratch).add_(shift[:, :, None, None])


class Downsample:
    """Halves images by a convolution that looks at every other pixel."""

    def __init__(self, layer: Any) -> None:
        self.convolution = Fitted(layer.conv)

    def __call__(self, x: Image) -> Image:
        """``x`` at half its size, rounded up."""
        return self.convolution(x)


class Upsample:
    """Doubles images and convolves them."""

    def __init__(self, layer: Any) -> None:
        self.any = Doubling(layer.conv.weight, layer.conv.bias)
        self.exact = Subpixel(layer.conv.weight, layer.conv.bias, winograd=True) if small(layer.conv.weight) else None

    def __call__(self, x: Image, size: tuple[int, int]) -> Image:
        """``x`` at twice its size, or a pixel less where ``size`` says so."""
        if self.exact is not None and size == (2 * x.shape[2], 2 * x.shape[3]):
            return self.exact(x)
        return self.any(x, size)
