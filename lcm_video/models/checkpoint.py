"""Single-file checkpoints (LDM layout, as SD 1.5 and SDXL files are written): whose weights are whose.

Which architecture a file has is told by the shapes of its weights, never by its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.architecture import Architecture, Family, architectures
from lcm_video.models.names import open_clip_name, unet_name, vae_name

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
SDXL_TEXT, SDXL_TEXT_2 = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."

ATTENDED = "attentions.0.transformer_blocks.0.attn2.to_k.weight"
"""The weight of a UNet that takes in the text."""


class Split(NamedTuple):
    """A checkpoint's weights by part, under the names of diffusers and transformers (without ``text_model.``)."""

    unet: dict[str, Tensor]
    vae: dict[str, Tensor]
    text: dict[str, Tensor]
    text_2: dict[str, Tensor]

    @property
    def family(self) -> Family:
        """SDXL's UNet embeds the picture's size."""
        return "sdxl" if "add_embedding.linear_1.weight" in self.unet else "sd15"


def split(tensors: Mapping[str, Tensor]) -> Split:
    """Sorts a checkpoint's weights by part; training leftovers (``model_ema``, schedules) are left behind."""
    parts = Split({}, {}, {}, {})
    for key, tensor in tensors.items():
        if key.startswith(UNET):
            parts.unet[unet_name(key.removeprefix(UNET))] = tensor
        elif key.startswith(SDXL_TEXT_2):
            parts.text_2.update(open_clip_weights(key.removeprefix(SDXL_TEXT_2), tensor))
    for prefix in (TEXT, SDXL_TEXT):
        parts.text.update(text_weights(_within(prefix, tensors)))
    parts.vae.update(vae_weights(_within(VAE, tensors)))
    return parts


def _within(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def text_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's weights without ``text_model.``, which transformers 5 and some older files leave out.

    Without ``position_ids``, too: a counter that some files store.
    """
    names = {name: name.removeprefix("text_model.") for name in tensors if not name.endswith("position_ids")}
    return {new: tensors[old] for old, new in names.items()}


def open_clip_weights(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yields an OpenCLIP weight under transformers' names: attention's three projections are one weight there."""
    new = open_clip_name(name)
    if ".in_proj_" in new:
        place, _, ending = new.partition(".in_proj_")
        for projection, part in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{place}.{projection}_proj.{ending}", part
    elif name == "text_projection":  # OpenCLIP multiplies by it from the other side
        yield new, tensor.T.contiguous()
    elif new:
        yield new, tensor


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


def architecture_for(parts: Split, path: Path, folders: Sequence[str] = ()) -> Architecture:
    """The architecture of the checkpoint in ``path``, by its UNet: its first width and that of the text it takes."""
    name = path.name
    first = parts.unet.get("conv_in.weight")
    context = next((weight for key, weight in parts.unet.items() if key.endswith(ATTENDED)), None)
    if first is None or context is None:
        missing = "conv_in" if first is None else "the attention to text"
        message = f"{name} is not a complete checkpoint: {missing} is missing from its UNet"
        raise CheckpointError(message, remedy="give a whole checkpoint: UNet, VAE and text encoder in one file")
    width, channels, text = first.shape[0], first.shape[1], context.shape[1]
    if channels != 4:
        message = f"{name} is an inpainting or other special checkpoint: its UNet takes {channels} channels, not 4"
        raise CheckpointError(message, remedy="give an ordinary checkpoint")
    known = []
    for architecture in architectures(path.parent, folders):
        if (architecture.family, *architecture.widths) == (parts.family, width, text):
            return architecture
        known.append(architecture.name)
    message = f"{name} has an unknown architecture: first width {width}, text width {text}"
    raise CheckpointError(message, remedy=f"known: {', '.join(sorted({*known}))}; others as diffusers folders")
