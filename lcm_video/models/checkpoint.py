"""A single-file checkpoint (LDM layout, as SD 1.5 files are written) to UNet, VAE and text encoder.

Models are built without memory (on the meta device) and given the file's own tensors, so that a file in the wanted
precision is never copied. Which architecture it is, is told by the shapes of its weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from lcm_video.errors import CheckpointError
from lcm_video.models.names import unet_name, vae_name
from lcm_video.resources import shipped

M = TypeVar("M", bound=nn.Module)

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


class Split(NamedTuple):
    """A checkpoint's weights by part, under the names of diffusers and transformers (without ``text_model.``)."""

    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text: dict[str, Tensor]


class Config(NamedTuple):
    """How an architecture's three parts are built: a folder of configs/."""

    name: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]


def split(tensors: Mapping[str, Tensor]) -> Split:
    """Sorts a checkpoint's weights by part; training leftovers (``model_ema``, schedules) are left behind."""
    parts = Split({}, {}, {})
    for key, tensor in tensors.items():
        if key.startswith(UNET):
            parts.unet[unet_name(key.removeprefix(UNET))] = tensor
        elif key.startswith(TEXT):
            name = text_name(key.removeprefix(TEXT))
            if not name.endswith("position_ids"):  # a counter that some files store
                parts.text[name] = tensor
    parts.vae.update(vae_weights({key.removeprefix(VAE): w for key, w in tensors.items() if key.startswith(VAE)}))
    return parts


def text_name(name: str) -> str:
    """A text encoder weight's name without ``text_model.``, which transformers 5 and some older files leave out."""
    return name.removeprefix("text_model.")


def vae_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's weights under diffusers' names, from LDM's or diffusers' (old or new)."""
    found = {}
    for key, tensor in tensors.items():
        if key.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
            name = vae_name(key)
            # LDM writes the attention's projections as 1×1 convolutions.
            pointwise = ".attentions.0.to_" in name and tensor.ndim == 4
            found[name] = tensor[:, :, 0, 0] if pointwise else tensor
    return found


def configs() -> list[Config]:
    """Every architecture in configs/: the folders with unet.json, vae.json and text.json."""
    folders = sorted(path.parent for path in shipped("configs").glob("*/unet.json"))
    return [Config(folder.name, *(_json(folder / f"{part}.json") for part in Config._fields[1:])) for folder in folders]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def config_for(parts: Split, *, name: str) -> Config:
    """The architecture of a checkpoint's UNet, by its first convolution and the width of the text it takes."""
    first = parts.unet.get("conv_in.weight")
    context = parts.unet.get("down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    if first is None or context is None:
        missing = "conv_in" if first is None else "the first attention"
        message = f"{name} is not a complete SD 1.5 checkpoint: {missing} is missing"
        raise CheckpointError(message, remedy="give a whole checkpoint: UNet, VAE and text encoder in one file")
    width, channels, text = first.shape[0], first.shape[1], context.shape[1]
    if channels != 4:
        message = f"{name} is an inpainting or other special checkpoint: its UNet takes {channels} channels, not 4"
        raise CheckpointError(message, remedy="give an ordinary checkpoint")
    for config in configs():
        if (config.unet["block_out_channels"][0], config.unet["cross_attention_dim"]) == (width, text):
            return config
    message = f"{name} has an unknown architecture: first width {width}, text width {text}"
    raise CheckpointError(message, remedy=f"known: {', '.join(config.name for config in configs())}")


def build_unet(weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype) -> UNet2DConditionModel:
    """The image UNet with these weights, frozen."""
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    return filled(model, weights, dtype, part="UNet")


def build_vae(weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype) -> AutoencoderKL:
    """The VAE with these weights, frozen."""
    with torch.device("meta"):
        model = AutoencoderKL(**config)
    return filled(model, weights, dtype, part="VAE")


def build_text(weights: Mapping[str, Tensor], config: Mapping[str, Any], dtype: torch.dtype) -> CLIPTextModel:
    """The text encoder with these weights, frozen."""
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config))
    prefix = "text_model." if any(name.startswith("text_model.") for name in model.state_dict()) else ""
    model = filled(model, {prefix + name: weight for name, weight in weights.items()}, dtype, part="text encoder")
    count = torch.arange(config["max_position_embeddings"])[None]
    for module in model.modules():  # a counter, not a weight: the meta device left it empty
        if "position_ids" in module._buffers:
            module.register_buffer("position_ids", count, persistent=False)
    return model


def filled(model: M, weights: Mapping[str, Tensor], dtype: torch.dtype, *, part: str) -> M:
    """``model`` with ``weights`` in ``dtype``, frozen. Raises CheckpointError unless names and shapes are its own."""
    wanted = model.state_dict()
    missing, unknown = [n for n in wanted if n not in weights], [n for n in weights if n not in wanted]
    if missing or unknown:
        parts = [f"{len(names)} weights {what}, first {names[0]}" for what, names in
                 (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
        raise CheckpointError(f"{part}: {'; '.join(parts)}", remedy=REMEDIES[part if not weights else ""])
    misfits = [name for name in wanted if wanted[name].shape != weights[name].shape]
    if misfits:
        name = misfits[0]
        shapes = f"{tuple(weights[name].shape)} instead of {tuple(wanted[name].shape)}"
        raise CheckpointError(f"{part}: {len(misfits)} weights do not fit, first {name}: {shapes}", remedy=REMEDIES[""])
    model.load_state_dict({name: weight.to(dtype) for name, weight in weights.items()}, assign=True)
    return model.requires_grad_(False).eval()


REMEDIES = {
    "": "give a checkpoint of the SD 1.5 family that other tools accept",
    "UNet": "give a whole checkpoint, not a part of one",
    "VAE": "this checkpoint was saved without its VAE: name one under model.vae",
    "text encoder": "this checkpoint was saved without its text encoder: give a whole one",
}
