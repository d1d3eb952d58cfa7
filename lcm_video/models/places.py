"""Where model files are looked for: the user's folders, and the trees of other tools. Loads nothing."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lcm_video.resources import expanded, shipped

VARIABLE = "LCM_VIDEO_MODELS"
"""The environment variable with more folders, separated as in PATH."""

TREES = {
    "ComfyUI": (
        *("checkpoints", "unet", "diffusion_models", "loras", "vae", "vae_approx", "embeddings"),
        *("animatediff_models", "animatediff_motion_lora"),
    ),
    "A1111": ("Stable-diffusion", "Lora", "LyCORIS", "VAE", "VAE-approx"),
}
"""Folders inside the models/ of other tools, by tool."""

BESIDE = {
    "ComfyUI": (
        "custom_nodes/ComfyUI-AnimateDiff-Evolved/models",
        "custom_nodes/ComfyUI-AnimateDiff-Evolved/motion_lora",
    ),
    "A1111": ("embeddings", "extensions/sd-webui-animatediff/model"),
}
"""Folders of the tools outside their models/."""

WORK = "LCM_VIDEO_WORK"
"""The environment variable with the folder of kept work."""

EXTRA = "extra_model_paths.yaml"
"""ComfyUI's list of more folders: name of a tool → base_path, and folders by kind."""


def config_folder() -> Path:
    """The user's folder of settings; its file ``models.txt`` lists model folders, one a line."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lcm-video"


def cache_folder() -> Path:
    """The user's folder of what can be worked out again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lcm-video"


def work_folder() -> Path:
    """Where renders keep their work: $LCM_VIDEO_WORK, else a folder in the user's cache."""
    named = os.environ.get(WORK)
    return expanded(named) if named else cache_folder() / "work"


def models_folder() -> Path:
    """Where downloads go: the first folder of $LCM_VIDEO_MODELS, else ./models."""
    return next(iter(_variable()), Path("models"))


def searched(folders: Sequence[str], *, motion: bool = False) -> Iterator[Path]:
    """The model folders that exist, the user's first; with ``motion``, of the usual ones those of motion modules first.

    Each is looked into as it is, and as the tree of another tool if it looks like one.
    """
    usual = [shipped("configs") / "embedded", shipped("motion_modules"), Path("models"), Path("motion_modules")]
    if motion:
        usual.sort(key=lambda place: place.name != "motion_modules")
    seen = set()
    for place in [*(expanded(folder) for folder in folders), *_variable(), *_configured(), *usual]:
        for inside in (place, *tree(place)):
            if (known := inside.absolute()) not in seen and inside.is_dir():
                seen.add(known)
                yield inside


def _variable() -> list[Path]:
    return [expanded(place) for place in os.environ.get(VARIABLE, "").split(os.pathsep) if place]


def _configured() -> list[Path]:
    listed = config_folder() / "models.txt"
    if not listed.is_file():
        return []
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines()
    return [expanded(line.strip()) for line in lines if line.strip() and not line.startswith("#")]


def tree(root: Path) -> list[Path]:
    """The model folders in ``root`` if it is another tool's folder, or that folder's models/; else none."""
    found = []
    for base, models in ((root, root / "models"), (root.parent, root)):
        for tool, names in TREES.items():
            here = [models / name for name in names if (models / name).is_dir()]
            if here:
                found += [*here, *(base / name for name in BESIDE[tool] if (base / name).is_dir())]
        if (extra := base / EXTRA).is_file():
            found += _extra(extra)
    return found


@cache
def _extra(path: Path) -> list[Path]:
    """The folders that ComfyUI's extra_model_paths.yaml names; what is odd in it is left out."""
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return []
    found = []
    for tool in told.values() if isinstance(told, dict) else ():
        if isinstance(tool, dict):
            base = expanded(str(tool.get("base_path", path.parent)))
            found += [base / line for key, value in tool.items() if key != "base_path" for line in _lines(value)]
    return found


def _lines(value: Any) -> list[str]:
    return [line.strip() for line in value.splitlines() if line.strip()] if isinstance(value, str) else []
