"""Counts the arithmetic of a film: SD 1.5 with motion module v2, in TFLOP a frame. Counts only: nothing is computed.

    python bench/arithmetic.py [--size 512] [--frames 16]

``unet`` is one step of one frame, without guidance (with it, twice that); ``vae`` decodes a frame, ``taesd`` does the
same with the small decoder, ``text`` encodes a prompt. ``decode_share`` is the VAE's part of a frame at 4 and at 8
steps. Last comes one line of JSON.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderTiny
from peers import full_size
from torch.utils.flop_counter import FlopCounterMode

from lcm_video.models.unet import Unet
from lcm_video.prompts.clip import ClipSizes, ClipText

CLIP = ClipSizes(hidden_size=768, intermediate_size=3072, num_attention_heads=12)


def counted(run: Callable[[], Any]) -> float:
    """The TFLOP of a call; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="pixels, along both sides")
    parser.add_argument("--frames", type=int, default=16, help="frames of a window")
    options = parser.parse_args()
    with torch.device("meta"), torch.no_grad():
        unet, vae = full_size()
        frames, side = options.frames, options.size // 8
        latents, tokens = torch.empty(frames, 4, side, side), torch.empty(frames, 77, 768)
        tiny, text = AutoencoderTiny(), ClipText(CLIP)
        step = lambda: Unet(unet, kernels="plain")(latents, 499.0, {"tokens": tokens}, clip=frames)
        found = {
            "unet": counted(step) / frames,
            "vae": counted(lambda: vae.decode(latents[:1])),
            "taesd": counted(lambda: tiny.decode(latents[:1])),
            "text": counted(lambda: text(torch.zeros(1, 77, dtype=torch.long))),
        }
    share = {steps: round(found["vae"] / (found["vae"] + steps * found["unet"]), 3) for steps in (4, 8)}
    for part, tflop in found.items():
        print(f"{part:6s} {tflop:.4f} TFLOP")
    rounded = {part: round(tflop, 4) for part, tflop in found.items()}
    print(json.dumps({"bench": "arithmetic", **vars(options), **rounded, "decode_share": share}))


if __name__ == "__main__":
    main()
