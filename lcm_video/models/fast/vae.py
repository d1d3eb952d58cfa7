"""The decoder of Stable Diffusion's VAE for CPUs: the numbers of diffusers' own, to rounding, in half the time.

Built once from the model's decoder, whose weights it shares where it can. A layer always sees the same number of frames
at once, so that a frame's bits do not depend on how many there are; see `vae_layers` and `convolutions` for what is
done differently.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from typing import Any, TypeAlias, TypeGuard

import torch
from diffusers.models.attention_processor import Attention as PlainAttention, AttnProcessor, AttnProcessor2_0
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2D, UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from lcm_video.models.fast.convolutions import Direct, Subpixel, best
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.vae_layers import Activated, Attention, Doubling, Layer, Norm, Pointwise, Resnet
from lcm_video.types import Images, Latents

Decode: TypeAlias = Callable[[Latents], Images]
"""Latents, divided by the model's scaling factor, to images from -1 to 1."""

Part: TypeAlias = Any
"""A module of the decoder: diffusers does not declare what its modules hold."""

ORDER = torch.channels_last

FEW, MOST = 2**22, 4
"""Numbers in a layer of images that are decoded together, and images. More numbers fall out of the cache; fewer cost
more calls than arithmetic (16 frames of 128 × 128 with 16 channels: 120 ms in fours, 165 one by one)."""

HELD = 2**23
"""Numbers in images of all frames up to which a layer goes through all of them before the next one begins, so that it
makes its weights for Winograd once and not for every frame: four frames of 256 × 256 take a tenth less, of 128 × 128 a
twentieth. Later layers have small weights and large images."""

FIXED: Mapping[type[nn.Module], Mapping[str, Any]] = {
    Decoder: {"training": False},
    ResnetBlock2D: {"output_scale_factor": 1.0, "upsample": None, "downsample": None, "time_emb_proj": None},
    PlainAttention: {
        "rescale_output_factor": 1.0, "residual_connection": True, "only_cross_attention": False,
        "fused_projections": False, "spatial_norm": None, "norm_q": None, "norm_k": None, "norm_cross": None,
    },
    Upsample2D: {"use_conv": True, "use_conv_transpose": False, "interpolate": True, "norm": None, "name": "conv"},
}  # fmt: skip
"""Layers with switches that diffusers has for other models, and how they must be set."""

SIMPLE = (
    *(UNetMidBlock2D, UpDecoderBlock2D, nn.ModuleList, nn.Dropout),
    *(nn.Conv2d, nn.GroupNorm, nn.SiLU, nn.Linear),
)
"""The other layers that are known."""


def vae_of(model: nn.Module, *, take: bool = False, latents: tuple[int, int] = (32, 32)) -> "FastDecoder | None":
    """A faster ``model.decode``; None where the model holds something that is not known here, or is not on a CPU.

    take: whether the weights of the model's decoder are put into channels-last order, so that they can be shared
        instead of copied. Its own decode goes on working, but then rounds otherwise
    latents: the size for which it is the fastest
    """
    if not _is_known(model):
        return None
    if take:
        decoder: Part = model.decoder
        decoder.to(memory_format=ORDER)
    return FastDecoder(model, latents)


def _is_known(model: nn.Module) -> TypeGuard[AutoencoderKL]:
    if type(model) is not AutoencoderKL:
        return False
    # Slices and tiles are diffusers' own way of doing with less memory.
    return (
        model.device.type == "cpu"
        and model.dtype in (torch.float32, torch.bfloat16)
        and not (model.use_tiling or model.use_slicing)
        and all(_is_plain(module) for module in model.decoder.modules())
    )


def _is_plain(module: nn.Module) -> bool:
    if type(module) not in (*FIXED, *SIMPLE) or module._forward_hooks or module._forward_pre_hooks:
        return False
    if isinstance(module, PlainAttention) and type(module.processor) not in (AttnProcessor, AttnProcessor2_0):
        return False
    return all(getattr(module, name) == only for name, only in FIXED.get(type(module), {}).items())


