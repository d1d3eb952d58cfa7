"""lcm-video beside diffusers' AnimateDiffPipeline: the same weights, noise, encodings, steps and encoder, in one run.

    python bench/compare.py [--case embedded|embedded64|full128|full256|long] [--dtype float32|bfloat16]
                            [--rounds 5] [--threads 2] [--stages denoise decode film]
    python bench/compare.py --case full256 --memory

Stages apart and end to end, from the storyboard to the file; rounds alternate (ours, theirs, ours, theirs …) and
medians count. ``ratio`` is the peer's time over ours: above 1 we are faster. ``cpu`` ratios count the processor time of
all threads, which says more where the machine is shared. Where the model runs in bfloat16 there are two peers:
diffusers in bfloat16, and diffusers as it is by default, in float32. Last comes one line of JSON.

The difference is that of the frames before encoding, with the peer's temporal layers normalising each frame, as the
motion modules were trained (diffusers normalises the window as a whole); it is measured last and not timed.

With ``--memory`` each side draws the film once in a process of its own, and its peak of resident memory counts: from
loaded models to the written file, on Linux.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peers import Peer, export, full_size, peer_of

import lcm_video as lv
from lcm_video.conditioning import travel
from lcm_video.course import course_of
from lcm_video.models import Runtime
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae
from lcm_video.noise import frame_noise
from lcm_video.storyboard import shots

STEPS, FPS = 4, Fraction(8)
PROMPTS = {"0": lv.Keyframe("a red circle, blue background"), "-1": lv.Keyframe("a yellow star, purple background")}


@dataclass(frozen=True)
class Case:
    """What is rendered: the embedded model, or SD 1.5 with motion module v2 at full size with random weights."""

    frames: int
    size: int
    full: bool = False
    windows: bool = False


STAGES = ("text", "denoise", "decode", "encode", "film")

CASES = {
    "embedded": Case(16, 128),
    "embedded64": Case(8, 64),
    "full128": Case(8, 128, full=True),
    "full256": Case(8, 256, full=True),
    "long": Case(256, 128, windows=True),
}


def our_pipeline(case: Case, dtype: str) -> tuple[lv.Pipeline, lv.Storyboard]:
    """A pipeline of ours and the film that it renders."""
    runtime = Runtime(dtype=dtype)  # type: ignore[arg-type]
    board = lv.Storyboard(
        prompts=PROMPTS,
        video=lv.Video(frames=case.frames, width=case.size, height=case.size, fps=FPS),
        model=lv.load("embedded", ["prompts=x"]).model,
        runtime=runtime,
    )
    pipeline = lv.Pipeline.load(board.model, runtime)
    if not case.full:
        return pipeline, board
    unet, vae = full_size(getattr(torch, dtype))
    rows = torch.randn(2, 77, 768, generator=torch.Generator().manual_seed(1))
    parts = {"unet": Unet(unet, kernels="auto"), "vae": Vae(vae, kernels="auto")}
    return replace(pipeline, text=lambda prompts: {"tokens": rows[: len(prompts)]}, **parts), board


class Ours:
    """The stages of a film of ours."""

    def __init__(self, pipeline: lv.Pipeline, board: lv.Storyboard, path: Path) -> None:
        self.pipeline, self.board, self.path = pipeline, board, path

    def text(self) -> Any:
        return self.pipeline.text([key.text for key in PROMPTS.values()])

    def denoise(self) -> torch.Tensor:
        *_, last = self.pipeline.steps(self.board)
        return last.latents

    def decode(self, latents: torch.Tensor) -> list[np.ndarray]:
        return list(lv.decode(self.pipeline.vae, latents))

    def encode(self, frames: list[np.ndarray]) -> None:
        lv.write(iter(frames), lv.Output(path=str(self.path)), fps=FPS, frames_expected=len(frames))

    def film(self) -> None:
        lv.write(self.pipeline.frames(self.board), lv.Output(path=str(self.path)), fps=FPS)


class Theirs:
    """The stages of the same film, by diffusers; its text encoder is ours, at the same cost."""

    def __init__(self, peer: Peer, ours: Ours, case: Case, path: Path) -> None:
        self.peer, self.ours, self.case, self.path = peer, ours, case, path
        self.dtype = peer.pipe.unet.dtype
        side = case.size // 8
        self.start = frame_noise(0, (4, side, side))(0, range(case.frames)).to(self.dtype)
        (shot,) = shots(ours.board)
        self.timeline = course_of(ours.board, shot, ours.pipeline.betas).prompts.timeline
        if case.windows:
            # It wants to encode prompts itself, which `Peer` has done, and asks its motion adapter for one number.
            peer.pipe._encode_prompt_free_noise = lambda prompt_embeds, **_: (prompt_embeds, None)
            peer.pipe.motion_adapter = SimpleNamespace(config=SimpleNamespace(motion_max_seq_length=32))
            peer.pipe.enable_free_noise(context_length=16, context_stride=12)

    def text(self) -> torch.Tensor:
        encoded = travel(self.timeline, self.ours.text())(range(self.case.frames))["tokens"]
        return encoded.to(self.dtype)

    def denoise(self) -> torch.Tensor:
        return self.peer.denoise(self.text(), self.start, steps=STEPS)

    def decode(self, latents: torch.Tensor) -> list[np.ndarray]:
        return list(self.peer.decode(latents))

    def encode(self, frames: list[np.ndarray]) -> None:
        export(frames, self.path, fps=FPS)

    def film(self) -> None:
        self.encode(self.decode(self.denoise()))


def compared(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Median seconds of each, by the wall and by processor time, and the ratios to ``ours``."""
    for run in runs.values():
        run()
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            took[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: [statistics.median(kind) for kind in zip(*times, strict=True)] for name, times in took.items()}
    found: dict[str, Any] = {f"{name}_s": round(wall, 4) for name, (wall, _) in medians.items()}
    for name, (wall, cpu) in medians.items():
        if name != "ours":
            found[f"ratio_{name}"] = round(wall / medians["ours"][0], 3)
            found[f"ratio_{name}_cpu"] = round(cpu / medians["ours"][1], 3)
    return found


