"""Samplers: from noise to clean latents, one yielded step at a time.

A sampler only knows a denoiser and noise levels; it never sees the model, prompts or windows. It begins with latents
at the first level, or goes on after a `Step` that it yielded before. Latents are variance-preserving throughout:
√ᾱ·signal + √(1-ᾱ)·noise. Noise number 0 is the start's; the step with index i draws number i + 1.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lcm_video.samplers.levels import Level
from lcm_video.types import Denoiser, Latents, Noise


@dataclass(frozen=True)
class Step:
    """What is known after one step: enough to preview, log, cancel or resume.

    index: which step it was, from 0
    timestep: where it started
    latents: what the next step starts from; after the last step, the film
    denoised: the clean latents that it predicted
    """

    index: int
    timestep: float
    latents: Latents
    denoised: Latents


Start: TypeAlias = Latents | Step
"""Noisy latents at the first level, or the step to go on after."""

Sample: TypeAlias = Callable[[Denoiser, Start, Sequence[Level], Noise], Iterator[Step]]
"""(denoiser, start, levels, noise) → steps. There is one level more than steps: the last is where they land."""


def lcm(denoise: Denoiser, start: Start, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """Latent consistency sampling (arXiv:2310.04378, algorithm 3): predict clean, add new noise, repeat."""
    first, latents, _ = _opening(start)
    frames = range(len(latents))
    for index in range(first, len(levels) - 1):
        here, there = levels[index], levels[index + 1]
        predicted = clean(latents, denoise(latents, here.timestep, frames), here.alpha)
        # Boundary condition: at t = 0 the model must return its input. σ_data = 0.5, t scaled by 10 as distilled.
        t = 10 * here.timestep
        c_skip, c_out = 0.25 / (t**2 + 0.25), t / math.sqrt(t**2 + 0.25)
        denoised = c_skip * latents + c_out * predicted
        latents = denoised if there.alpha == 1 else noised(denoised, noise(index + 1, frames), there.alpha)
        yield Step(index, here.timestep, latents, denoised)


def ddim(denoise: Denoiser, start: Start, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """Deterministic DDIM (arXiv:2010.02502, equation 12 with σ = 0).

    It is Euler's method as well: x/√ᾱ is a straight line in √((1-ᾱ)/ᾱ) as long as the predicted noise stays the same.
    """
    first, latents, _ = _opening(start)
    frames = range(len(latents))
    for index in range(first, len(levels) - 1):
        here, there = levels[index], levels[index + 1]
        predicted = denoise(latents, here.timestep, frames)
        denoised = clean(latents, predicted, here.alpha)
        latents = noised(denoised, predicted, there.alpha)
        yield Step(index, here.timestep, latents, denoised)


def euler_a(denoise: Denoiser, start: Start, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """Euler's method that goes further down and comes back up by new noise (k-diffusion, sample_euler_ancestral)."""
    first, latents, _ = _opening(start)
    frames = range(len(latents))
    for index in range(first, len(levels) - 1):
        here, there = levels[index], levels[index + 1]
        predicted = denoise(latents, here.timestep, frames)
        denoised = clean(latents, predicted, here.alpha)
        up = there.sigma * math.sqrt(max(1 - (there.sigma / here.sigma) ** 2, 0.0))
        down = math.sqrt(max(there.sigma**2 - up**2, 0.0))
        latents = denoised + down * predicted
        if up > 0:
            latents = latents + up * noise(index + 1, frames)
        latents = math.sqrt(there.alpha) * latents
        yield Step(index, here.timestep, latents, denoised)


def dpmpp_2m(denoise: Denoiser, start: Start, levels: Sequence[Level], noise: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2): each step also looks at what the one before predicted."""
    first, latents, previous = _opening(start)
    frames = range(len(latents))
    for index in range(first, len(levels) - 1):
        here, there = levels[index], levels[index + 1]
        denoised = clean(latents, denoise(latents, here.timestep, frames), here.alpha)
        target = denoised
        if previous is not None and there.alpha < 1:
            target = denoised + _trend(levels[index - 1], here, there) * (denoised - previous)
        kept = there.sigma / here.sigma
        latents = math.sqrt(there.alpha) * (kept / math.sqrt(here.alpha) * latents + (1 - kept) * target)
        previous = denoised
        yield Step(index, here.timestep, latents, denoised)


def _trend(before: Level, here: Level, there: Level) -> float:
    """How far to go on in the direction of the last change, steps being measured in log σ."""
    past, ahead = math.log(before.sigma / here.sigma), math.log(here.sigma / there.sigma)
    return ahead / (2 * past) if past > 0 else 0.0


def clean(latents: Latents, predicted: Latents, alpha: float) -> Latents:
    """The clean latents, if ``predicted`` is the noise in ``latents``."""
    return (latents - math.sqrt(1 - alpha) * predicted) / math.sqrt(alpha)


def noised(denoised: Latents, noise: Latents, alpha: float) -> Latents:
    """Clean latents with noise, at the level ``alpha``."""
    return math.sqrt(alpha) * denoised + math.sqrt(1 - alpha) * noise


def _opening(start: Start) -> tuple[int, Latents, Latents | None]:
    """The first step's index, its latents, and what the step before predicted."""
    return (start.index + 1, start.latents, start.denoised) if isinstance(start, Step) else (0, start, None)
