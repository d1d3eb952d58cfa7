"""The authors' own UNet, temporal layer and trajectories (guoyww/AnimateDiff at e92bd56), within their tolerances."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from einops import rearrange, repeat
from safetensors.torch import load_file

from lcm_video.models import motion
from lcm_video.models.call import Call, calling
from lcm_video.models.cards import recognise
from lcm_video.models.unet import Unet

ONE_CLIP = "b channels frames h w -> (b frames) channels h w"


def cases(area):
    return json.loads((Path(__file__).parent / f"golden/original_animatediff/{area}.json").read_text())["cases"]


def named(case):
    return case["name"]


def forward_cases():
    """All; those that only repeat another at an earlier timestep are for the slow run."""
    for case in cases("forward"):
        repeats = "drift" in case["name"] and case["timestep"] == 261
        yield pytest.param(case, id=case["name"], marks=[pytest.mark.slow] if repeats else [])


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "original_animatediff"


@pytest.fixture(scope="module")
def image_unet(folder):
    return UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def v2_weights(folder):
    return {key: w.float() for key, w in load_file(folder / "motion/mm_v2_original_keys.safetensors").items()}


def weights_of(version, v2):
    """v3 is v2 without the middle block, v1 the same with 24 positions: the README of the golden data."""
    weights = {key: w for key, w in v2.items() if version == "v2" or not key.startswith("mid_block.")}
    return {key: w[:, :24] if version == "v1" and key.endswith(".pe") else w for key, w in weights.items()}


@pytest.fixture
def animated(image_unet, v2_weights):
    """Makes the UNet of a configuration, and gives the image UNet back after the test."""

    def build(config):
        if config.startswith("nomotion"):
            if config == "nomotion_v1":
                motion.share_norms(image_unet)
            return Unet(image_unet)
        weights = weights_of(config, v2_weights)
        card = recognise({key: tuple(w.shape) for key, w in weights.items()}, {})
        assert card.name == f"animatediff-{config}"
        motion.inject(image_unet, motion.read(weights, card), shared_norm=card.shared_norm)
        return Unet(image_unet)

    yield build
    motion.eject(image_unet)


def deviation(ours, theirs):
    """The largest difference in standard deviations of the reference."""
    return ((ours - theirs).abs().max() / theirs.std()).item()


@pytest.mark.parametrize("case", [*forward_cases()])
def test_the_unet_equals_the_authors(case, folder, animated):
    arrays = np.load(folder / "forward.npz")
    sample = torch.from_numpy(arrays[f"{case['input']}__sample"])
    frames = sample.shape[2]
    tokens = repeat(torch.from_numpy(arrays[f"{case['input']}__text"]), "b n c -> (b frames) n c", frames=frames)
    with torch.inference_mode():
        ours = animated(case["config"])(
            rearrange(sample, ONE_CLIP), float(case["timestep"]), {"tokens": tokens}, clip=frames
        )
    theirs = rearrange(torch.from_numpy(arrays[f"{case['name']}__out"]), ONE_CLIP)
    assert deviation(ours, theirs) < 1e-4


@pytest.mark.parametrize("case", cases("modules"), ids=named)
def test_a_temporal_layer_equals_the_authors(case, folder, v2_weights, card):
    extra = load_file(folder / "motion/extra_modules.safetensors")
    every = v2_weights | {key: w.float() for key, w in extra.items()}
    prefix = f"{case['weights']}."
    # A lone layer is read at the first place of a UNet; where it came from makes no difference to it.
    state = {
        f"down_blocks.0.motion_modules.0.{key.removeprefix(prefix)}": w
        for key, w in every.items()
        if key.startswith(prefix)
    }
    (layer,) = motion.read(state, replace(card, max_frames=case["max_len"])).values()
    arrays = np.load(folder / "modules.npz")
    given, theirs = (torch.from_numpy(arrays[f"{case['name']}__{end}"]) for end in ("in", "out"))
    with torch.inference_mode(), calling(Call(given.shape[2])):
        ours = layer(rearrange(given, ONE_CLIP))
    assert deviation(ours, rearrange(theirs, ONE_CLIP)) < 2e-5


@pytest.mark.parametrize("case", cases("trajectory"), ids=named)
def test_denoising_follows_the_authors_trajectory(case, folder, animated):
    """DDIM with guidance, each step from our own last one: small errors would add up."""
    arrays = np.load(folder / "trajectory.npz")
    noise, both = (torch.from_numpy(arrays[name]) for name in ("noise", "text_uncond_cond"))
    facts = json.loads((folder / "trajectory.json").read_text())
    alphas = [*facts["alphas_cumprod_at_timesteps"], facts["final_alpha_cumprod"]]
    unet, scale, frames = animated(case["config"]), case["guidance_scale"], noise.shape[2]
    latents = rearrange(noise, ONE_CLIP)
    for step, timestep in enumerate(case["timesteps"]):
        with torch.inference_mode():
            without, given = (
                unet(latents, float(timestep), {"tokens": repeat(t, "n c -> f n c", f=frames)}, clip=frames)
                for t in both
            )
        predicted = given if scale is None else without + scale * (given - without)
        now, then = alphas[step : step + 2]
        clean = (latents - (1 - now) ** 0.5 * predicted) / now**0.5
        latents = then**0.5 * clean + (1 - then) ** 0.5 * predicted
        theirs = torch.from_numpy(arrays[f"{case['name']}__latents"][step])
        assert deviation(latents, rearrange(theirs, ONE_CLIP)) < 1e-4, f"step {step}"
