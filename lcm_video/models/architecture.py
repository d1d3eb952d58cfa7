"""The sizes of an image model's parts, from the shipped configs/ or a diffusers folder. Loads no torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from lcm_video.errors import CheckpointError
from lcm_video.resources import expanded, shipped

Family: TypeAlias = Literal["sd15", "sdxl"]

FAMILIES: dict[Family, str] = {"sd15": "SD 1.5", "sdxl": "SDXL"}
"""What people call them."""

PLACES = {
    "unet": ("unet.json", "unet/config.json"),
    "vae": ("vae.json", "vae/config.json"),
    "text": ("text.json", "text_encoder/config.json"),
    "text_2": ("text_2.json", "text_encoder_2/config.json"),
}
"""Where a part's sizes stand: in a folder of configs/, and in a diffusers folder."""

NEEDED = ("unet", "vae", "text")
"""The parts that every image model has."""


class Architecture(NamedTuple):
    """The sizes of all parts, under the names of diffusers and transformers; only SDXL has a second text encoder."""

    name: str
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    text_2: dict[str, Any]

    @property
    def family(self) -> Family:
        """SDXL's UNet is told the picture's size, SD 1.5's is not."""
        return "sdxl" if self.unet.get("addition_embed_type") == "text_time" else "sd15"

    @property
    def widths(self) -> tuple[int, int]:
        """What tells architectures apart: the first width of the UNet, and the width of the text it takes."""
        first, *_ = self.unet["block_out_channels"]
        return first, self.unet["cross_attention_dim"]


def architectures(beside: Path | None = None, folders: Sequence[str] = ()) -> Iterator[Architecture]:
    """Yields every known architecture: one described in ``beside``, the shipped ones, those in the model folders.

    Diffusers folders describe theirs, too; descriptions that cannot be read are passed over.
    """
    for folder in chain([beside] if beside else [], shipped("configs").glob("*"), _within(folders)):
        if all(any((folder / file).is_file() for file in PLACES[part]) for part in NEEDED):
            with suppress(CheckpointError):
                yield read_architecture(folder)


def _within(folders: Sequence[str]) -> Iterator[Path]:
    """Yields the model folders and what is in them, down to two levels: people sort their files by kind."""
    for place in map(expanded, folders):
        yield place
        for pattern in ("*", "*/*"):
            yield from sorted(place.glob(pattern))


def read_architecture(folder: Path) -> Architecture:
    """The architecture that ``folder`` describes. Raises CheckpointError for a description that cannot be read."""
    parts = {part: next((folder / file for file in files if (folder / file).is_file()), None)
             for part, files in PLACES.items()}  # fmt: skip
    for part in NEEDED:
        if parts[part] is None:
            message = f"{folder.name} is no SD 1.5 or SDXL folder: {PLACES[part][1]} is missing"
            raise CheckpointError(message, remedy="download the whole folder, or give a checkpoint in one file")
    found = Architecture(folder.name, *(read_json(path) if path else {} for path in parts.values()))
    try:
        found.widths  # noqa: B018
    except (KeyError, TypeError, ValueError):
        message = f"{folder.name}/{PLACES['unet'][1]} describes no UNet of SD 1.5 or SDXL"
        raise CheckpointError(message, remedy="give an SD 1.5 or SDXL checkpoint") from None
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises CheckpointError if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        shown = f"{path.parent.name}/{path.name}"
        raise CheckpointError(f"{shown} cannot be read: it is not a JSON object", remedy="download it again")
    return found


def refuse_unusual(architecture: Architecture, scheduler: Mapping[str, Any], *, name: str) -> None:
    """Raises CheckpointError for models of the family that are asked in a way of their own."""
    channels, unet = architecture.unet.get("in_channels", 4), architecture.unet
    unusual = {
        f"an inpainting or other special checkpoint: its UNet takes {channels} channels, not 4": channels != 4,
        "a whole LCM, which is told the guidance": unet.get("time_cond_proj_dim") is not None,
        "made to predict velocity, not noise": scheduler.get("prediction_type", "epsilon") != "epsilon",
    }
    for what, found in unusual.items():
        if found:
            message = f"{name} is {what}"
            raise CheckpointError(message, remedy="give an ordinary checkpoint; for speed add an LCM-LoRA to it")
