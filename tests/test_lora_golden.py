"""What diffusers made of the LCM authors' LoRA and of AnimateDiff's motion LoRA: fused weights, and a whole clip."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from einops import rearrange
from safetensors.torch import load_file

from lcm_video.denoiser import unet_denoiser
from lcm_video.models import beside, card_for, lora, motion
from lcm_video.models.unet import Unet
from lcm_video.samplers import SAMPLERS, Betas, Sampling, schedule


@pytest.fixture
def record(golden):
    return np.load(golden / "lora/diffusers.npz")


@pytest.fixture
def tiny(golden):
    return UNet2DConditionModel.from_pretrained(golden / "models/tiny_sd15/unet", torch_dtype=torch.float32)


def test_merging_equals_what_diffusers_fuses(golden, record, tiny):
    """Ten weights of every sort; the record holds fused minus plain weights."""
    names = [name.removeprefix("fused ") for name in record if name.startswith("fused ")]
    before = {name: tiny.get_parameter(name).clone() for name in names}
    tensors = load_file(golden / "models/lora/tiny_lcm_lora_kohya.safetensors")
    lora.merge(tiny, lora.read(tensors)["unet"])
    assert len(names) >= 10
    for name in names:
        delta = tiny.get_parameter(name) - before[name]
        torch.testing.assert_close(delta, torch.from_numpy(record[f"fused {name}"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("how", ["merged", "merged, and injected anew", "beside"])
def test_a_motion_lora_draws_diffusers_clip(golden, record, tiny, how):
    """Its own LCM pipeline, four steps; the motion LoRA at 0.8. Tolerance: 1e-3 of the spread, as all whole clips."""
    weights = load_file(golden / "models/tiny_motion_adapter/diffusion_pytorch_model.safetensors")
    config = json.loads((golden / "models/tiny_motion_adapter/config.json").read_text())
    card = replace(card_for("animatediff-v2"), norm="window", heads=config["motion_num_attention_heads"])
    layers = motion.read(weights, replace(card, groups=config["motion_norm_num_groups"]))
    tensors = load_file(golden / "models/lora/tiny_motion_lora_original.safetensors")
    changes, strengths = lora.read(tensors)["unet"], {}
    motion.inject(tiny, layers)
    if how == "beside":
        beside.attach(tiny, changes, name="zoom")
        strengths = {"lora:zoom": torch.full((8,), 0.8)}
    else:
        assert lora.merge(tiny, changes, scale=0.8) == 168
    if how == "merged, and injected anew":
        motion.eject(tiny)
        motion.inject(tiny, layers)
    arrays = {name: torch.from_numpy(record[name]) for name in record if not name.startswith("fused")}
    start, draws, theirs = (clip(arrays[name]) for name in ("latents_in", "step_noise", "latents_out"))
    encoding = {"tokens": arrays["prompt_embeds"].expand(8, -1, -1), **strengths}
    denoise = unet_denoiser(Unet(tiny), lambda frames: encoding)
    levels = schedule(Sampling(sampler="lcm", steps=4), Betas(schedule="linear").alphas())
    *_, last = SAMPLERS["lcm"].sample(denoise, start, levels, lambda step, frames: draws[step - 1][list(frames)])
    assert (last.latents - theirs).abs().max() <= 1e-3 * theirs.std()


def clip(peers):
    """Peers keep [batch, channels, frames, height, width], with the steps before; our batch axis is time."""
    return rearrange(peers, "... 1 channels frames height width -> ... frames channels height width")
