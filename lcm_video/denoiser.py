"""The denoiser, a function from noisy latents to predicted noise, and functions that wrap one into another."""

import math
from collections.abc import Sequence

from lcm_video.types import Conditioning, Denoiser, FrameNumbers, Latents, Unet, clip_length


def unet_denoiser(unet: Unet, conditioning: Conditioning) -> Denoiser:
    """One UNet call over consecutive frames, each with its own encoding."""

    def denoise(latents: Latents, timestep: float, frames: FrameNumbers) -> Latents:
        return unet(latents, timestep, conditioning(frames), clip=clip_length(frames))

    return denoise


def by_step(denoisers: Sequence[Denoiser], levels: Sequence[tuple[float, float]]) -> Denoiser:
    """One denoiser for each step of a sampler's (timestep, ᾱ) ``levels``; a single one serves them all.

    Steps are told apart by their timestep: between two levels it is the step that began before.
    """
    if len(denoisers) == 1:
        return denoisers[0]
    begins = [level[0] for level in levels[:-1]]

    def denoise(latents: Latents, timestep: float, frames: FrameNumbers) -> Latents:
        begun = sum(begin >= timestep for begin in begins)
        return denoisers[max(begun - 1, 0)](latents, timestep, frames)

    return denoise


def guided(positive: Denoiser, negative: Denoiser, scale: float | Sequence[float]) -> Denoiser:
    """Classifier-free guidance (arXiv:2207.12598) by one scale, or one for each frame number.

    A frame of scale 1 is the positive prediction, bit for bit; where all frames of a call are, the negative is not run.
    """
    if all(value == 1 for value in ([scale] if isinstance(scale, int | float) else scale)):
        return positive

    def denoise(latents: Latents, timestep: float, frames: FrameNumbers) -> Latents:
        scales = [scale if isinstance(scale, int | float) else scale[frame] for frame in frames]
        toward = positive(latents, timestep, frames)
        if all(value == 1 for value in scales):
            return toward
        away = negative(latents, timestep, frames)
        by_frame = toward.new_tensor(scales).view(-1, 1, 1, 1)
        return toward.where(by_frame == 1, away + by_frame * (toward - away))

    return denoise


def held(denoise: Denoiser, source: Latents, begins: Sequence[int], levels: Sequence[tuple[float, float]]) -> Denoiser:
    """Keeps every frame at its source until its own first step: strength that varies over the film.

    ``begins`` gives that step by frame number, ``source`` clean latents by frame number, ``levels`` the sampler's
    (timestep, ᾱ). Until then the noise that is predicted is what lies between the latents and the source, so that any
    sampler arrives at the source, noised to the present level. A frame that begins after the last step stays as it is.
    """
    alphas = dict(reversed(levels[:-1]))
    # Steps are told apart by their timestep: where several share one, a frame that begins at any of them is free.
    first = [levels[step][0] if step < len(levels) - 1 else -1.0 for step in begins]

    def denoise_begun(latents: Latents, timestep: float, frames: FrameNumbers) -> Latents:
        waits = [timestep > first[frame] for frame in frames]
        if not any(waits):
            return denoise(latents, timestep, frames)
        alpha = alphas[timestep]
        kept = source[list(frames)].to(latents)
        implied = (latents - math.sqrt(alpha) * kept) / math.sqrt(1 - alpha)
        if all(waits):
            return implied
        mask = latents.new_tensor(waits).view(-1, 1, 1, 1) == 1
        return implied.where(mask, denoise(latents, timestep, frames))

    return denoise_begun
