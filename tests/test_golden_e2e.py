"""Whole clips as diffusers and its friends compute them, from recorded weights, encodings and noise.

diffusers normalises a motion module's input over the window; the authors normalise each frame. To be compared with
it, our layers are switched to its rule (``norm: window``). Tolerance: 1e-3 of the reference's spread for clips, 1e-4
for single calls.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel, UNetMotionModel
from einops import rearrange
from safetensors.torch import load_file

from lcm_video.conditioning import travel
from lcm_video.decoder import decode
from lcm_video.denoiser import guided, unet_denoiser
from lcm_video.models import card_for, lora, motion
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae
from lcm_video.samplers import SAMPLERS, Betas, Sampling, schedule
from lcm_video.timeline import Keyframe, plan
from lcm_video.windows import WindowPlan, Windows, windowed

GOLDEN = Path(__file__).parent / "golden"
RECORD = json.loads((GOLDEN / "e2e" / "e2e.json").read_text())
CASES = {case["case"]: case for case in RECORD["cases"]}
ARRAYS = np.load(GOLDEN / "e2e" / "e2e.npz")


def array(name):
    return torch.from_numpy(ARRAYS[RECORD["aliases"].get(name, name)]).float()


def clip(tensor):
    """Peers keep [batch, channels, frames, height, width]; our batch axis is time."""
    return rearrange(tensor, "1 channels frames height width -> frames channels height width")


def of_kind(*kinds):
    return [name for name, case in CASES.items() if case["kind"] in kinds]


def close(ours, theirs, tolerance=1e-3):
    assert (ours - theirs).abs().max() <= tolerance * theirs.std()


def fresh_unet(strength=0.0):
    unet = UNet2DConditionModel.from_pretrained(GOLDEN / "models" / "tiny_sd15" / "unet")
    if strength:
        weights = load_file(GOLDEN / "models" / "lora" / "tiny_lcm_lora_kohya.safetensors")
        lora.merge(unet, lora.read(weights)[lora.UNET], scale=strength)
    return unet


def with_motion(unet):
    weights = load_file(GOLDEN / "models" / "tiny_motion_adapter" / "diffusion_pytorch_model.safetensors")
    config = json.loads((GOLDEN / "models" / "tiny_motion_adapter" / "config.json").read_text())
    card = replace(
        card_for("animatediff-v2"),
        norm="window",
        heads=config["motion_num_attention_heads"],
        groups=config["motion_norm_num_groups"],
        max_frames=config["motion_max_seq_length"],
    )
    motion.inject(unet, motion.read(weights, card))
    return Unet(unet)


@pytest.fixture(scope="module")
def unet():
    return with_motion(fresh_unet())


@pytest.fixture(scope="module")
def vae():
    return Vae(AutoencoderKL.from_pretrained(GOLDEN / "models" / "tiny_sd15" / "vae"))


def recorded_noise(name):
    """The very draws that the peer made: noise(step, frames), steps counting from 1 as ours do after the start."""
    draws = array(f"{name}__step_noise")
    return lambda step, frames: clip(draws[step - 1])[list(frames)]


def no_noise(step, frames):
    raise AssertionError("this sampler must not draw noise")


def steady(encoding):
    return lambda frames: {"tokens": encoding.expand(len(frames), -1, -1)}


def denoiser(unet, name, guidance, positive=None):
    positive = positive or steady(array(f"{name}__prompt_embeds"))
    if guidance == 1:
        return unet_denoiser(unet, positive)
    spelled = [f"{name}__negative_prompt_embeds", f"{name}__negative_embed"]
    negative = next(array(key) for key in spelled if key in ARRAYS or key in RECORD["aliases"])
    return guided(unet_denoiser(unet, positive), unet_denoiser(unet, steady(negative)), guidance)


def one_call(unet, name, dtype=torch.float32):
    x, tokens = (array(f"{name}__{part}").to(dtype) for part in ("x", "ehs"))
    frames = CASES[name]["num_frames"]
    clips = rearrange(x, "clips channels frames height width -> (clips frames) channels height width")
    noise = unet(clips, CASES[name]["timestep"], {"tokens": tokens}, clip=frames)
    return rearrange(noise, "(clips frames) c h w -> clips c frames h w", frames=frames)


@pytest.mark.parametrize("name", of_kind("unet_forward"))
def test_one_call_of_the_unet_with_motion(unet, name):
    """The record itself lies 0.8e-4 to 2.4e-4 from the same call in float64: no closer can two of them agree."""
    close(one_call(unet, name), array(f"{name}__out"), 3e-4)


def test_in_float64_one_call_is_the_peers_to_nine_digits():
    """What the record's rounding hides: the arithmetic is the same."""
    adapter = MotionAdapter.from_pretrained(GOLDEN / "models" / "tiny_motion_adapter")
    peer = UNetMotionModel.from_unet2d(fresh_unet(), adapter).double().eval()
    ours = Unet(with_motion(fresh_unet()).model.double())
    with torch.no_grad():
        theirs = peer(array("unet0__x").double(), 999, array("unet0__ehs").double()).sample
    close(one_call(ours, "unet0", torch.float64), theirs, 1e-9)


def test_one_call_of_the_unet_without_motion():
    x, tokens, theirs = (array(f"unet2d__{part}") for part in ("x", "ehs", "out"))
    close(Unet(fresh_unet())(x, CASES["unet2d"]["timestep"], {"tokens": tokens}, clip=1), theirs, 1e-4)


