"""What travelling costs: a film with 32 keyframes beside the same film with one prompt, on the embedded model.

    python bench/travel.py [--frames 128] [--keyframes 32] [--rounds 5]
    python bench/travel.py --full --rounds 2

Both are drawn by one process in turn, from the storyboard to the latents, so the text encoder's work for every prompt
is part of it; medians of processor time count. With ``--full`` the UNet has SD 1.5's size, the worst case there is:
32 frames of 64 × 64, where there are most tokens for each pixel. ``calls`` of the UNet and of the text encoder do not
depend on the machine. Last comes one line of JSON.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from peers import full_size

import lcm_video as lv
from lcm_video.models import Model
from lcm_video.models.unet import Unet
from lcm_video.windows import Windows

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")


def film(prompts: dict[str, lv.Keyframe], frames: int, *, full: bool) -> lv.Storyboard:
    """The storyboard of either film."""
    model = lv.load("embedded", ["prompts=x"]).model
    size = 64 if full else 128
    windows = Windows(length=32 if full else 16)
    video = lv.Video(frames=frames, width=size, height=size)
    return lv.Storyboard(prompts=prompts, video=video, model=model, windows=windows)


def loaded(model: Model, *, full: bool) -> lv.Pipeline:
    """The embedded model, or one of SD 1.5's size with random weights, whose prompts cost nothing."""
    pipeline = lv.Pipeline.load(model)
    if not full:
        return pipeline
    unet, _ = full_size(torch.float32)
    rows = torch.randn(64, 77, 768, generator=torch.Generator().manual_seed(1))
    return replace(pipeline, text=lambda texts: {"tokens": rows[: len(texts)]}, unet=Unet(unet, kernels="auto"))


def counted(pipeline: lv.Pipeline, board: lv.Storyboard) -> dict[str, int]:
    """How often a film calls the UNet, and how many prompts it encodes."""
    calls: Counter[str] = Counter()

    def text(prompts: Any) -> Any:
        calls["prompts"] += len(prompts)
        return pipeline.text(prompts)

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(pipeline.unet, name)

        def __call__(self, *given: Any, **more: Any) -> Any:
            calls["unet"] += 1
            return pipeline.unet(*given, **more)

    *_, _ = replace(pipeline, text=text, unet=Counting()).steps(board)
    return dict(calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=0, help="128, or 32 at full size")
    parser.add_argument("--keyframes", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="a UNet of SD 1.5's size")
    options = parser.parse_args()
    options.frames = options.frames or (32 if options.full else 128)
    texts = [f"a {colour} {shape}" for shape in SHAPES for colour in COLOURS][: options.keyframes]
    moments = {str(i * options.frames // len(texts)): lv.Keyframe(text) for i, text in enumerate(texts)}
    whole = {"one": {"0": lv.Keyframe(texts[0])}, "many": moments}
    films = {name: film(prompts, options.frames, full=options.full) for name, prompts in whole.items()}
    pipeline = loaded(films["one"].model, full=options.full)
    calls = {name: counted(pipeline, board) for name, board in films.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in films}
    for _ in range(options.rounds):
        for name, board in films.items():
            cpu, wall = time.process_time(), time.perf_counter()
            assert sum(1 for _ in pipeline.steps(board)) == board.sampling.steps
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    medians = {name: [statistics.median(kind) for kind in zip(*pairs, strict=True)] for name, pairs in times.items()}
    facts = {f"{name}_s": [round(seconds, 3) for seconds in pair] for name, pair in medians.items()}
    ratios = [round(many / one, 4) for many, one in zip(medians["many"], medians["one"], strict=True)]
    print(f"{len(texts)} keyframes: {ratios[0]} of the processor time, {ratios[1]} of the time by the wall")
    print(json.dumps({"bench": "travel", **vars(options), **facts, "cpu_ratio": ratios[0], "wall_ratio": ratios[1],
                      "calls": calls}))  # fmt: skip


if __name__ == "__main__":
    main()
