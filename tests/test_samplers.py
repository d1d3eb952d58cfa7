"""What samplers and schedules promise, and diffusers as installed as a witness."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
)
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from lcm_video.errors import StoryboardError
from lcm_video.samplers import SAMPLERS, Betas, Level, Sampling, clean, noised, schedule
from lcm_video.samplers.levels import Grid, alpha_of, sigma_of

ALPHAS = Betas().alphas()
NAMES = [(sampler, name) for sampler in SAMPLERS for name in SAMPLERS[sampler].schedules]


def model(latents, t, frames):
    return 0.7 * latents + 0.2 * torch.tanh(latents + t / 500)


def seeded(shape, **kind):
    return lambda step, frames: torch.randn(shape, generator=torch.Generator().manual_seed(step), **kind)


# schedules


@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_alphas_equal_diffusers(name):
    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=name).alphas_cumprod
    np.testing.assert_allclose(Betas(schedule=name).alphas(), theirs, rtol=2e-5)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(NAMES), st.integers(1, 50), st.sampled_from([1.0, 0.999, 0.8, 0.5]), st.booleans())
def test_every_schedule_falls_from_noise_to_clean(pair, steps, strength, linear):
    sampler, name = pair
    alphas = Betas(schedule="linear" if linear else "scaled_linear").alphas()
    if (name == "diffusers" and sampler == "lcm") or name.startswith("lcm"):
        steps = min(steps, int(50 * strength))
    if not int(steps * strength + 1e-9):
        steps = 2
    levels = schedule(Sampling(sampler, steps=steps, timesteps=name), alphas, strength=strength)
    assert all(0 <= level.timestep <= 999 for level in levels)
    assert all(0 < level.alpha <= 1 for level in levels)
    assert all(one.alpha <= other.alpha for one, other in pairwise(levels))
    assert levels[-1].alpha in (1.0, alphas[0])
    assert len(levels) >= 2
    if "beta" not in name and "ddim_uniform" not in name:
        assert len(levels) - 1 in (steps, int(steps * strength + 1e-9))


@pytest.mark.parametrize(("sampler", "name"), NAMES)
def test_the_fewest_and_the_most_steps_have_a_schedule(sampler, name):
    for steps in (1, 50) if "lcm" in sampler + name else (1, 999, 1000):
        levels = SAMPLERS[sampler].schedules[name](steps, ALPHAS, 1.0)
        assert all(0 <= level.timestep <= 999 for level in levels)
        assert name in ("leading", "diffusers", "comfy_ddim_uniform") or levels[0].timestep > 990 or steps > 900


@pytest.mark.parametrize("name", ["comfy_normal", "comfy_simple"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_levels_that_repeat_do_no_harm(sampler, name):
    """More steps than LCM has timesteps: some levels come twice, between which there is nothing to do."""
    levels = SAMPLERS["lcm"].schedules[name](200, ALPHAS, 1.0)
    start = torch.ones(1, 1, 1, 1)
    *_, last = SAMPLERS[sampler].sample(model, start, levels, seeded(start.shape))
    assert last.latents.isfinite().all()


def test_listed_timesteps_are_taken_as_they_are():
    levels = schedule(Sampling(timesteps="999, 679 339.5,19"), ALPHAS)
    assert levels[0] == Level(999, ALPHAS[999])
    assert levels[3:] == (Level(19, ALPHAS[19]), Level(0, 1))
    assert ALPHAS[340] < levels[2].alpha < ALPHAS[339]


def test_strength_keeps_all_steps_for_lcm_and_the_last_ones_for_others():
    timesteps = lambda *args, **options: [level.timestep for level in schedule(Sampling(*args), ALPHAS, **options)[:-1]]
    assert timesteps("lcm", 4, strength=0.6) == [599, 459, 299, 159]
    assert timesteps("ddim", 8, strength=0.6) == [376, 251, 126, 1]
    assert timesteps("ddim", 10, strength=0.7) == timesteps("ddim", 10)[3:]
    assert timesteps("ddim", 8, strength=1.0)[0] == 876


@pytest.mark.parametrize(
    ("sampling", "strength", "says"),
    [
        (Sampling(steps=4), 0.05, "lower sampling.steps to 2, raise start.strength to 0.08"),
        (Sampling(steps=4), 0.0, "raise start.strength to 0.08"),
        (Sampling("euler", steps=4), 0.2, "raise start.strength to 0.25 or more"),
        (Sampling("euler", steps=4, timesteps="comfy_normal"), 0.0, "raise start.strength"),
        (Sampling("ddim", steps=3), 0.0, "raise start.strength to 0.34 or more"),
    ],
)
def test_a_strength_that_leaves_no_step_says_what_would(sampling, strength, says):
    with pytest.raises(StoryboardError, match=says) as refusal:
        schedule(sampling, ALPHAS, strength=strength)
    needed = float(refusal.value.remedy.split("start.strength to ")[1].split()[0])
    assert schedule(sampling, ALPHAS, strength=needed)


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"sampler": "eular"}, "sampler", "unknown sampler 'eular'\n→ did you mean 'euler'"),
        ({"timesteps": "comfy_norml"}, "timesteps", "did you mean 'comfy_normal'"),
        (
            {"timesteps": "999, 500"},
            "timesteps",
            "2 timesteps are listed, sampling.steps is 4\n→ set sampling.steps to 2",
        ),
        ({"timesteps": "1000, 600, 300, 0"}, "timesteps", "must fall, within 999 and 0"),
        ({"timesteps": "999, 300, 600, 0"}, "timesteps", "must fall"),
        ({"timesteps": "999, nan, 600, 0"}, "timesteps", "must fall"),
        ({"timesteps": "9-9"}, "timesteps", "'9-9' is not a list of timesteps"),
        ({"timesteps": "  "}, "timesteps", "0 timesteps are listed"),
        (
            {"steps": 60},
            "steps",
            "60 steps at start.strength 1: LCM knows 50 timesteps there\n→ lower sampling.steps to 50",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused_with_a_remedy(options, field, says):
    with pytest.raises(ValidationError) as refusal:
        Sampling(**options)
    (problem,) = refusal.value.errors()
    error = problem["ctx"]["error"]
    assert says in str(error).replace("\n  →", "\n→")
    assert error.field == field


@pytest.mark.parametrize("options", [{"steps": 0}, {"steps": 1001}, {"seed": -1}, {"seed": 2**63}, {"guidance": 31}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        Sampling(**options)


def test_options_may_come_as_text():
    assert Sampling(steps="6", seed="5", guidance="1.5", betas={"start": "0.001"}).betas == Betas(start=0.001)


@given(st.floats(0.03, 60))
def test_sigma_and_alpha_are_each_others_inverse(sigma):
    assert sigma_of(alpha_of(sigma)) == pytest.approx(sigma)
    grid = Grid(ALPHAS)
    if grid.sigmas[0] < sigma < grid.sigmas[-1]:
        assert grid.sigma(grid.position(sigma)) == pytest.approx(sigma)


def test_planning_loads_no_torch():
    code = "import sys, lcm_video.samplers, lcm_video.windows; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# samplers


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_perfect_denoiser_gives_the_film_itself(sampler):
    """If the model always knows which part of the latents is noise, every sampler must arrive at the rest."""
    film = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    levels = schedule(Sampling(sampler, steps=6, timesteps="trailing"), ALPHAS)
    alphas = {level.timestep: level.alpha for level in levels}

    def perfect(latents, t, frames):
        return (latents - alphas[t] ** 0.5 * film) / (1 - alphas[t]) ** 0.5

    start = noised(film, torch.randn_like(film), levels[0].alpha)
    *_, last = SAMPLERS[sampler].sample(perfect, start, levels, seeded(film.shape, dtype=film.dtype))
    torch.testing.assert_close(last.denoised, film, atol=1e-5, rtol=1e-5)
    if sampler != "ddim":  # whose last step lands on timestep 0, as diffusers'
        torch.testing.assert_close(last.latents, film, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("done", [0, 2, 5])
def test_sampling_goes_on_after_any_step_bit_for_bit(sampler, done):
    levels = schedule(Sampling(sampler, steps=7), ALPHAS)
    noise = seeded((2, 4, 2, 2))
    whole = list(SAMPLERS[sampler].sample(model, noise(0, range(2)), levels, noise))
    rest = list(SAMPLERS[sampler].sample(model, whole[done], levels, noise))
    assert [step.index for step in whole] == list(range(7))
    assert [step.index for step in rest] == list(range(done + 1, 7))
    assert torch.equal(rest[-1].latents, whole[-1].latents)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_is_drawn_by_step_and_never_after_the_last(sampler):
    drawn = []
    noise = seeded((2, 4, 2, 2))
    levels = schedule(Sampling(sampler, steps=4), ALPHAS)
    counting = lambda step, frames: drawn.append((step, list(frames))) or noise(step, frames)
    list(SAMPLERS[sampler].sample(model, noise(0, range(2)), levels, counting))
    assert drawn == ([(1, [0, 1]), (2, [0, 1]), (3, [0, 1])] if sampler in ("lcm", "euler_a") else [])


def test_clean_undoes_noised():
    film, noise = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2)
    torch.testing.assert_close(clean(noised(film, noise, 0.3), noise, 0.3), film)


# diffusers as installed

SD = {"beta_start": 0.00085, "beta_end": 0.012}


def theirs(scheduler, start, noise, monkeypatch):
    """Walks diffusers' scheduler; its draws are replaced by ours."""
    module = sys.modules[type(scheduler).__module__]
    latents, trail = start, []
    for index, t in enumerate(scheduler.timesteps):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, index=index, **__: noise(index + 1, range(len(start))))
        scaled = scheduler.scale_model_input(latents, t)
        latents = scheduler.step(model(scaled, float(t), range(len(start))), t, latents).prev_sample
        trail.append(latents)
    return trail


