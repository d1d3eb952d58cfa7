"""A shot with its loaded parts: everything that a sampler needs to draw it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lcm_video.samplers import SAMPLERS, Level, Step
from lcm_video.types import Denoiser, FrameNumbers, Latents, Noise
from lcm_video.windows import WindowPlan, windowed

Map = Callable[..., Iterable[Any]]
"""What runs windows: the built-in ``map``, a thread pool's, or one that also counts them for a progress bar."""


def unchanged(denoise: Denoiser) -> Denoiser:
    """The denoiser itself."""
    return denoise


@dataclass(frozen=True)
class Take:
    """One shot, ready to be sampled.

    frames: how many it has
    shape: a frame's latents: channels, height, width
    levels: one noise level per step, and the one that the last step lands on
    sampler: its name in SAMPLERS
    denoise: predicts the noise of one window, or of several (`Clips`)
    windows, blend, batch: which windows each step has, how they are blended, how many share a call
    begin: the latents that frames begin with, by the number of the noise that goes into them, usually 0
    noise: the noise of that number, or of a step, which is one more
    around: wraps the denoiser of blended frames, such as `denoiser.held`; it must treat every frame alone
    """

    frames: int
    shape: tuple[int, ...]
    levels: Sequence[Level]
    sampler: str
    denoise: Denoiser
    windows: WindowPlan
    begin: Callable[[int, FrameNumbers], Latents]
    noise: Noise
    blend: str = "pyramid"
    batch: int = 1
    around: Callable[[Denoiser], Denoiser] = unchanged

    def steps(self, *, map: Map = map) -> Iterator[Step]:
        """Denoises all frames step by step: the plain way, which holds every frame at once."""
        denoise = windowed(self.denoise, self.windows, blend=self.blend, map=map, batch=self.batch)
        frames = range(self.frames)
        yield from SAMPLERS[self.sampler].sample(self.around(denoise), self.begin(0, frames), self.levels, self.noise)
