"""Which kind of model a file holds, told from the names of its weights. Needs no torch."""

from collections.abc import Iterable
from typing import Literal, TypeAlias

from lcm_video.errors import CheckpointError

Kind: TypeAlias = Literal[
    "SD 1.5 checkpoint", "SD 2 checkpoint", "SDXL checkpoint", "VAE", "motion module", "motion LoRA", "LoRA",
    "textual inversion", "ControlNet", "SparseCtrl", "IP-Adapter", "diffusers UNet", "file of an unknown kind",
]  # fmt: skip

LORA_MARKS = ("lora_down", "lora_up", "lora_A", ".lora.down", "_lora.down", "hada_w1", "lokr_w1")


def kind(keys: Iterable[str]) -> Kind:
    """The kind of a file with these weights. The order of the questions matters: each rules out what looks alike."""
    names = list(keys)

    def has(*parts: str) -> bool:
        return any(part in name for part in parts for name in names)

    def starts(*parts: str) -> bool:
        return any(name.startswith(parts) for name in names)

    if has("motion_modules.", "temporal_attentions."):
        if has("_lora.", ".lora_"):
            return "motion LoRA"
        return "SparseCtrl" if has("controlnet_cond_embedding") else "motion module"
    if starts("control_model.", "controlnet_cond_embedding"):
        return "ControlNet"
    if starts("image_proj", "ip_adapter"):
        return "IP-Adapter"
    if has(*LORA_MARKS):
        return "LoRA"
    if {"string_to_param", "emb_params"} & {*names} or {*names} == {"clip_l", "clip_g"} or len(names) == 1:
        return "textual inversion"
    if starts("model.diffusion_model."):
        if has("conditioner.embedders.1"):
            return "SDXL checkpoint"
        return "SD 2 checkpoint" if starts("cond_stage_model.model.") else "SD 1.5 checkpoint"
    if starts("first_stage_model.", "encoder.down.", "encoder.down_blocks."):
        return "VAE"
    return "diffusers UNet" if has("down_blocks.") else "file of an unknown kind"


def expect(wanted: Kind, keys: Iterable[str], *, name: str) -> None:
    """Raises CheckpointError unless the file called ``name`` is of the ``wanted`` kind: "x is a VAE, not a LoRA"."""
    found = kind(keys)
    if found != wanted:
        slots = {"VAE": "vae", "motion module": "motion", "LoRA": "loras", "textual inversion": "embeddings"}
        slot = slots.get(found, "checkpoint" if found.endswith("checkpoint") else "")
        remedy = f"it belongs under model.{slot}" if slot and slots.get(wanted) != slot else f"give {a(wanted)}"
        if found in ("SDXL checkpoint", "SD 2 checkpoint") and wanted == "SD 1.5 checkpoint":
            remedy = "give an SD 1.5 checkpoint: others are not supported yet"
        raise CheckpointError(f"{name} is {a(found)}, not {a(wanted)}", remedy=remedy)


def a(thing: str) -> str:
    """``thing`` with its article, as it is spoken: an SDXL checkpoint, a VAE."""
    return f"an {thing}" if thing.startswith(("SD ", "SDXL", "IP-")) else f"a {thing}"
