"""The parts of the model: their sizes, how they are made anew, and what trained weights they are filled with."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from lcm_video.models.motion import sites
from lcm_video.models.temporal import TemporalLayer
from lcm_video.prompts.chunks import LENGTH
from lcm_video.prompts.tokenizer import BEGIN, END, tokenizer
from lcm_video.samplers import Betas
from training.world import vocabulary

HERE = Path(__file__).parent
HEADS, GROUPS = 2, 4
"""Attention heads and norm groups, of the image UNet and of the motion module."""
MAX_FRAMES = 32
"""Frames that the motion module has position codes for."""


def config(part: str) -> dict[str, Any]:
    """The sizes of ``unet``, ``vae`` or ``text``."""
    return json.loads((HERE / "sizes" / f"{part}.json").read_text(encoding="utf-8"))


def new_vae() -> AutoencoderKL:
    """A VAE that encodes almost without noise from the start: it has to learn to draw first."""
    vae = AutoencoderKL(**config("vae"))
    with torch.no_grad():
        vae.quant_conv.bias[4:] = -5.0
        vae.quant_conv.weight[4:] *= 0.1
        vae.encoder.conv_out.weight *= 2
    return vae


def new_text(used: Sequence[int]) -> CLIPTextModel:
    """A text encoder in which only ``used`` tokens have an embedding: any other word says nothing."""
    text = CLIPTextModel(CLIPTextConfig(**config("text")))
    words = text.get_input_embeddings().weight
    with torch.no_grad():
        known = torch.zeros(len(words), 1).index_fill_(0, torch.tensor(used), 1)
        words.copy_(torch.randn_like(words) * 0.3 * known)
        for name, weight in text.named_parameters():
            if "position_embedding" in name:
                weight.copy_(torch.randn_like(weight) * 0.05)
    return text


def new_unet() -> UNet2DConditionModel:
    """A UNet that predicts nothing yet."""
    unet = UNet2DConditionModel(**config("unet"))
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


def new_motion(unet: UNet2DConditionModel) -> dict[str, TemporalLayer]:
    """Temporal layers for every place of ``unet``, which change nothing yet (arXiv:2307.04725, section 4.2)."""
    layers = {}
    for site, places, index in sites(unet):
        layer = TemporalLayer(places[index].out_channels, heads=HEADS, groups=GROUPS, max_frames=MAX_FRAMES)
        nn.init.zeros_(layer.proj_out.weight)
        nn.init.zeros_(layer.proj_out.bias)
        layers[site] = layer
    return layers


def alphas() -> Tensor:
    """ᾱ by timestep, on Stable Diffusion's own noise schedule."""
    return torch.tensor(Betas().alphas())


class Captions:
    """Texts to ids, with words nobody knows thrown in now and then."""

    def __init__(self) -> None:
        self.encode = tokenizer("")

    @cached_property
    def used(self) -> list[int]:
        """The ids that captions are made of."""
        return sorted({BEGIN, END, *(number for text in vocabulary() for number in self.encode(text))})

    @cached_property
    def unused(self) -> list[int]:
        """All others."""
        return sorted(set(range(BEGIN)) - set(self.used))

    def ids(self, texts: Sequence[str], random: Random | None = None) -> Tensor:
        """Ids (texts, 77); with ``random``, every fourth text gets one to six strange words."""
        rows = []
        for text in texts:
            row = list(self.encode(text))
            if text and random and random.random() < 0.25:
                for _ in range(random.randint(1, 6)):
                    row.insert(random.randint(0, len(row)), random.choice(self.unused))
            rows.append([BEGIN, *row[:LENGTH], *[END] * (LENGTH + 1 - len(row[:LENGTH]))])
        return torch.tensor(rows)


def save(module: nn.Module, path: Path) -> None:
    """Writes a part's weights."""
    save_file({name: weight.detach().contiguous() for name, weight in module.state_dict().items()}, path)


def load_text(out: Path) -> CLIPTextModel:
    """The trained text encoder, frozen."""
    return frozen(new_text([END]), out / "text.safetensors")


def load_vae(out: Path) -> AutoencoderKL:
    """The trained VAE, frozen."""
    return frozen(AutoencoderKL(**config("vae")), out / "vae.safetensors")


def load_unet(out: Path) -> UNet2DConditionModel:
    """The trained UNet, frozen."""
    return frozen(UNet2DConditionModel(**config("unet")), out / "unet.safetensors")


def frozen(module: Any, path: Path) -> Any:
    """``module`` with the weights in ``path``, not to be trained."""
    module.load_state_dict(load_file(path))
    return module.requires_grad_(False).eval()