def test_the_vae_both_ways(vae):
    scale = vae.model.config.scaling_factor
    close(vae.encode(array("vae__image")), array("vae__enc_mean") * scale, 1e-4)
    close(vae.decode(array("vae__z") * scale), array("vae__dec"), 1e-4)


SAMPLER_OF = {"LCM": ("lcm", ""), "Eul": ("euler", "leading"), "DPM": ("dpmpp_2m", "karras")}


@pytest.mark.parametrize("name", of_kind("t2v"))
def test_text_to_video(unet, vae, name):
    case = CASES[name]
    sampler, timesteps = SAMPLER_OF[case["scheduler"][:3]]
    beta_schedule = "scaled_linear" if "scaled_linear" in case["scheduler"] else "linear"
    sampling = Sampling(sampler=sampler, steps=case["num_inference_steps"], timesteps=timesteps)
    levels = schedule(sampling, Betas(schedule=beta_schedule).alphas())
    assert [level.timestep for level in levels[:-1]] == pytest.approx(case["timesteps"], abs=0.51)
    if "lora_scale" in case:
        unet = with_motion(fresh_unet(case["lora_scale"]))
    noise = recorded_noise(name) if case["n_noise_draws"] else no_noise
    denoise = denoiser(unet, name, case["guidance_scale"])
    *_, last = SAMPLERS[sampler].sample(denoise, clip(array(f"{name}__latents_in")), levels, noise)
    # A long chain of large guidance multiplies rounding; LCM's four steps do not.
    close(last.latents, clip(array(f"{name}__latents_out")), 1e-3 if sampler == "lcm" else 1e-2)
    if f"{name}__frames_uint8" in ARRAYS:
        frames = np.stack([*decode(vae, last.latents, batch=3)])
        assert np.abs(frames.astype(int) - ARRAYS[f"{name}__frames_uint8"].astype(int)).max() <= 1


@pytest.mark.parametrize("name", of_kind("per_frame_travel"))
def test_prompt_travel(unet, name):
    case, frames = CASES[name], CASES[name]["num_frames"]
    conditioning = _conditioning(case)
    close(conditioning(range(frames))["tokens"], array(f"{name}__per_frame_embeds"), 1e-5)
    levels = schedule(Sampling(steps=4), Betas(schedule="linear").alphas())
    denoise = denoiser(unet, name, case["guidance_scale"], conditioning)
    start = clip(array(f"{name}__latents_in"))
    *_, last = SAMPLERS["lcm"].sample(denoise, start, levels, recorded_noise(name))
    close(last.latents, clip(array(f"{name}__latents_out")))


def _conditioning(case):
    """Our travel between the recorded keyframes; animatediff-cli's encodings of each frame are taken as they are."""
    name = case["case"]
    if case["kind"] == "sliding_window_cli":
        embeds = array(f"{name}__per_frame_embeds")
        return lambda frames: {"tokens": embeds[list(frames)]}
    prompts = {at: Keyframe(text) for at, text in case["prompt_map"].items()}
    timeline = plan(prompts, fps=8, frames=case["num_frames"])
    return travel(timeline, {"tokens": array(f"{name}__key_embeds")})


class Recorded(WindowPlan):
    """The very windows that a peer cut, step by step."""

    windows: ClassVar[list] = []

    def __call__(self, timestep):
        return tuple(map(tuple, self.windows[self.steps[timestep]]))


@pytest.mark.parametrize("name", of_kind("sliding_window", "sliding_window_cli"))
def test_windows_as_other_tools_cut_them(unet, name):
    case, frames = CASES[name], CASES[name]["num_frames"]
    levels = schedule(Sampling(steps=4), Betas(schedule="linear").alphas())
    cuts = Recorded(
        Windows().settled(), frames, loop=False, steps={level.timestep: i for i, level in enumerate(levels[:-1])}
    )
    cuts.windows[:] = case["windows_per_step"]
    denoise = denoiser(unet, name, case["guidance_scale"], _conditioning(case))
    denoise = windowed(denoise, cuts, blend=case.get("fuse_method", "flat"))
    start = clip(array(f"{name}__latents_in"))
    assert len(start) == frames
    *_, last = SAMPLERS["lcm"].sample(denoise, start, levels, recorded_noise(name))
    close(last.latents, clip(array(f"{name}__latents_out")))


@pytest.mark.parametrize("name", of_kind("video2video"))
def test_video_to_video(unet, vae, name):
    """The peer encodes with a random draw and we with the mean: only its latents go in."""
    case = CASES[name]
    alphas = Betas(schedule="linear").alphas()
    levels = tuple(level for level in schedule(Sampling(steps=50), alphas) if level.timestep in case["timesteps"])
    levels = (*levels, schedule(Sampling(steps=50), alphas)[-1])
    assert [level.timestep for level in levels[:-1]] == case["timesteps"]
    draws = [array(f"{name}__draw{i}") for i in range(len(case["draw_shapes"]))]
    noise = lambda step, frames: clip(draws[step + 1])[list(frames)]
    *_, last = SAMPLERS["lcm"].sample(
        denoiser(unet, "lcm_s100_f8_g2.0", case["guidance_scale"]), clip(array(f"{name}__latents_start")), levels, noise
    )
    close(last.latents, clip(array(f"{name}__latents_out")))