class FastDecoder:
    """The decoder as a row of layers. Any number of threads may call it at the same time."""

    def __init__(self, model: AutoencoderKL, latents: tuple[int, int]) -> None:
        decoder, post = model.decoder, model.post_quant_conv
        self.channels, self.factor = decoder.conv_out.out_channels, 2 ** (len(decoder.up_blocks) - 1)
        self.entry = [_direct(conv) for conv in (post, decoder.conv_in) if conv is not None]
        self.width = decoder.conv_out.in_channels
        made = _layers(decoder, latents, self._together(*latents))
        self.layers, self.numbers = map(list, zip(*made, strict=True))
        self.exit = Activated(_norm(decoder.conv_norm_out), _direct(decoder.conv_out))
        self.most = MOST

    @torch.no_grad()
    def __call__(self, latents: Latents) -> Images:
        """Images (frames, rgb, height, width) in channels-last order."""
        frames, _, height, width = latents.shape
        out = latents.new_empty(frames, height * self.factor, width * self.factor, self.channels)
        scratch, together = Scratch(), self._together(height, width)
        begun = [self._entered(filled(these, together)) for these in latents.split(together)]
        early = self._early(len(begun) * together * height * width)
        for layer in self.layers[:early]:
            for number, images in enumerate(begun):
                made = layer(images, scratch)
                # What lies in scratch memory would be written over for the next frame.
                begun[number] = made if made is images or len(begun) == 1 else made.clone()
        for images, target in zip(begun, out.split(together), strict=True):
            for layer in self.layers[early:]:
                images = layer(images, scratch)
            target.copy_(self.exit(images, scratch)[: len(target)])
        return out.permute(0, 3, 1, 2)

    def _early(self, pixels: int) -> int:
        """How many layers go through all frames, which have so many latent pixels, before the next one begins."""
        return sum(1 for _ in takewhile(lambda numbers: numbers * pixels <= HELD, self.numbers))

    def _together(self, height: int, width: int) -> int:
        """How many frames of a size go through a layer at once, always: how they are rounded depends on it."""
        return min(MOST, max(1, FEW // (height * width * self.factor**2 * self.width)))

    def _entered(self, x: Latents) -> torch.Tensor:
        x = x.contiguous(memory_format=ORDER)
        for conv in self.entry:
            x = conv(x)
        return x.permute(0, 2, 3, 1)


def _layers(decoder: Part, size: tuple[int, int], frames: int) -> Iterator[tuple[Layer, int]]:
    """The layers between the first convolution and the last norm, for latents of that size, ``frames`` at a time.

    Each with how many numbers it makes of a latent pixel.
    """
    first, *others = decoder.mid_block.resnets
    width, area = first.out_channels, 1
    yield _resnet(first, size, frames), width
    for attention, resnet in zip(decoder.mid_block.attentions, others, strict=True):
        if attention is not None:
            yield _attention(attention), width
        yield _resnet(resnet, size, frames), width
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            width = resnet.out_channels
            yield _resnet(resnet, size, frames), width * area
        for upsampler in block.upsamplers or ():
            doubled = best(upsampler.conv, pixels=size, frames=frames, doubling=True, winograd="made")
            assert isinstance(doubled, Subpixel)
            size, area = (2 * size[0], 2 * size[1]), 4 * area
            yield Doubling(doubled), width * area


def filled(latents: torch.Tensor, frames: int) -> torch.Tensor:
    """``latents``, the last of them again until there are so many."""
    lacking = latents[-1:].expand(frames - len(latents), -1, -1, -1)
    return torch.cat([latents, lacking]) if len(lacking) else latents


def _resnet(block: Part, size: tuple[int, int], frames: int) -> Resnet:
    first, second = (
        Activated(_norm(norm), best(conv, pixels=size, frames=frames, winograd="made"))
        for norm, conv in ((block.norm1, block.conv1), (block.norm2, block.conv2))
    )
    return Resnet(first, second, Pointwise(_direct(block.conv_shortcut)) if block.conv_shortcut is not None else None)


def _attention(layer: Part) -> Attention:
    parts = (layer.to_q, layer.to_k, layer.to_v)
    inward = (torch.cat([part.weight for part in parts]).detach(), torch.cat([part.bias for part in parts]).detach())
    out = layer.to_out[0]
    return Attention(_norm(layer.group_norm, silu=False), inward, (out.weight.detach(), out.bias.detach()), layer.heads)


def _norm(norm: Part, *, silu: bool = True) -> Norm:
    return Norm(norm, silu=silu)


def _direct(conv: Part) -> Direct:
    return Direct(conv.weight, conv.bias, padding=conv.padding[0])