def differing(ours: Ours, reference: Theirs) -> dict[str, float]:
    """How far our frames are from the reference's: levels of 255 at most, share of bytes that differ, PSNR in dB."""
    mine = np.stack(list(ours.pipeline.frames(ours.board))).astype(int)
    theirs = np.stack(reference.decode(reference.denoise())).astype(int)
    apart = np.abs(mine - theirs)
    psnr = 10 * np.log10(255**2 / max(float((apart**2).mean()), 1e-9))
    return {"most": int(apart.max()), "share": round(float((apart > 0).mean()), 6), "psnr_db": round(float(psnr), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, default="embedded")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0 leaves them as they are")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--memory", action="store_true", help="peaks of memory instead of times")
    parser.add_argument("--only", choices=["ours", "diffusers"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    case = CASES[options.case]
    if options.only:
        print(peak_of(options.only, case, options.dtype))
        return
    if options.memory:
        print(json.dumps({"case": options.case, "dtype": options.dtype, **peaks(sys.argv[1:])}))
        return
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        pipeline, board = our_pipeline(case, options.dtype)
        # Peers first: they copy the weights, which our own fast path may take over.
        peers = {"diffusers": peer_of(pipeline.unet.model, pipeline.vae.model, pipeline.betas)}
        if options.dtype != "float32":
            plain, _ = our_pipeline(case, "float32")
            peers["diffusers_float32"] = peer_of(plain.unet.model, plain.vae.model, plain.betas)
            del plain
        ours = Ours(pipeline, board, Path(folder) / "ours.mp4")
        theirs = {name: Theirs(peer, ours, case, Path(folder) / f"{name}.mp4") for name, peer in peers.items()}
        sides: dict[str, Ours | Theirs] = {"ours": ours, **theirs}
        facts: dict[str, Any] = {**vars(options), "frames": case.frames, "size": case.size, "steps": STEPS}
        facts["load_average"] = round(os.getloadavg()[0], 2)
        stages = measured(sides, options.rounds, options.stages)
        if not case.windows:
            reference = theirs[[*theirs][-1]]
            reference.peer.normalise_each_frame()
            facts["difference"] = differing(ours, reference)
    for name, stage in stages.items():
        print(f"{name:10s}" + "  ".join(f"{key} {value}" for key, value in stage.items()))
    print(json.dumps({**facts, "stages": stages}))


def measured(sides: dict[str, Ours | Theirs], rounds: int, stages: Sequence[str]) -> dict[str, Any]:
    """The stages, side by side."""
    latents = {name: side.denoise() for name, side in sides.items()} if {"decode", "encode"} & {*stages} else {}
    frames = {name: sides[name].decode(these) for name, these in latents.items()}

    def run(stage: str, name: str) -> Any:
        given = {"decode": latents, "encode": frames}.get(stage)
        return getattr(sides[name], stage)(*([given[name]] if given else []))

    return {stage: compared({name: partial(run, stage, name) for name in sides}, rounds) for stage in stages}


def peak_of(side: str, case: Case, dtype: str) -> float:
    """The peak of resident memory in MB while one side draws its film, once."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        pipeline, board = our_pipeline(case, dtype)
        film: Ours | Theirs = Ours(pipeline, board, Path(folder) / "film.mp4")
        if side == "diffusers":
            film = Theirs(peer_of(pipeline.unet.model, pipeline.vae.model, pipeline.betas), film, case, film.path)
            nothing: Any = torch.nn.Module()
            film.ours.pipeline = replace(pipeline, unet=nothing, vae=nothing)
        del pipeline
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # begins to count anew
        film.film()
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


def peaks(arguments: list[str]) -> dict[str, float]:
    """Both sides' peaks, each in a process of its own."""
    found = {}
    for side in ("ours", "diffusers"):
        command = [sys.executable, __file__, *arguments, "--only", side]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[f"{side}_mb"] = float(done.stdout.splitlines()[-1])
    return {**found, "ratio": round(found["diffusers_mb"] / found["ours_mb"], 3)}


if __name__ == "__main__":
    main()
