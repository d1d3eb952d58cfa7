"""Model options to parts: every file found, checked against its slot, read, and put together.

The order is that of the weights: the checkpoint, a VAE in place of its own, LoRAs into the weights, textual inversions,
and the motion module last, so that LoRAs still find the layers they name.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel

from lcm_video.errors import CheckpointError, ResourceError
from lcm_video.models import Lora, Model, Runtime, beside, checkpoint, inversions, lora, motion
from lcm_video.models.cards import Card, Schedule, cards, recognise, structure
from lcm_video.models.files import read, sha256
from lcm_video.models.folders import find
from lcm_video.models.kinds import a, expect
from lcm_video.models.parts import ModelFile, Parts
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae
from lcm_video.prompts.chunks import LENGTH, Vocabulary
from lcm_video.prompts.text import Text, grow
from lcm_video.prompts.tokenizer import tokenizer


class Base(NamedTuple):
    """The image model, in place and precision."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: CLIPTextModel


def load(model: Model, runtime: Runtime) -> Parts:
    """The parts of a film's model. Raises CheckpointError for a file that cannot be used."""
    files: list[ModelFile] = []
    base = load_base(model, runtime, files)
    for name, option in model.loras.items():
        files.append(apply_lora(name, option, base, runtime.folders))
    vocabulary = learn(model, base.text, runtime.folders, files)
    if model.clip_skip > (layers := base.text.config.num_hidden_layers):
        message = f"clip_skip is {model.clip_skip}, the text encoder has {layers} layers"
        raise CheckpointError(message, remedy="set model.clip_skip to 1, or 2 for checkpoints that say so")
    card = add_motion(model.motion, base.unet, runtime.folders, files) if model.motion else None
    return Parts(
        text=Text(vocabulary, base.text, model.clip_skip),
        unet=Unet(base.unet),
        vae=Vae(base.vae),
        betas=card.betas if card else Schedule(),
        card=card,
        files=tuple(files),
        notes=tuple(f"{file.name}: {note}" for file in files for note in file.notes),
    )


def load_base(model: Model, runtime: Runtime, files: list[ModelFile]) -> Base:
    """UNet, VAE and text encoder of the checkpoint, or the VAE of a file of its own."""
    if not model.checkpoint:
        raise CheckpointError("no checkpoint is named", remedy="set model.checkpoint, or extend a preset: embedded")
    device, dtype = device_for(runtime), dtype_for(runtime)
    path = find(model.checkpoint, kind="checkpoint", folders=runtime.folders)
    tensors = read(path).tensors
    expect("SD 1.5 checkpoint", tensors, name=path.name)
    weights = checkpoint.split(tensors)
    config = checkpoint.config_for(weights, name=path.name)
    files.append(noted("checkpoint", path))
    if model.vae:
        vae_path = find(model.vae, kind="VAE", folders=runtime.folders)
        vae_tensors = read(vae_path).tensors
        expect("VAE", vae_tensors, name=vae_path.name)
        weights = weights._replace(vae=checkpoint.vae_weights(vae_tensors))
        files.append(noted("vae", vae_path))
    with naming(path.name):
        unet = checkpoint.build_unet(weights.unet, config.unet, dtype)
        text = checkpoint.build_text(weights.text, config.text, dtype)
    with naming(files[-1].name):
        vae = checkpoint.build_vae(weights.vae, config.vae, dtype)
    for part in (unet, vae, text):
        torch.nn.Module.to(part, device)
    return Base(unet, vae, text)


