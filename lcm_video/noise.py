"""Noise that belongs to the frame, not to how frames are batched, windowed, resumed or spread over machines."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
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
    alike: Callable[[int], int] | None = None,
) -> Noise:
    """Unit Gaussian noise for frames of ``shape`` (channels, height, width).

    It depends on the seed (0 to 2^63-1), the shot's name, the step and the frame's number in the shot, on nothing
    else: 16 frames have the noise of the first 16 of 64, and a shot keeps its noise when others change. It is drawn
    by NumPy on the CPU in float32, so that every device, and every thread, agrees.

    ``seed`` may be two seeds for each frame (`timeline.seeds`): half-way between them lies (left + right)/√2, because
    two independent draws turned into each other by an angle from 0° to 90° are unit Gaussian all the way.

    ``alike`` gives the frame whose noise each frame begins with (see `shared`); noise of later steps is its own.
    """
    name = _words(shot)

    def draw(seed: int, step: int, frame: int, row: np.ndarray) -> None:
        # Every number of the key is below 2^32 and so one word of it: no two keys are spelled alike.
        sequence = np.random.SeedSequence(seed, spawn_key=(*name, step, frame))
        np.random.Generator(np.random.PCG64(sequence)).standard_normal(dtype=np.float32, out=row)

    def noise(step: int, frames: FrameNumbers) -> Latents:
        drawn = np.empty((len(frames), *shape), np.float32)
        other = np.empty(shape, np.float32)
        for row, frame in zip(drawn, frames, strict=True):
            left, right, mix = (seed, seed, 0.0) if isinstance(seed, int) else seed[frame]
            whose = alike(frame) if alike and step == 0 else frame
            draw(left, step, whose, row)
            if mix:
                draw(right, step, whose, other)
                row *= math.cos(mix * math.pi / 2)
                row += other * np.float32(math.sin(mix * math.pi / 2))
        return torch.from_numpy(drawn).to(device, dtype)

    return noise


def shared(
    kind: str, *, length: int, stride: int, seed: int, shot: str = "", loop: int = 0
) -> Callable[[int], int] | None:
    """Whose noise each frame begins with: the first window's, again and again (FreeNoise, arXiv:2310.15169, §3.2).

    ``repeat`` goes through the first window's ``length`` frames over and over. ``shuffle`` changes their order: each
    ``stride`` of frames, which is how far one window lies from the next, has the noise of the stride that lies a
    window's length before it, shuffled. A ``loop`` of so many frames is divided into repeats of a window's length or a
    bit more, all equal to a frame, so that the seam is like any other place. None for ``own``.

    A frame's own number, the seed and the shot's name decide, but for loops not how long a film is.
    """
    name = _words(shot)

    @lru_cache(maxsize=256)
    def order(start: int) -> list[int]:
        sequence = np.random.SeedSequence(seed, spawn_key=(*name, SHUFFLES, start))
        return np.random.Generator(np.random.PCG64(sequence)).permutation(stride).tolist()

    def moved(frame: int, first: int) -> int:
        """A frame's place in its stretch, after that which begins at ``first`` was shuffled."""
        return frame - frame % stride + order(first + frame - frame % stride)[frame % stride]

    def along(frame: int) -> int:
        while kind == "shuffle" and frame >= length:
            frame = moved(frame - length, length)
        return frame % length

    def around(frame: int) -> int:
        repeats = max(loop // length, 1)
        repeat = ((frame + 1) * repeats - 1) // loop
        first = repeat * loop // repeats
        return moved(frame - first, first) if kind == "shuffle" and repeat else frame - first

    return None if kind == "own" else around if loop else along


SHUFFLES = 2**31
"""Keeps what shuffles noise apart from noise: no sampler has so many steps."""


def _words(text: str) -> list[int]:
    """A text as two numbers below 2^32."""
    return [int(word) for word in np.frombuffer(sha256(text.encode()).digest()[:8], "<u4")]
