"""lcm-video beside diffusers' AnimateDiffPipeline on a GPU: SD 1.5 with motion module v2 at full size, random weights.

    python bench/gpu.py [--size 512] [--frames 16] [--rounds 5] [--compile blocks] [--no-compiled-peer]

From latents to frames in memory: 4 LCM steps at guidance 1, then the VAE, in 16 bits. Three sides alternate, and
medians count: ours, diffusers as it comes, and diffusers with channels last and its UNet and decoder compiled. First
runs, which compile, are told apart. ``share`` is the share of the rate at which this GPU multiplies matrices, measured
in the same run; ``ratio`` is the peer's time over ours. Without a GPU the same is run on the CPU with the embedded
model at its least size, which tells that the script works and nothing else. Last comes one line of JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from einops import rearrange
from peers import full_size, peer_of
from torch.utils.flop_counter import FlopCounterMode

import lcm_video as lv
from lcm_video.models import Runtime
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae

STEPS = 4
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")


def parts(dtype: torch.dtype) -> tuple[lv.Pipeline, Any, Any, torch.Tensor]:
    """A pipeline of ours, its UNet and its VAE still on the CPU, and an encoded prompt."""
    pipeline = lv.Pipeline.load(lv.load("embedded", ["prompts=x"]).model, Runtime(device="cpu"))
    if not GPU:
        return pipeline, pipeline.unet.model, pipeline.vae.model, pipeline.text(["a red circle"])["tokens"]
    tokens = torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(1))
    return (
        replace(pipeline, text=lambda prompts: {"tokens": tokens.expand(len(prompts), -1, -1)}),
        *full_size(dtype),
        tokens,
    )


def our_side(pipeline: lv.Pipeline, unet: Any, vae: Any, options: argparse.Namespace) -> Callable[[], Any]:
    """Draws a film of ours, to frames in memory."""
    board = lv.Storyboard(
        prompts={"0": lv.Keyframe("x")},
        video=lv.Video(frames=options.frames, width=options.size, height=options.size),
        windows=lv.load("embedded", ["prompts=x", f"windows.length={max(options.frames, 5)}"]).windows,
    )
    compile = options.compile if GPU else "off"
    ours = replace(pipeline, unet=Unet(unet.to(DEVICE), compile=compile), vae=Vae(vae.to(DEVICE)))
    return lambda: list(ours.frames(board))


def their_side(pipe: Any, tokens: torch.Tensor, options: argparse.Namespace) -> Callable[[], Any]:
    """Draws the same film with diffusers' pipeline, to frames in memory."""
    side = options.size // 8
    start = torch.randn(1, 4, options.frames, side, side, generator=torch.Generator().manual_seed(0))

    def film() -> Any:
        given = {"prompt_embeds": tokens.to(DEVICE, pipe.unet.dtype), "latents": start.to(DEVICE, pipe.unet.dtype)}
        shape = {"num_frames": options.frames, "height": options.size, "width": options.size}
        return pipe(**given, **shape, num_inference_steps=STEPS, guidance_scale=1.0, output_type="np").frames[0]

    return film


def compiled(pipe: Any) -> Any:
    """diffusers' pipeline with its weights' channels last, and what takes its time compiled."""
    if GPU:
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    backend = {"mode": "max-autotune-no-cudagraphs"} if GPU else {"backend": "eager"}
    pipe.unet.compile(**backend)
    pipe.vae.decoder.compile(**backend)
    return pipe


def seconds(run: Callable[[], Any]) -> float:
    """Wall time until the GPU is done."""
    if GPU:
        torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def on_the_gpu(run: Callable[[], Any]) -> float:
    """Seconds between two events on the GPU; by the wall where there is none."""
    if not GPU:
        return seconds(run)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def matmul_rate(dtype: torch.dtype) -> float:
    """Operations a second in the product of two large matrices."""
    side = 8192 if GPU else 256
    left, right = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(2))
    times = [on_the_gpu(lambda: left @ right) for _ in range(12)]
    return 2 * side**3 / statistics.median(times[2:])


