"""Schedules and samplers against what other tools computed (tests/golden/sampling)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lcm_video.samplers import SAMPLERS, Betas, Level, Sampling, schedule
from lcm_video.samplers.comfy import COMFY
from lcm_video.samplers.levels import Grid, alpha_of, landing
from lcm_video.samplers.schedules import karras, lcm, leading, sliced, spaced, stretched

GOLDEN = Path(__file__).parent / "golden" / "sampling"


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text()), np.load(GOLDEN / f"{name}.npz")


def cases(name, *, leaving_out=lambda case: False):
    """A file's cases as test parameters, without those that are defects of the peer or not offered here."""
    found = [case for case in golden(name)[0]["cases"] if not leaving_out(case)]
    return pytest.mark.parametrize("case", found, ids=lambda case: case["case"])


def frames_first(array):
    """Their [1, channels, frames, height, width] as our frames."""
    return torch.from_numpy(array.astype(np.float64)).squeeze(-5).transpose(-4, -3).contiguous()


def fake_model(case, pattern):
    """The golden files' model; one that predicts v is read as one that predicts noise."""
    p = case["model"]

    def denoise(latents, timestep, frames):
        out = p["a"] * latents + p["b"] * torch.tanh(latents) + p["d"] * timestep / 1000
        return out + p["e"] * pattern * math.cos(timestep / 200)

    return denoise


def from_v(denoise, alphas):
    return lambda x, t, frames: alphas[int(t)] ** 0.5 * denoise(x, t, frames) + (1 - alphas[int(t)]) ** 0.5 * x


def drawn(arrays, case):
    noises = frames_first(arrays[f"{case['case']}_step_noise"]) if case["noise_draws_used"] else []
    return lambda step, frames: noises[step - 1]


def betas_of(case):
    return Betas(schedule=case["beta_schedule"])


def assert_close(ours, theirs, *, tolerance):
    theirs = theirs if isinstance(theirs, torch.Tensor) else frames_first(theirs)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * max(1.0, theirs.abs().max().item())


def lcm_sampling(case):
    """How a storyboard asks for this case, and the schedule's strength."""
    steps, strength = case.get("num_inference_steps"), case["strength"]
    if case["partial_start"].startswith("set_timesteps(") or case["partial_start"] == "slice_get_timesteps":
        full = case["timesteps"] if steps is None else [t.timestep for t in lcm(steps, Betas().alphas())[:-1]]
        return Sampling(steps=len(full), timesteps=", ".join(map(str, full))), strength
    return Sampling(steps=steps), strength


@cases("lcm_diffusers", leaving_out=lambda case: case.get("note"))  # it adds noise after the last step
def test_lcm_equals_diffusers_lcm_scheduler(case):
    arrays, name = golden("lcm_diffusers")[1], case["case"]
    alphas = betas_of(case).alphas()
    np.testing.assert_allclose(alphas, arrays[f"alphas_cumprod_{case['beta_schedule']}"], rtol=1e-4)
    if case.get("original_inference_steps", 50) == 50:
        sampling, strength = lcm_sampling(case)
        levels = schedule(sampling, alphas, strength=strength)
    else:
        levels = lcm(case["num_inference_steps"], alphas, case["strength"], points=case["original_inference_steps"])
    assert [level.timestep for level in levels[:-1]] == case["timesteps"]
    denoise = fake_model(case, frames_first(arrays[f"{name}_P"]))
    if case["prediction_type"] == "v_prediction":
        denoise = from_v(denoise, alphas)
    x, denoised = frames_first(arrays[f"{name}_x"]), frames_first(arrays[f"{name}_denoised"])
    steps = list(SAMPLERS["lcm"].sample(denoise, x[0], levels, drawn(arrays, case)))
    assert len(steps) == len(case["timesteps"]) == len(x) - 1
    for step, theirs, clean in zip(steps, x[1:], denoised, strict=True):
        assert_close(step.latents, theirs, tolerance=2e-5)
        assert_close(step.denoised, clean, tolerance=2e-5)


def test_lcm_timesteps_equal_diffusers_for_all_counts():
    for key, theirs in golden("lcm_diffusers")[0]["timesteps_table"].items():
        points, steps = map(int, key.split("/"))
        assert [level.timestep for level in lcm(steps, Betas().alphas(), points=points)[:-1]] == theirs, key


@cases("lcm_original")
def test_lcm_equals_the_lcm_authors_scheduler(case):
    arrays, name = golden("lcm_original")[1], case["case"]
    sampling = Sampling(steps=case["num_inference_steps"], timesteps="lcm_authors")
    levels = schedule(sampling, betas_of(case).alphas(), strength=case["strength"])
    assert [level.timestep for level in levels[:-1]] == case["timesteps"]
    denoise = fake_model(case, frames_first(arrays[f"{name}_P"]))
    *_, last = SAMPLERS["lcm"].sample(denoise, frames_first(arrays[f"{name}_x"])[0], levels, drawn(arrays, case))
    assert_close(last.latents, frames_first(arrays[f"{name}_denoised"])[-1], tolerance=2e-5)


