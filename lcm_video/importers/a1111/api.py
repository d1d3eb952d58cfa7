"""Requests to the web UI's API, as scripts keep them: the same settings under other names."""

import re
from collections.abc import Mapping
from typing import Any

from lcm_video.importers.a1111.infotext import Infotext

NAMES = {
    "sampler_name": "Sampler",
    "sampler_index": "Sampler",
    "scheduler": "Schedule type",
    "steps": "Steps",
    "cfg_scale": "CFG scale",
    "seed": "Seed",
    "denoising_strength": "Denoising strength",
    "restore_faces": "Face restoration",
    "tiling": "Tiling",
    "eta": "Eta",
    "enable_hr": "Hires fix",
    "subseed": "Variation seed",
    "subseed_strength": "Variation seed strength",
    "sd_model_checkpoint": "Model",
    "sd_vae": "VAE",
    "CLIP_stop_at_last_layers": "Clip skip",
}
"""The API's names of settings, and the UI's."""

EXTENSION = "animatediff"

HASH = re.compile(r" \[[0-9a-f]{4,64}\]$")


def is_request(data: Any) -> bool:
    """Whether values are a request: a prompt, and settings by the API's names."""
    if not isinstance(data, Mapping) or not isinstance(data.get("prompt"), str):
        return False
    return "alwayson_scripts" in data or {"cfg_scale", "sampler_name"} <= data.keys()


def requested(data: Mapping[str, Any]) -> Infotext:
    """What a request says, as if the UI had written it into a picture."""
    overrides = data.get("override_settings")
    asked = {**data, **(overrides if isinstance(overrides, Mapping) else {})}
    settings = {NAMES.get(name, str(name)): value for name, value in asked.items() if name not in DONE}
    settings = {name: _plain(value) for name, value in settings.items() if not _is_absent(name, value)}
    if "width" in data and "height" in data:
        settings["Size"] = f"{data['width']}x{data['height']}"
    negative = data.get("negative_prompt")
    return Infotext(data["prompt"], negative if isinstance(negative, str) else "", settings, _extension(data))


DONE = {
    "prompt", "negative_prompt", "width", "height", "alwayson_scripts", "override_settings", "batch_size", "n_iter",
    "override_settings_restore_afterwards", "save_images", "send_images", "do_not_save_samples", "do_not_save_grid",
}  # fmt: skip
"""Fields that are read elsewhere, or say nothing about the picture."""


def _is_absent(name: str, value: Any) -> bool:
    """Whether a setting is the API's way to say nothing."""
    return value in (None, "", False) or (name.startswith("Variation seed") and value in (-1, 0))


def _plain(value: Any) -> Any:
    """A model's name without the hash that the UI writes behind it."""
    return HASH.sub("", value) if isinstance(value, str) else value


def _extension(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What is asked of AnimateDiff, if it is on."""
    scripts = data.get("alwayson_scripts")
    scripts = scripts if isinstance(scripts, Mapping) else {}
    script = next((scripts[name] for name in scripts if str(name).lower() == EXTENSION), None)
    arguments = script.get("args") if isinstance(script, Mapping) else None
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    return first if isinstance(first, Mapping) and first.get("enable", True) else None
