import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lcm_video.denoiser import guided, held, unet_denoiser
from lcm_video.noise import frame_noise
from lcm_video.samplers import SAMPLERS, Betas, Sampling, noised, schedule
from lcm_video.types import Clips

LEVELS = schedule(Sampling(steps=5), Betas().alphas())


def constant(value):
    return lambda latents, t, frames: torch.full_like(latents, value)


def recording(calls, value):
    return lambda latents, t, frames: calls.append(list(frames)) or torch.full_like(latents, value)


def pointwise(latents, t, frames):
    numbers = torch.tensor(list(frames), dtype=latents.dtype).view(-1, 1, 1, 1)
    return torch.tanh(latents) * 0.9 + 0.1 * (numbers + t / 100).sin()


def test_the_unet_gets_every_frame_its_encoding_and_the_length_of_a_clip():
    seen = []

    def unet(latents, timestep, encoding, /, *, clip):
        seen.append((encoding["tokens"].flatten().tolist(), timestep, clip))
        return latents

    denoise = unet_denoiser(unet, lambda frames: {"tokens": torch.tensor(list(frames)).float().view(-1, 1, 1)})
    denoise(torch.zeros(3, 4, 1, 1), 499.5, [4, 5, 6])
    denoise(torch.zeros(4, 4, 1, 1), 499, Clips([0, 1, 1, 2], length=2))
    assert seen == [([4, 5, 6], 499.5, 3), ([0, 1, 1, 2], 499, 2)]


def test_guidance_moves_away_from_the_negative_prompt():
    latents = torch.zeros(2, 4, 1, 1)
    assert guided(constant(3.0), constant(1.0), 2.0)(latents, 0.0, range(2)).unique().item() == 5.0
    assert guided(constant(3.0), constant(1.0), 0.0)(latents, 0.0, range(2)).unique().item() == 1.0


@pytest.mark.parametrize("scale", [1, 1.0, (1.0, 1.0, 1.0)])
def test_at_scale_1_the_negative_prompt_is_never_run(scale):
    positive = constant(3.0)
    assert guided(positive, constant(1.0), scale) is positive


def test_each_frame_has_its_own_scale():
    denoise = guided(constant(3.0), constant(1.0), (0.0, 1.0, 2.0, 7.5))
    assert denoise(torch.zeros(3, 4, 1, 1), 0.0, [3, 1, 0])[:, 0, 0, 0].tolist() == [16.0, 3.0, 1.0]


def test_the_negative_prompt_is_run_only_for_windows_that_need_it():
    calls = []
    denoise = guided(constant(3.0), recording(calls, 1.0), (1.0, 1.0, 1.0, 2.0))
    denoise(torch.zeros(3, 4, 1, 1), 0.0, [0, 1, 2])
    assert calls == []
    denoise(torch.zeros(2, 4, 1, 1), 0.0, [2, 3])
    assert calls == [[2, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_frame_of_scale_1_is_the_positive_prediction_bit_for_bit(dtype):
    positive, negative = torch.randn(3, 4, 8, 8).to(dtype), torch.randn(3, 4, 8, 8).to(dtype) * 100
    denoise = guided(lambda *_: positive, lambda *_: negative, (1.0, 1.5, 1.0))
    found = denoise(torch.zeros(3, 4, 8, 8, dtype=dtype), 0.0, range(3))
    assert torch.equal(found[::2], positive[::2])
    assert not torch.equal(found[1], positive[1])


def film(sampler, denoise, source, levels):
    """Samples from ``source`` noised to the first level."""
    noise = frame_noise(7, source.shape[1:], dtype=source.dtype)
    start = noised(source, noise(0, range(len(source))), levels[0].alpha)
    *_, last = SAMPLERS[sampler].sample(denoise, start, levels, noise)
    return last.latents


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(list(SAMPLERS)), st.integers(1, 4))
def test_when_all_frames_have_begun_nothing_is_held(sampler, frames):
    source = torch.randn(frames, 4, 2, 2)
    denoise = held(pointwise, source, [0] * frames, LEVELS)
    assert torch.equal(film(sampler, denoise, source, LEVELS), film(sampler, pointwise, source, LEVELS))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_frame_that_never_begins_stays_at_its_source(sampler):
    source = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    denoise = held(pointwise, source, [0, len(LEVELS) - 1, 0], LEVELS)
    found = film(sampler, denoise, source, LEVELS)
    torch.testing.assert_close(found[1], source[1], atol=1e-4, rtol=1e-4)
    plain = film(sampler, pointwise, source, LEVELS)
    assert torch.equal(found[::2], plain[::2])
    assert (found[1] - plain[1]).abs().max() > 0.1


@pytest.mark.parametrize("begin", [1, 2, 4])
def test_a_frame_held_until_a_step_equals_one_sampled_from_that_step_on(begin):
    source = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    found = film("lcm", held(pointwise, source, [0, begin, 0], LEVELS), source, LEVELS)

    noise = frame_noise(7, (4, 2, 2), dtype=torch.float64)
    later = lambda step, frames: noise(step + begin, frames)
    start = noised(source, later(0, range(3)), LEVELS[begin].alpha)
    *_, last = SAMPLERS["lcm"].sample(pointwise, start, LEVELS[begin:], later)
    torch.testing.assert_close(found[1], last.latents[1], atol=1e-6, rtol=1e-6)


def test_the_model_is_not_run_while_no_frame_has_begun():
    calls = []
    denoise = held(recording(calls, 0.0), torch.ones(4, 4, 1, 1), [3, 3, 1, 1], LEVELS)
    for level in LEVELS[:-1]:
        denoise(torch.zeros(2, 4, 1, 1), level.timestep, [0, 1])
    assert len(calls) == 2


def test_frames_are_held_by_their_number_not_their_place():
    source = torch.arange(4.0).view(4, 1, 1, 1)
    denoise = held(constant(0.0), source, [0, 0, 5, 0], LEVELS)
    timestep, alpha = LEVELS[2]
    found = denoise(torch.zeros(2, 1, 1, 1), timestep, [1, 2]).flatten().tolist()
    assert found == pytest.approx([0.0, -math.sqrt(alpha) * 2 / math.sqrt(1 - alpha)])