def work(unet: Any, vae: Any, tokens: torch.Tensor, options: argparse.Namespace) -> float:
    """Operations of a film, as the plain layers do them."""
    side = options.size // 8
    latents = torch.zeros(options.frames, 4, side, side, device=DEVICE)
    encoding = {"tokens": tokens.expand(options.frames, -1, -1)}
    with FlopCounterMode(display=False) as step:
        Unet(unet)(latents, 499.0, encoding, clip=options.frames)
    with FlopCounterMode(display=False) as frame:
        Vae(vae).decode(latents[:1])
    return STEPS * step.get_total_flops() + options.frames * frame.get_total_flops()


def difference(unet: Any, peer: Any, tokens: torch.Tensor, options: argparse.Namespace) -> float:
    """How far one UNet call of ours is from one of diffusers', as a share, both normalising each frame."""
    peer.normalise_each_frame()
    side, dtype = options.size // 8, unet.dtype
    x = torch.randn(options.frames, 4, side, side, generator=torch.Generator().manual_seed(2))
    rows = tokens.expand(options.frames, -1, -1)
    ours = Unet(unet)(x, 499.0, {"tokens": rows}, clip=options.frames)
    stacked = rearrange(x, "frames c h w -> 1 c frames h w").to(DEVICE, dtype)
    theirs = peer.pipe.unet(stacked, 499, rows.to(DEVICE, dtype)).sample[0]
    theirs = rearrange(theirs, "c frames h w -> frames c h w").to(ours)
    return float((ours - theirs).norm() / theirs.norm())


def measured(
    sides: dict[str, Callable[[], Any]], options: argparse.Namespace, done: float, rate: float
) -> dict[str, Any]:
    """What each side needs, and its first run apart: that compiles and records."""
    first = {name: seconds(run) for name, run in sides.items()}
    for run in sides.values():
        run()
    peaks, walls, events = {}, {name: [] for name in sides}, {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, run in sides.items():
            if GPU:
                torch.cuda.reset_peak_memory_stats()
            walls[name].append(seconds(run))
            events[name].append(on_the_gpu(run))
            peaks[name] = torch.cuda.max_memory_allocated() / 1e9 if GPU else 0.0
    found = {}
    for name in sides:
        wall, event = statistics.median(walls[name]), statistics.median(events[name])
        found[name] = {
            "wall_s": round(wall, 4), "gpu_s": round(event, 4), "frames_per_s": round(options.frames / wall, 2),
            "share": round(done / wall / rate, 3), "peak_gb": round(peaks[name], 2), "first_s": round(first[name], 2),
        }  # fmt: skip
        found[name]["ratio"] = round(wall / statistics.median(walls["ours"]), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512 if GPU else 64)
    parser.add_argument("--frames", type=int, default=16 if GPU else 5)
    parser.add_argument("--rounds", type=int, default=5 if GPU else 1)
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--compile", choices=["auto", "off", "blocks"], default="blocks")
    parser.add_argument("--no-compiled-peer", action="store_true", help="its compilation takes minutes")
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype) if GPU else torch.float32
    with torch.no_grad():
        pipeline, unet, vae, tokens = parts(dtype)
        peers = {"diffusers": peer_of(unet, vae, pipeline.betas)}
        if not options.no_compiled_peer:
            peers["diffusers_compiled"] = peer_of(unet, vae, pipeline.betas)
            compiled(peers["diffusers_compiled"].pipe)
        for peer in peers.values():
            peer.pipe.to(DEVICE)
        ours = our_side(pipeline, unet, vae, options)
        sides = {"ours": ours, **{name: their_side(peer.pipe, tokens, options) for name, peer in peers.items()}}
        done, rate = work(unet, vae, tokens, options), matmul_rate(dtype)
        found = measured(sides, options, done, rate)
        apart = difference(unet, peers["diffusers"], tokens, options)
    for name, facts in found.items():
        print(f"{name:20s}" + "  ".join(f"{key} {value}" for key, value in facts.items()))
    device = torch.cuda.get_device_name() if GPU else "cpu: a smoke run, no measurement"
    facts = {**vars(options), "device": device, "tflop": done / 1e12, "matmul_tflops": rate / 1e12, "difference": apart}
    print(json.dumps({**facts, "sides": found}))


if __name__ == "__main__":
    main()
