"""Models from weights: built without memory (on the meta device) and given the file's own tensors.

So a file in the wanted precision is never copied, and no part of a model exists twice.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from lcm_video.errors import CheckpointError
from lcm_video.prompts.clip import ClipSizes, ClipText

M = TypeVar("M", bound=nn.Module)


def build_unet(weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype) -> UNet2DConditionModel:
    """The image UNet with these weights, frozen."""
    model = _empty(lambda: UNet2DConditionModel.from_config(dict(config)), part="UNet")
    return filled(model, weights, dtype, part="UNet")


def build_vae(weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype) -> AutoencoderKL:
    """The VAE with these weights, frozen."""
    return filled(_empty(lambda: AutoencoderKL.from_config(dict(config)), part="VAE"), weights, dtype, part="VAE")


def build_tiny_vae(weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype) -> AutoencoderTiny:
    """A TAESD with these weights, frozen."""
    return filled(_empty(lambda: AutoencoderTiny.from_config(dict(config)), part="TAESD"), weights, dtype, part="TAESD")


def build_text(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype, *, second: bool = False
) -> ClipText:
    """The text encoder with these weights, frozen; ``second`` is SDXL's, which projects."""
    part = "second text encoder" if second else "text encoder"
    model = _empty(lambda: ClipText(ClipSizes.of(config), projects=second), part=part)
    return filled(model, weights, dtype, part=part)


def _empty(make: Callable[[], Any], *, part: str) -> Any:
    """A model without memory. Raises CheckpointError if its description makes no model."""
    try:
        with torch.device("meta"):
            return make()
    except Exception as error:  # anything can be wrong with a description from outside
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        message = f"{part}: its config.json makes no model: {reason}"
        raise CheckpointError(message, remedy="download the folder again, or give a checkpoint in one file") from error


def require(weights: Mapping[str, Tensor], *, part: str) -> None:
    """Raises CheckpointError if a checkpoint has no weights for a part at all."""
    if not weights:
        raise CheckpointError(f"it was saved without its {part}", remedy=REMEDIES[part])


def filled(model: M, weights: Mapping[str, Tensor], dtype: torch.dtype, *, part: str) -> M:
    """``model`` with ``weights`` in ``dtype``, frozen. Raises CheckpointError unless names and shapes are its own."""
    wanted = model.state_dict()
    missing, unknown = [n for n in wanted if n not in weights], [n for n in weights if n not in wanted]
    if missing or unknown:
        parts = [f"{len(names)} weights {what}, first {names[0]}" for what, names in
                 (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
        raise CheckpointError(f"{part}: {'; '.join(parts)}", remedy=REMEDIES[""])
    misfits = [name for name in wanted if wanted[name].shape != weights[name].shape]
    if misfits:
        name = misfits[0]
        shapes = f"{tuple(weights[name].shape)} instead of {tuple(wanted[name].shape)}"
        raise CheckpointError(f"{part}: {len(misfits)} weights do not fit, first {name}: {shapes}", remedy=REMEDIES[""])
    model.load_state_dict({name: weight.to(dtype) for name, weight in weights.items()}, assign=True)
    return model.requires_grad_(False).eval()


REMEDIES = {
    "": "give a checkpoint of the SD 1.5 or SDXL family that other tools accept",
    "UNet": "give a whole checkpoint, not a part of one",
    "VAE": "name one under model.vae",
    "text encoder": "give a whole checkpoint: UNet, VAE and text encoders in one file",
    "second text encoder": "give a whole checkpoint: UNet, VAE and both text encoders in one file",
}
