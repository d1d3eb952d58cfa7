"""The image model: UNet, VAE and text encoders, from one file, a diffusers folder, or with a VAE of its own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models import lora, vae_files
from lcm_video.models.architecture import Architecture, Family
from lcm_video.models.building import build_text, build_unet, require
from lcm_video.models.checkpoint import Split, architecture_for, split
from lcm_video.models.checkpoint_folder import read_folder
from lcm_video.models.files import read
from lcm_video.models.folders import find
from lcm_video.models.kinds import expect
from lcm_video.models.parts import ModelFile
from lcm_video.models.placing import Place
from lcm_video.models.vae_files import VaeFiles
from lcm_video.prompts.clip import ClipText


class Base(NamedTuple):
    """The image model, in place and precision; only SDXL has a second text encoder."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL | AutoencoderTiny
    text: ClipText
    text_2: ClipText | None = None
    family: Family = "sd15"
    note: str = ""

    @property
    def texts(self) -> Mapping[str, ClipText]:
        """The text encoders by the names that LoRAs call them."""
        second = {} if self.text_2 is None else {lora.TEXT_2: self.text_2}
        return {lora.TEXT: self.text, **second}


class Found(NamedTuple):
    """A checkpoint's weights and sizes, and the files they came from, by role."""

    weights: Split
    architecture: Architecture
    files: dict[str, Path]


def load_base(name: str, vae: str, *, place: Place, folders: Sequence[str], files: list[ModelFile]) -> Base:
    """The checkpoint ``name``, with the VAE ``vae`` in place of its own if one is named.

    Every file that takes part is added to ``files``. Raises CheckpointError for what is missing or does not fit.
    """
    path = find(name, kind="checkpoint", folders=folders)
    found = read_checkpoint(path, half=place.half, folders=folders)
    files += [ModelFile(role, file) for role, file in found.files.items()]
    weights, architecture = found.weights, found.architecture
    precision = place.precision(sum(weight.numel() for weight in weights.unet.values()))
    dtype = precision.dtype
    picture = VaeFiles(weights.vae, architecture.vae, (path,))
    if vae:
        picture = vae_files.read_vae(vae, architecture, folders)
        files += [ModelFile(f"vae:{index + 1}" if index else "vae", file) for index, file in enumerate(picture.files)]
    with naming(path.name):
        for part, its in parts_needed(weights, picture, architecture.family).items():
            require(its, part=part)
        unet = build_unet(weights.unet, architecture.unet, dtype)
        text = build_text(weights.text, architecture.text, dtype)
        text_2 = None
        if architecture.family == "sdxl":
            text_2 = build_text(weights.text_2, architecture.text_2, dtype, second=True)
    with naming(picture.files[0].name):
        decoder = vae_files.build(picture, vae_files.precision(picture, architecture, dtype))
    for part in (unet, decoder, text, text_2):
        if part is not None:
            torch.nn.Module.to(part, place.device)
    return Base(unet, decoder, text, text_2, architecture.family, precision.note)


def parts_needed(weights: Split, vae: VaeFiles, family: Family) -> Mapping[str, Mapping[str, Tensor]]:
    """The weights of every part of an image model, by what people call it."""
    found = {"UNet": weights.unet, "text encoder": weights.text, "VAE": vae.weights}
    return {**found, "second text encoder": weights.text_2} if family == "sdxl" else found


def read_checkpoint(path: Path, *, half: bool, folders: Sequence[str]) -> Found:
    """The weights of a checkpoint, under the names of diffusers and transformers, still where they lie in the files."""
    if path.is_dir():
        folder = read_folder(path, half=half)
        parts = {
            f"checkpoint:{part}" + (f":{index + 1}" if index else ""): file
            for part, its in folder.files.items()
            for index, file in enumerate(its)
        }
        return Found(folder.weights, folder.architecture, parts)
    tensors = read(path).tensors
    expect(("SD 1.5 checkpoint", "SDXL checkpoint"), tensors, name=path.name)
    if "v_pred" in tensors:  # a mark that merges of such models carry
        message = f"{path.name} was made to predict velocity, not noise"
        raise CheckpointError(message, remedy="give an ordinary (epsilon) checkpoint")
    weights = split(tensors)
    return Found(weights, architecture_for(weights, path, folders), {"checkpoint": path})


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts a file's name before what is wrong with its weights."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error.message}", remedy=error.remedy) from error.__cause__