@cases("lcm_a1111")
def test_lcm_equals_a1111(case):
    arrays = golden("lcm_a1111")[1]
    levels = schedule(Sampling(steps=case["steps"], timesteps="a1111"), betas_of(case).alphas())
    assert [level.timestep for level in levels[:-1]] == case["timesteps_seen_by_model"]
    np.testing.assert_allclose([level.sigma for level in levels], case["sigmas"], rtol=1e-5)
    compare_in_sigma_space("lcm", case, arrays, levels)


def compare_in_sigma_space(sampler, case, arrays, levels):
    """Walks beside a k-diffusion sampler, whose latents are ours divided by √ᾱ."""
    name = case["case"]
    before = frames_first(arrays[f"{name}_x_before_step"])
    start = before[0]
    denoise = fake_model(case, frames_first(arrays[f"{name}_P"]))
    steps = list(SAMPLERS[sampler].sample(denoise, start * levels[0].alpha ** 0.5, levels, drawn(arrays, case)))
    for step, theirs in zip(steps, frames_first(arrays[f"{name}_denoised"]), strict=True):
        assert_close(step.denoised, theirs, tolerance=2e-5)
    for step, level, theirs in zip(steps, levels[1:-1], before[1:], strict=False):
        assert_close(step.latents / level.alpha**0.5, theirs, tolerance=2e-5)
    assert_close(steps[-1].latents, frames_first(arrays[f"{name}_final"]), tolerance=2e-5)


OURS = {"euler_ancestral": "euler_a"}


def without_boundary(case):
    """Without ModelSamplingDiscrete lcm, ComfyUI leaves out LCM's boundary condition, which counts at t = 0."""
    at_zero = case["timesteps_seen_by_model"][-1] == 0
    return case["sampler"] == "lcm" and "lcm" not in case["model_sampling"] and at_zero


@cases("comfy_traj", leaving_out=without_boundary)
def test_samplers_equal_comfyui(case):
    arrays = golden("comfy_traj")[1]
    sigmas = arrays[f"{case['case']}_sigmas"].astype(np.float64)
    levels = tuple(
        Level(t, alpha_of(s)) for t, s in zip([*case["timesteps_seen_by_model"], 0.0], sigmas.tolist(), strict=True)
    )
    compare_in_sigma_space(OURS.get(case["sampler"], case["sampler"]), case, arrays, levels)


TABLES = {  # where a table of σ at LCM's 50 timesteps is taken from
    "comfy_lcm(ModelSamplingDiscrete_lcm)": "comfy_eps",
    "ade:lcm": "comfy_eps",
    "ade:lcm[100_ots]": "comfy_eps",
    "ade:lcm_avg(sqrt_linear,linear)": "ade:avg(sqrt_linear,linear)",
    "ade:lcm_>>_sqrt_linear": "ade:sqrt_linear_(AnimateDiff)",
}


def comfy_tables():
    meta, arrays = golden("comfy_sigmas")
    for key in arrays.files:
        table = key.removeprefix("sigmas__")
        if np.isfinite(arrays[key]).all() and table != "ade:sqrt":  # its σ falls below float32's resolution
            alphas = [alpha_of(s) for s in arrays[f"sigmas__{TABLES.get(table, table)}"].astype(np.float64).tolist()]
            yield pytest.param(alphas, meta[table], arrays[key], id=table)


def assert_levels(levels, theirs, grid):
    """σ within 1e-5, timesteps exact but where float32 decides a tie: exactly half-way we take the lower one."""
    np.testing.assert_allclose([level.sigma for level in levels], theirs["sigmas"], rtol=1e-5, atol=1e-9)
    for level, timestep in zip(levels[:-1], theirs["timesteps"], strict=True):
        if abs(grid.position(level.sigma) % 1 - 0.5) < 1e-5:
            assert level.timestep in (timestep, timestep - grid.skip)
        else:
            assert level.timestep == timestep


@pytest.mark.parametrize(("alphas", "theirs", "sigmas"), [*comfy_tables()])
def test_schedules_equal_comfyui(alphas, theirs, sigmas):
    points = theirs["original_timesteps"] or 1000
    grid = Grid(alphas, points=points)
    np.testing.assert_allclose(grid.sigmas, sigmas, rtol=1e-5)
    compared = 0
    for key, expected in theirs["schedules"].items():
        name, steps = key.split("/")
        if spacing := COMFY.get(f"comfy_{name}"):
            assert_levels(spaced(spacing, int(steps), alphas, points=points), expected, grid)
            compared += 1
    assert compared == 36
    for key, expected in theirs["ksampler_denoise"].items():
        name, steps, denoise = key.split("/")
        full = stretched(lambda n, a, name=name: spaced(COMFY[f"comfy_{name}"], n, a, points=points))
        assert_levels(full(int(steps), alphas, float(denoise.removeprefix("denoise="))), expected, grid)


