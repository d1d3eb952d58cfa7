"""Noise that belongs to the frame, not to how frames are batched, windowed, resumed or spread over machines."""

import math
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import torch

from lcm_video.timeline import Blend
from lcm_video.types import FrameNumbers, Latents, Noise


def frame_noise(
    seed: int | Sequence[Blend],
    shape: Sequence[int],
    *,
    shot: str = "",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Noise:
    """Unit Gaussian noise for frames of ``shape`` (channels, height, width).

    It depends on the seed (0 to 2^63-1), the shot's name, the step and the frame's number in the shot, on nothing
    else: 16 frames have the noise of the first 16 of 64, and a shot keeps its noise when others change. It is drawn
    by NumPy on the CPU in float32, so that every device, and every thread, agrees.

    ``seed`` may be two seeds for each frame (`timeline.seeds`): half-way between them lies (left + right)/√2, because
    two independent draws turned into each other by an angle from 0° to 90° are unit Gaussian all the way.
    """
    name = [int(word) for word in np.frombuffer(sha256(shot.encode()).digest()[:8], "<u4")]

    def draw(seed: int, step: int, frame: int, row: np.ndarray) -> None:
        # Every number of the key is below 2^32 and so one word of it: no two keys are spelled alike.
        sequence = np.random.SeedSequence(seed, spawn_key=(*name, step, frame))
        np.random.Generator(np.random.PCG64(sequence)).standard_normal(dtype=np.float32, out=row)

    def noise(step: int, frames: FrameNumbers) -> Latents:
        drawn = np.empty((len(frames), *shape), np.float32)
        other = np.empty(shape, np.float32)
        for row, frame in zip(drawn, frames, strict=True):
            left, right, mix = (seed, seed, 0.0) if isinstance(seed, int) else seed[frame]
            draw(left, step, frame, row)
            if mix:
                draw(right, step, frame, other)
                row *= math.cos(mix * math.pi / 2)
                row += other * np.float32(math.sin(mix * math.pi / 2))
        return torch.from_numpy(drawn).to(device, dtype)

    return noise
