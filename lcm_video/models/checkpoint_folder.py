"""Checkpoints as diffusers saves them: a folder with model_index.json, and a folder for each part."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.architecture import Architecture, read_architecture, read_json, refuse_unusual
from lcm_video.models.checkpoint import Split, text_weights, vae_weights
from lcm_video.models.files import read

WHOLE = "download the whole folder, or give a checkpoint in one file"

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
"""What weight files of a part are called: diffusers', transformers', and transformers' older ones."""


class Folder(NamedTuple):
    """What a diffusers folder holds, and the files its weights are in, by part."""

    weights: Split
    architecture: Architecture
    files: dict[str, list[Path]]


def read_folder(path: Path, *, half: bool = False) -> Folder:
    """The weights of a diffusers folder, in 16 bits where there is a choice and ``half`` says so.

    Raises CheckpointError if the folder is of another family, lacks a part, or holds one made by other means.
    """
    made = read_json(path / "model_index.json").get("_class_name", "")
    if "StableDiffusion" not in str(made) and not (path / "unet").is_dir():
        message = f"{path.name} holds a {made}" if made else f"{path.name} is no diffusers folder"
        raise CheckpointError(f"{message}, not SD 1.5 or SDXL", remedy="give an SD 1.5 or SDXL checkpoint")
    architecture = read_architecture(path)
    scheduler = path / "scheduler" / "scheduler_config.json"
    refuse_unusual(architecture, read_json(scheduler) if scheduler.is_file() else {}, name=path.name)
    parts = ["unet", "vae", "text_encoder", *(["text_encoder_2"] if architecture.family == "sdxl" else [])]
    files = {part: weight_files(path / part, half=half) for part in parts}
    found = {part: _tensors(files[part]) for part in parts}
    weights = Split(
        unet=found["unet"],
        vae=vae_weights(found["vae"]),
        text=text_weights(found["text_encoder"]),
        text_2=text_weights(found.get("text_encoder_2", {})),
    )
    return Folder(weights, architecture, files)


def weight_files(folder: Path, *, half: bool = False) -> list[Path]:
    """The files that hold a part's weights: safetensors before .bin, one file before several that belong together.

    Copies in 16 bits (``.fp16.``) come first if ``half``, else last. Raises CheckpointError if there are none.
    """
    for found in _choices(folder, ["fp16", ""] if half else ["", "fp16"]):
        if found.suffix != ".json":
            return [found]
        return _shards(found)
    message = f"{folder.parent.name} lacks the weights of {folder.name}"
    raise CheckpointError(message, remedy=WHOLE)


def _choices(folder: Path, variants: list[str]) -> Iterator[Path]:
    for ending in ("safetensors", "bin"):
        for variant in variants:
            dotted = f".{variant}" if variant else ""
            names = [f"{stem}{dotted}.{ending}" for stem in STEMS]
            # diffusers and transformers put the variant before or after the ending.
            names += [f"{stem}.{ending}.index{dotted}.json" for stem in STEMS]
            names += [f"{stem}.{ending}{dotted}.index.json" for stem in STEMS if variant]
            names += [f"{stem}{dotted}.{ending}.index.json" for stem in STEMS if variant]
            yield from (folder / name for name in names if (folder / name).is_file())


def _shards(index: Path) -> list[Path]:
    """The files an index names, each once. Raises CheckpointError if one is missing, or lies elsewhere."""
    shown = f"{index.parent.name}/{index.name}"
    placed = read_json(index).get("weight_map")
    names = sorted({*placed.values()}) if isinstance(placed, dict) and all(
        isinstance(name, str) for name in placed.values()
    ) else []  # fmt: skip
    if not names or any(not re.fullmatch(r"[\w][\w.-]*", name) for name in names):
        raise CheckpointError(f"{shown} names no weight files of its folder", remedy="download it again")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        message = f"{index.parent.name} lacks {len(missing)} of its {len(names)} files, first {missing[0]}"
        raise CheckpointError(message, remedy="download what is missing")
    return [index.parent / name for name in names]


def _tensors(files: list[Path]) -> dict[str, Tensor]:
    found: dict[str, Any] = {}
    for file in files:
        found.update(read(file).tensors)
    return found
