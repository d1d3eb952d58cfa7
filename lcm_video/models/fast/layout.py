"""Images and rows are two views of the same memory: channels last, all the way through the network.

An image is (frames, channels, height, width) as convolutions want it; its rows are (frames · pixels, channels) as
linear layers want them. No copy lies between the two, while diffusers makes 59 in one call of the UNet.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lcm_video.models.fast.compiled import calls
from lcm_video.models.fast.linears import Rows
from lcm_video.models.motion import SharedNorm

OFF_CENTRE = 4.0
"""Standard deviations between a group's mean and 0 from which its variance is not computed to seven digits."""

Image: TypeAlias = Float[Tensor, "frames _ _ _"]


def rows(image: Image) -> Rows:
    """The pixels of all frames, one after the other."""
    return image.permute(0, 2, 3, 1).reshape(-1, image.shape[1])


def image(rows: Rows, like: Image) -> Image:
    """``rows`` as images of the size of ``like``."""
    frames, _, height, width = like.shape
    return rows.view(frames, height, width, -1).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class GroupNorm:
    """A group norm of each frame, or of all frames together if ``over_clip``."""

    layer: nn.GroupNorm
    over_clip: bool = False

    @classmethod
    def of(cls, layer: nn.Module) -> "GroupNorm":
        """The norm in a layer of the image UNet, which v1 motion modules let take its statistics over the clip."""
        if isinstance(layer, SharedNorm):
            return cls(norm(layer.norm), True)
        assert isinstance(layer, nn.GroupNorm)
        return cls(norm(layer))

    def __call__(self, x: Image, *, silu: bool = False) -> Image:
        """``x``, normalised, or the SiLU of that."""
        frames, channels, height, width = x.shape
        layer, lines = self.layer, x.permute(0, 2, 3, 1)
        if calls.norms(lines, layer.weight, layer.bias):
            images = lines.view(1, frames * height, width, channels) if self.over_clip else lines
            out = torch.empty_like(lines)
            calls.group_norm(
                images, layer.num_groups, layer.weight, layer.bias, layer.eps, out.view(images.shape), silu=silu
            )
            return out.permute(0, 3, 1, 2)
        if self.over_clip:
            # Frames above each other are one tall image: the same memory.
            x = x.permute(0, 2, 3, 1).view(1, frames * height, width, channels).permute(0, 3, 1, 2)
        out = self._normalised(x)
        if self.over_clip:
            out = out.permute(0, 2, 3, 1).view(frames, height, width, channels).permute(0, 3, 1, 2)
        return F.silu(out, inplace=True) if silu else out

    def _normalised(self, x: Image) -> Image:
        """PyTorch's kernel for channels-last images, which is as fast as the other one, and its weakness mended.

        It computes the variance as E[x²] - E[x]², which leaves nothing of it where the mean is much larger. Taking the
        mean away first changes nothing else.
        """
        layer, (frames, channels, height, width) = self.layer, x.shape
        sizes = (frames, channels, height * width, layer.num_groups, layer.eps)
        out, mean, scale = torch.native_group_norm(x, layer.weight, layer.bias, *sizes)
        if float(torch.linalg.vector_norm(mean * scale, torch.inf)) > OFF_CENTRE:
            mean = mean.repeat_interleave(channels // layer.num_groups, dim=1)
            out = torch.native_group_norm(x - mean[:, :, None, None].to(x), layer.weight, layer.bias, *sizes)[0]
        return out

    def silu(self, x: Image) -> Image:
        """The SiLU of ``x``, normalised."""
        return self(x, silu=True)


def norm(layer: nn.GroupNorm) -> nn.GroupNorm:
    """A norm with the same weights, which stays when the layer gives its own up."""
    kept = nn.GroupNorm(layer.num_groups, layer.num_channels, layer.eps, device="meta")
    kept.weight, kept.bias = layer.weight, layer.bias
    return kept