def test_comfyui_names_lead_to_comfyui_schedules():
    alphas = Betas().alphas()
    for sampler, table in (
        ("lcm", "comfy_lcm(ModelSamplingDiscrete_lcm)"),
        ("euler", "comfy_eps"),
        ("ddim", "comfy_eps"),
    ):
        theirs = golden("comfy_sigmas")[0][table]["schedules"]
        for name in ("normal", "simple", "ddim_uniform", "karras", "beta"):
            levels = schedule(Sampling(sampler, steps=6, timesteps=f"comfy_{name}"), alphas)
            assert [level.timestep for level in levels[:-1]] == theirs[f"{name}/6"]["timesteps"]


SAMPLER_OF = {
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "DDIMScheduler": "ddim",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
}


def other_levels(case):
    """Our schedule for one of diffusers' configurations."""
    config, sampler = case["config"], SAMPLER_OF[case["scheduler"]]
    name = "karras" if config.get("use_karras_sigmas") else config["timestep_spacing"]
    sampling = Sampling(sampler, steps=case["num_inference_steps"], timesteps=name)
    return schedule(sampling, Betas(schedule=config["beta_schedule"]).alphas())


def not_offered(case):
    """SDE solvers, and Karras' σ within the range of ``leading`` (tested on their own below)."""
    config = case["config"]
    euler_karras = case["scheduler"] == "EulerDiscreteScheduler" and config.get("use_karras_sigmas")
    return euler_karras or config.get("algorithm_type") == "sde-dpmsolver++"


def astray(case):
    """A defect: diffusers' DDIM lands on t - 1000//steps, even where the next step starts elsewhere."""
    landings = [t - 1000 // case["num_inference_steps"] for t in case["timesteps"]][:-1]
    return case["scheduler"] == "DDIMScheduler" and landings != case["timesteps"][1:]


@cases("other_diffusers", leaving_out=not_offered)
def test_other_schedules_equal_diffusers(case):
    levels = other_levels(case)
    np.testing.assert_allclose([level.timestep for level in levels[:-1]], case["timesteps"], atol=2e-4)
    if case["sigmas"]:
        np.testing.assert_allclose([level.sigma for level in levels], case["sigmas"], rtol=2e-5)


@cases("other_diffusers", leaving_out=lambda case: not_offered(case) or astray(case))
def test_other_samplers_equal_diffusers(case):
    arrays, name = golden("other_diffusers")[1], case["case"]
    levels = other_levels(case)
    x = frames_first(arrays[f"{name}_x"])
    in_sigma_space = case["scheduler"].startswith("Euler")
    scale = [level.alpha**0.5 if in_sigma_space else 1.0 for level in levels]
    denoise = fake_model(case, frames_first(arrays[f"{name}_P"]))
    sampler = SAMPLERS[SAMPLER_OF[case["scheduler"]]]
    steps = list(sampler.sample(denoise, x[0] * scale[0], levels, drawn(arrays, case)))
    for step, theirs, factor in zip(steps, x[1:], scale[1:], strict=True):
        assert_close(step.latents / factor, theirs, tolerance=1e-4)


@cases("other_diffusers", leaving_out=lambda case: not not_offered(case) or case["scheduler"][:5] != "Euler")
def test_fractional_karras_timesteps_equal_diffusers(case):
    """diffusers' Euler puts Karras' σ between the ends of the other spacing, and tells the model fractions."""
    grid = Grid(Betas(schedule=case["config"]["beta_schedule"]).alphas())
    levels = landing(grid.level(sigma, whole=False) for sigma in case["sigmas"][:-1])
    np.testing.assert_allclose([level.timestep for level in levels[:-1]], case["timesteps"], atol=2e-3)
    arrays, name = golden("other_diffusers")[1], case["case"]
    x = frames_first(arrays[f"{name}_x"])
    denoise = fake_model(case, frames_first(arrays[f"{name}_P"]))
    steps = list(SAMPLERS["euler"].sample(denoise, x[0] * levels[0].alpha ** 0.5, levels, drawn(arrays, case)))
    assert_close(steps[-1].latents, x[-1], tolerance=1e-4)


def test_slices_run_the_end_of_the_full_schedule():
    alphas = Betas().alphas()
    assert sliced(leading)(8, alphas, 0.5) == leading(8, alphas)[4:]
    assert sliced(karras)(8, alphas, 1.0) == karras(8, alphas)
