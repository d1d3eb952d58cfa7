"""Denoising and decoding against diffusers' own motion UNet: the same weights, latents, encodings and machine, one run.

    python bench/render.py [--frames 16] [--size 128] [--steps 4] [--rounds 3]

The last line is JSON. ``ratio`` is the peer's time over ours: above 1 we are faster. Rounds alternate, and the best of
each counts.
"""

import argparse
import json
import time
from itertools import chain

import torch
from diffusers import LCMScheduler, MotionAdapter, UNetMotionModel
from einops import rearrange

import lcm_video as lv
from lcm_video.conditioning import travel
from lcm_video.denoiser import unet_denoiser
from lcm_video.models import motion
from lcm_video.noise import frame_noise
from lcm_video.samplers import SAMPLERS, Sampling, schedule
from lcm_video.timeline import Keyframe, plan


def peer_of(pipeline):
    """diffusers' UNetMotionModel from the very layers that our UNet runs."""
    unet = pipeline.unet.model
    layers = {site: layers[index].temporal for site, layers, index in motion.sites(unet)}
    motion.eject(unet)
    config = unet.config
    adapter = MotionAdapter(
        block_out_channels=tuple(config.block_out_channels),
        motion_layers_per_block=config.layers_per_block,
        motion_num_attention_heads=4,
        motion_norm_num_groups=4,
        use_motion_mid_block=True,
    )
    adapter.load_state_dict(dict(chain.from_iterable(named(site, layer) for site, layer in layers.items())))
    peer = UNetMotionModel.from_unet2d(unet, adapter).eval()
    motion.inject(unet, layers)
    return peer


def named(site, layer):
    """A temporal layer's weights by diffusers' names."""
    for name, value in layer.state_dict().items():
        positions = name.endswith(".positions")
        key = name.replace(".positions", ".pos_embed.pe")
        yield f"{site}.{key}", value[None] if positions else value


def ours(pipeline, conditioning, start, options, noise):
    levels = schedule(Sampling(steps=options.steps), pipeline.betas.alphas())
    denoise = unet_denoiser(pipeline.unet, conditioning)
    *_, last = SAMPLERS["lcm"].sample(denoise, start, levels, noise)
    return last.latents


@torch.no_grad()
def theirs(peer, betas, tokens, start, options, noise):
    scheduler = LCMScheduler(
        beta_start=betas.start, beta_end=betas.end, beta_schedule=betas.schedule, clip_sample=False
    )
    scheduler.set_timesteps(options.steps)
    latents = rearrange(start, "frames channels height width -> 1 channels frames height width")
    for timestep in scheduler.timesteps:
        predicted = peer(latents, timestep, tokens).sample
        latents = scheduler.step(predicted, timestep, latents).prev_sample
    return latents


def timed(run):
    begun = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"frames": 16, "size": 128, "steps": 4, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    board = lv.load("embedded", ["prompts=x"])
    pipeline = lv.Pipeline.load(board.model)
    peer = peer_of(pipeline)
    way = plan(
        {"0": Keyframe("a red circle"), str(options.frames - 1): Keyframe("a blue square")},
        fps=8,
        frames=options.frames,
    )
    conditioning = travel(way, pipeline.text(way.prompts))
    tokens = conditioning(range(options.frames))["tokens"]
    noise = frame_noise(0, (4, options.size // 8, options.size // 8))
    start = noise(0, range(options.frames))
    runs = {
        "ours": lambda: ours(pipeline, conditioning, start, options, noise),
        "diffusers": lambda: theirs(peer, pipeline.betas, tokens, start, options, noise),
    }
    for run in runs.values():
        run()
    rounds = [{name: timed(run) for name, run in runs.items()} for _ in range(options.rounds)]
    seconds = {name: min(took[name] for took in rounds) for name in runs}
    decoding = timed(lambda: [*lv.decode(pipeline.vae, start)])
    found = {
        **vars(options),
        "denoise_s": round(seconds["ours"], 4),
        "diffusers_s": round(seconds["diffusers"], 4),
        "ratio": round(seconds["diffusers"] / seconds["ours"], 3),
        "decode_frame_s": round(decoding / options.frames, 4),
    }
    print("\n".join(f"{name:16s}{value:>10}" for name, value in found.items()))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
