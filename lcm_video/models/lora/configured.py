"""What peft writes down beside its weights: alpha, which kohya's files hold as a tensor of each layer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lcm_video.models.lora.spelling import TEXT, TEXT_2, UNET

PARTS = {UNET: "unet.", TEXT: "text_encoder.", TEXT_2: "text_encoder_2."}
KEYS = ("lora_adapter_metadata", "adapter_config")
"""Metadata that hold peft's configuration as JSON: diffusers' key, and that of an adapter_config.json beside a file."""


def configuration(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """``metadata`` of a LoRA's file, with peft's adapter_config.json from beside an ``adapter_model`` file."""
    beside = path.with_name("adapter_config.json")
    if path.stem != "adapter_model" or not beside.is_file():
        return dict(metadata)
    return {**metadata, "adapter_config": beside.read_text(encoding="utf-8", errors="replace")}


def alpha_for(metadata: Mapping[str, str], target: str, layer: str, rank: int) -> float | None:
    """Alpha of one layer as peft's configuration gives it; None where there is none.

    ``alpha_pattern`` goes before ``lora_alpha``. With ``use_rslora`` peft divides by the root of the rank
    (arXiv:2312.03732); what is given here is divided by the rank, as everywhere.
    """
    config = _config(metadata, PARTS[target])
    patterns = config.get("alpha_pattern") or {}
    matches = (a for name, a in patterns.items() if layer.endswith(name.strip("^$").replace(".", "_")))
    alpha = next(matches, config.get("lora_alpha"))
    if not isinstance(alpha, int | float):
        return None
    return float(alpha) * rank**0.5 if config.get("use_rslora") else float(alpha)


def _config(metadata: Mapping[str, str], part: str) -> dict[str, Any]:
    found = next((metadata[key] for key in KEYS if key in metadata), "")
    try:
        config = json.loads(found) if found else {}
    except json.JSONDecodeError:
        return {}
    if not isinstance(config, dict):
        return {}
    own = {name.removeprefix(part): value for name, value in config.items() if name.startswith(part)}
    return own or {name: value for name, value in config.items() if "." not in name}