def apply_lora(name: str, option: Lora, base: Base, folders: Sequence[str]) -> ModelFile:
    """Merges a LoRA of constant strength; lets one whose strength varies act beside the UNet's weights."""
    path = find(option.path, kind="LoRA", folders=folders)
    tensors = read(path).tensors
    expect("LoRA", tensors, name=path.name)
    with naming(path.name):
        changes = lora.read(tensors)
        unet, text = changes[lora.UNET], changes[lora.TEXT]
        if isinstance(option.scale, Mapping):
            if not unet:
                message = "it changes only the text encoder, which cannot vary by frame"
                raise CheckpointError(message, remedy="give it a constant scale")
            beside.attach(base.unet, unet, name=name)
            notes = [f"{len(unet)} of {len(unet)} modules act beside the weights, their strength varies"]
            if text:  # prompts are encoded once, not for every frame
                notes.append(f"its {len(text)} text encoder modules are left out: they cannot vary by frame")
            return noted(f"lora:{name}", path, *notes)
        applied = lora.merge(base.unet, unet, scale=option.scale) + lora.merge(base.text, text, scale=option.scale)
    total = len(unet) + len(text)
    return noted(f"lora:{name}", path, f"{applied} of {total} modules applied, at {option.scale:g}")


def learn(model: Model, text: CLIPTextModel, folders: Sequence[str], files: list[ModelFile]) -> Vocabulary:
    """The vocabulary of prompts: CLIP's, and the textual inversions, whose vectors the text encoder gets."""
    names: dict[str, tuple[int, ...]] = {}
    for name in model.embeddings:
        path = find(name, kind="textual inversion", folders=folders)
        vectors = inversions.vectors(path, width=text.config.hidden_size)
        if len(vectors) > LENGTH:
            message = f"{path.name} has {len(vectors)} vectors, a prompt's chunk holds {LENGTH}"
            raise CheckpointError(message, remedy="use a smaller embedding")
        names[path.stem] = grow(text, vectors)
        files.append(noted(f"embedding:{path.stem}", path, f"{len(vectors)} vectors"))
    return Vocabulary(tokenizer(model.tokenizer), names)


def add_motion(option: str, unet: UNet2DConditionModel, folders: Sequence[str], files: list[ModelFile]) -> Card:
    """Injects a motion module, named by its card or its file; gives what is known about it."""
    named = cards(folders).get(option)
    path = find(named.file if named else option, kind="motion module", folders=folders)
    tensors, metadata = read(path)
    expect("motion module", tensors, name=path.name)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items() if hasattr(tensor, "shape")}
    found = recognise(shapes, metadata, folders=folders)
    card = named or found
    if card is None:
        message = f"{path.name} is a motion module of unknown structure: {structure(shapes).blocks} down blocks"
        raise CheckpointError(message, remedy="write a card for it, as those in motion_modules/")
    if card.family != "sd15":
        message = f"{path.name} is {a('SDXL motion module')}, the checkpoint is SD 1.5"
        raise CheckpointError(message, remedy="use an SD 1.5 motion module, such as animatediff-v2")
    if 0 < (stored := structure(shapes).positions) < card.max_frames:
        message = f"{path.name} has positions for {stored} frames, its card {card.name} says {card.max_frames}"
        raise CheckpointError(message, remedy="name the file, not the card, under model.motion")
    with naming(path.name):
        layers = motion.read(tensors, card)
        motion.inject(unet, layers, shared_norm=card.shared_norm)
    files.append(noted("motion", path, f"{len(layers)} temporal layers, card {card.name}"))
    return card


def noted(role: str, path: Path, *notes: str) -> ModelFile:
    """What is written down about a file that took part."""
    return ModelFile(role, path.name, sha256(path), notes)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts a file's name before what is wrong with its weights."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error.message}", remedy=error.remedy) from error.__cause__


def device_for(runtime: Runtime) -> torch.device:
    """The device that ``runtime`` asks for. Raises ResourceError if this machine has none such."""
    if runtime.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(runtime.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        message = f"device {runtime.device!r} cannot be used: {str(error).splitlines()[0]}"
        raise ResourceError(message, remedy="set runtime.device to auto, cpu, cuda or cuda:1") from None
    return device


def dtype_for(runtime: Runtime) -> torch.dtype:
    """The precision that ``runtime`` asks for: float16 on a GPU and float32 on a CPU unless it says otherwise."""
    if runtime.dtype == "auto":
        return torch.float32 if device_for(runtime).type == "cpu" else torch.float16
    return getattr(torch, runtime.dtype)
