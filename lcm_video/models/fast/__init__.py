"""The networks again, arranged for speed: each is built from the plain model beside it and equal to it, to rounding."""

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from lcm_video.models.fast.known import unknown_in
from lcm_video.models.fast.taking import size_of
from lcm_video.models.fast.unet import FastUnet
from lcm_video.models.fast.vae import vae_of

__all__ = ["FastUnet", "unet_of", "unknown_in", "vae_of"]

LARGE = 2**29
"""Bytes of weights that are too many to have twice."""


def unet_of(model: UNet2DConditionModel, *, take: bool | None = None) -> FastUnet | None:
    """The fast UNet with the weights of ``model``, or None if that has a layer it does not know: see `unknown_in`.

    It computes in the model's precision, float32 or bfloat16, on a CPU; float32 to within 5e-6 of the output's norm.
    take: whether the weights are moved, layer by layer, so that ``model`` gives only NaN afterwards; left out, they
        are if they are `LARGE`
    """
    if unknown_in(model):
        return None
    return FastUnet(model, take=size_of(model) > LARGE if take is None else take)