@pytest.mark.parametrize(
    ("steps", "strength"), [(1, 1), (2, 1), (4, 1), (7, 1), (13, 1), (50, 1), (1, 0.6), (4, 0.6), (30, 0.6)]
)
@pytest.mark.parametrize("name", ["linear", "scaled_linear"])
def test_lcm_equals_diffusers_as_installed(steps, strength, name, monkeypatch):
    oracle = LCMScheduler(**SD, beta_schedule=name, clip_sample=False)
    oracle.set_timesteps(steps, strength=strength)
    levels = schedule(Sampling(steps=steps), Betas(schedule=name).alphas(), strength=strength)
    assert [level.timestep for level in levels[:-1]] == oracle.timesteps.tolist()
    noise = seeded((3, 4, 4, 4))
    trail = theirs(oracle, noise(0, range(3)), noise, monkeypatch)
    for step, latents in zip(SAMPLERS["lcm"].sample(model, noise(0, range(3)), levels, noise), trail, strict=True):
        torch.testing.assert_close(step.latents, latents, atol=2e-4, rtol=2e-4)


OTHERS = [
    ("ddim", DDIMScheduler, "leading", {"clip_sample": False, "set_alpha_to_one": False}),
    ("euler", EulerDiscreteScheduler, "leading", {}),
    ("euler", EulerDiscreteScheduler, "linspace", {}),
    ("euler", EulerDiscreteScheduler, "trailing", {}),
    ("euler", EulerDiscreteScheduler, "karras", {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
    ("euler_a", EulerAncestralDiscreteScheduler, "leading", {}),
    ("euler_a", EulerAncestralDiscreteScheduler, "linspace", {}),
    ("euler_a", EulerAncestralDiscreteScheduler, "trailing", {}),
    ("dpmpp_2m", DPMSolverMultistepScheduler, "leading", {}),
    ("dpmpp_2m", DPMSolverMultistepScheduler, "linspace", {}),
    ("dpmpp_2m", DPMSolverMultistepScheduler, "trailing", {}),
    ("dpmpp_2m", DPMSolverMultistepScheduler, "karras", {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
]


@pytest.mark.parametrize(("sampler", "kind", "spacing", "config"), OTHERS)
@pytest.mark.parametrize("steps", [2, 5, 10, 25])
def test_other_samplers_equal_diffusers_as_installed(sampler, kind, spacing, config, steps, monkeypatch):
    oracle = kind(**SD, beta_schedule="linear", steps_offset=1, **{"timestep_spacing": spacing, **config})
    oracle.set_timesteps(steps)
    levels = schedule(Sampling(sampler, steps=steps, timesteps=spacing), Betas(schedule="linear").alphas())
    np.testing.assert_allclose([level.timestep for level in levels[:-1]], oracle.timesteps, atol=2e-3)
    scale = [level.alpha**0.5 if "euler" in sampler else 1.0 for level in levels]
    noise = seeded((3, 4, 4, 4))
    trail = theirs(oracle, noise(0, range(3)) / scale[0], noise, monkeypatch)
    walk = SAMPLERS[sampler].sample(model, noise(0, range(3)), levels, noise)
    for step, latents, factor in zip(walk, trail, scale[1:], strict=True):
        torch.testing.assert_close(step.latents, latents * factor, atol=3e-4, rtol=3e-4)


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        ("lcm", LCMScheduler),
        ("ddim", DDIMScheduler),
        ("euler", EulerDiscreteScheduler),
        ("euler_a", EulerAncestralDiscreteScheduler),
        ("dpmpp_2m", DPMSolverMultistepScheduler),
    ],
)
def test_left_out_timesteps_are_those_diffusers_would_take(sampler, kind):
    oracle = kind(**SD, steps_offset=1) if sampler != "lcm" else kind(**SD)
    oracle.set_timesteps(8)
    levels = schedule(Sampling(sampler, steps=8), ALPHAS)
    np.testing.assert_allclose([level.timestep for level in levels[:-1]], oracle.timesteps, atol=2e-3)
    assert levels == schedule(Sampling(sampler, steps=8, timesteps="diffusers"), ALPHAS)
