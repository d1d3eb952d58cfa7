"""The web UI's samplers by the names that it shows, also those with their schedule in the name: DPM++ 2M Karras."""

from typing import NamedTuple

SAMPLERS = {
    "euler": "euler",
    "euler a": "euler_a",
    "lcm": "lcm",
    "ddim": "ddim",
    "dpm++ 2m": "dpmpp_2m",
}
"""Those that exist here."""

NEAREST = {
    "heun": "euler",
    "lms": "euler",
    "dpm2": "euler",
    "dpm2 a": "euler_a",
    "dpm++ 2s a": "euler_a",
    "dpm++ sde": "euler_a",
    "dpm++ 2m sde": "dpmpp_2m",
    "dpm++ 2m sde heun": "dpmpp_2m",
    "dpm++ 3m sde": "dpmpp_2m",
    "dpm fast": "dpmpp_2m",
    "dpm adaptive": "dpmpp_2m",
    "unipc": "dpmpp_2m",
    "restart": "euler",
    "plms": "ddim",
    "ddim cfg++": "ddim",
}
"""Those that do not, and what comes nearest."""

SCHEDULES = {
    "": "a1111",
    "automatic": "a1111",
    "uniform": "a1111",
    "normal": "a1111",
    "karras": "karras",
    "sgm uniform": "comfy_sgm_uniform",
    "simple": "comfy_simple",
    "ddim": "comfy_ddim_uniform",
    "beta": "comfy_beta",
}
"""Schedule types: what ``sampling.timesteps`` calls them."""

OWN_TIMESTEPS = {"ddim": "leading"}
"""Samplers that no schedule type reaches."""


class Chosen(NamedTuple):
    """What a sampler's name means here, and why it is not the same."""

    sampler: str
    timesteps: str
    reason: str = ""


def chosen(name: str, schedule: str = "") -> Chosen | None:
    """The sampler called ``name``, with its schedule type where that is a field of its own; None if unknown."""
    name, schedule = name.strip().lower(), schedule.strip().lower()
    for kind in ("karras", "exponential"):
        if name.endswith(f" {kind}"):
            name, schedule = name.removesuffix(f" {kind}"), kind
    if schedule == "automatic" and name.startswith("dpm++ 2m"):
        schedule = "karras"  # what the UI takes for it
    sampler = SAMPLERS.get(name) or NEAREST.get(name)
    if sampler is None:
        return None
    reasons = [] if name in SAMPLERS else [f"there is no such sampler here, {sampler} is the nearest"]
    timesteps = OWN_TIMESTEPS.get(sampler) or _timesteps(sampler, schedule, reasons)
    return Chosen(sampler, timesteps, "; ".join(reasons))


def _timesteps(sampler: str, schedule: str, reasons: list[str]) -> str:
    """The schedule's name here; ``reasons`` gets why it is not the same."""
    if sampler == "lcm" and schedule == "karras":
        return "comfy_karras"
    if schedule not in SCHEDULES:
        reasons.append(f"there is no {schedule[:20]} schedule here")
        return "a1111"
    if SCHEDULES[schedule].startswith("comfy") or (schedule == "karras" and sampler == "dpmpp_2m"):
        reasons.append("its timesteps are whole numbers here, as in ComfyUI")
    return SCHEDULES[schedule]
