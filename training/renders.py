"""Rendering through lcm-video itself, for measuring: exported files in, pictures and clips out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lcm_video.models import Lora, Model, Runtime
from lcm_video.pipeline import Pipeline
from lcm_video.samplers import Sampling
from lcm_video.storyboard import Shot, Storyboard, Video
from lcm_video.timeline import Keyframe
from lcm_video.windows import Windows
from training.drawing import FRAMES
from training.export import CHECKPOINT, LCM, MOTION, NEGATIVE

LCM_STEPS = Sampling(sampler="lcm", steps=4, guidance=1)
ALONE = Windows(length=16, overlap=0, schedule="static")


def load(folder: Path, *, lcm: bool = False, motion: bool = False, negative: bool = False) -> Pipeline:
    """The exported model, with or without its LCM-LoRA, motion module and negative embedding."""
    model = Model(
        checkpoint=str(folder / CHECKPOINT),
        motion=MOTION.stem if motion else "",
        loras={"lcm": Lora(str(folder / LCM))} if lcm else {},
        embeddings=(str(folder / NEGATIVE),) if negative else (),
    )
    return Pipeline.load(model, Runtime(folders=(str((folder / MOTION).parent),), device="cpu"))


def stills(pipeline: Pipeline, prompts: Sequence[str], sampling: Sampling = LCM_STEPS, *, negative: str = "") -> Tensor:
    """A picture for each prompt, each from its own noise: without a motion module a film's frames are drawn alone."""
    board = Storyboard(
        prompts={str(frame): Keyframe(prompt) for frame, prompt in enumerate(prompts)},
        video=Video(frames=len(prompts), width=128, height=128),
        sampling=sampling,
        windows=ALONE,
        negative=negative,
    )
    return rendered(pipeline, board)


def clips(
    pipeline: Pipeline, scripts: Sequence[dict[str, str]], seeds: Sequence[int], sampling: Sampling = LCM_STEPS
) -> Tensor:
    """A clip of 16 frames for each script of prompts by frame: (clips, 16, 3, 128, 128)."""
    shots = {
        f"clip {index}": Shot(prompts={at: Keyframe(text) for at, text in script.items()}, frames=FRAMES, seed=seed)
        for index, (script, seed) in enumerate(zip(scripts, seeds, strict=True))
    }
    board = Storyboard(shots=shots, video=Video(width=128, height=128), sampling=sampling)
    return rendered(pipeline, board).unflatten(0, (len(scripts), FRAMES))


def rendered(pipeline: Pipeline, board: Storyboard) -> Tensor:
    """A film's frames (frames, 3, height, width) in -1..1."""
    frames = torch.stack([torch.as_tensor(frame) for frame in pipeline.frames(board)])
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1
