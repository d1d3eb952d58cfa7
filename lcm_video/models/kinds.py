"""Which kind of model a file holds, and for which family, told from names and shapes of its weights. Needs no torch."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from lcm_video.errors import CheckpointError

Kind: TypeAlias = str
"""One of the names in `KINDS`."""


class About(NamedTuple):
    """What follows from a file's kind: its place in a storyboard, whom it fits, and why it cannot be used."""

    slot: str = ""
    family: str = ""
    refused: str = ""


SUPPORTED = "give an SD 1.5 or SDXL checkpoint"
NO_MOTION = f"not supported: there are no motion modules for it; {SUPPORTED}"

KINDS: dict[Kind, About] = {
    "SD 1.5 checkpoint": About("checkpoint", "SD 1.5"),
    "SDXL checkpoint": About("checkpoint", "SDXL"),
    "SD 2 checkpoint": About(refused=NO_MOTION),
    "SD 3 checkpoint": About(refused=NO_MOTION),
    "FLUX checkpoint": About(refused=NO_MOTION),
    "SDXL refiner": About(refused=f"refiners are not supported; {SUPPORTED}"),
    "inpainting checkpoint": About(refused="its UNet takes 9 channels, not 4: give an ordinary checkpoint"),
    "pix2pix checkpoint": About(refused="its UNet takes 8 channels, not 4: give an ordinary checkpoint"),
    "UNet": About(refused="it is one part of a checkpoint: give the whole one, with VAE and text encoder"),
    "text encoder": About(refused="it is one part of a checkpoint: give the whole one"),
    "VAE": About("vae"),
    "TAESD": About("vae"),
    "motion module": About("motion", "SD 1.5"),
    "SDXL motion module": About("motion", "SDXL"),
    "LoRA": About("loras", "SD 1.5"),
    "motion LoRA": About("loras", "SD 1.5"),
    "SDXL LoRA": About("loras", "SDXL"),
    "SD 2 LoRA": About(refused="SD 2 is not supported: use a LoRA of the checkpoint's family"),
    "FLUX LoRA": About(refused="FLUX is not supported: use a LoRA of the checkpoint's family"),
    "textual inversion": About("embeddings", "SD 1.5"),
    "SDXL textual inversion": About("embeddings", "SDXL"),
    "SD 2 textual inversion": About(refused="its vectors have 1024 numbers; use the version for SD 1.5 (768) or SDXL"),
    "ControlNet": About(refused="ControlNets are not supported yet"),
    "SparseCtrl": About(refused="SparseCtrl is not supported yet"),
    "IP-Adapter": About(refused="IP-Adapters are not supported yet"),
    "file of an unknown kind": About(),
}

LORA_MARKS = ("lora_down", "lora_up", "lora_A", ".lora.down", "_lora.down", "hada_w1", "lokr_w1")

# Modules that only one family has. Names count alike with dots and underscores.
LORA_FAMILIES = {
    "FLUX": r"double_blocks|single_blocks|joint_blocks|single_transformer_blocks",
    "SDXL": r"lora_te2_|text_encoder_2|transformer_blocks_[1-9]|up_blocks_0_attentions|output_blocks_[0-2]_1_",
    "SD 1.5": r"down_blocks_0_attentions|up_blocks_3_attentions|input_blocks_[12]_1_|output_blocks_(9|10|11)_1_",
}
TEXT_WIDTHS = {768: "SD 1.5", 1024: "SD 2", 2048: "SDXL"}
"""Families by the width of the text that their UNets take."""

PAIRS = ({"clip_l", "clip_g"}, {"text_encoders_0", "text_encoders_1"})
"""Names of the vectors for SDXL's two text encoders."""

TAESD = re.compile(r"((encoder|decoder)\.layers\.)?\d+\.(conv\.\d+\.)?(weight|bias)")


def kind(tensors: Iterable[str] | Mapping[str, Any]) -> Kind:
    """The kind of a file with these weights: their names, or names with tensors or shapes, which tell more.

    The order of the questions matters: each rules out what looks alike.
    """
    tensors = tensors if isinstance(tensors, Mapping) else list(tensors)
    names = list(tensors)

    def has(*parts: str) -> bool:
        return any(part in name for part in parts for name in names)

    def starts(*parts: str) -> bool:
        return any(name.startswith(parts) for name in names)

    if has("motion_modules.", "temporal_attentions."):
        return _motion(names)
    if starts("control_model.", "controlnet_cond_embedding"):
        return "ControlNet"
    if starts("image_proj", "ip_adapter"):
        return "IP-Adapter"
    if has(*LORA_MARKS):
        found = family(tensors)
        return "LoRA" if found in ("", "SD 1.5") else f"{found} LoRA"
    if {"string_to_param", "emb_params"} & {*names} or {*names} in PAIRS:
        return _inversion(tensors)
    if starts("model.diffusion_model.", "double_blocks.", "joint_blocks."):
        return _checkpoint(tensors)
    if starts("first_stage_model.", "encoder.down.", "encoder.down_blocks."):
        return "VAE"
    if names and all(TAESD.fullmatch(name) for name in names):
        return "TAESD"
    if has("down_blocks.") or starts("input_blocks."):
        return "UNet"
    return "text encoder" if starts("text_model.") else _inversion(tensors)


def _motion(names: list[str]) -> Kind:
    if any(part in name for part in ("_lora.", ".lora_") for name in names):
        return "motion LoRA"
    if any("controlnet_cond_embedding" in name for name in names):
        return "SparseCtrl"
    inner = [name for name in names if "motion_modules." in name or "temporal_attentions." in name]
    blocks = {found[1] for name in inner if (found := re.search(r"down_blocks\.(\d+)\.", name))}
    # SDXL's UNet has three down blocks, SD 1.5's four.
    return "SDXL motion module" if blocks == {"0", "1", "2"} else "motion module"


def _inversion(tensors: Iterable[str] | Mapping[str, Any]) -> Kind:
    """Of which family a textual inversion is; what has nothing in common with one is of an unknown kind."""
    names = {*tensors}
    if names in PAIRS:
        return "SDXL textual inversion"
    widths = {shape[-1] for name in names if len(shape := _shape(tensors, name)) in (1, 2)}
    known = {"string_to_param", "emb_params"} & names or len(names) == 1
    # diffusers' trainer writes several words into one file, by names of their own: only their width is common.
    if not known and not (len(names) <= 8 and len(widths) == 1):
        return "file of an unknown kind"
    return "SD 2 textual inversion" if widths == {1024} else "textual inversion"


def _checkpoint(tensors: Iterable[str] | Mapping[str, Any]) -> Kind:
    names = list(tensors)
    if any("double_blocks." in name for name in names):
        return "FLUX checkpoint"
    if any("joint_blocks." in name for name in names):
        return "SD 3 checkpoint"
    channels = _shape(tensors, "model.diffusion_model.input_blocks.0.0.weight")[1:2]
    if channels in ((9,), (8,)):
        return "inpainting checkpoint" if channels == (9,) else "pix2pix checkpoint"
    if any(name.startswith("conditioner.embedders.1") for name in names):
        return "SDXL checkpoint"
    if any(name.startswith("conditioner.embedders.0.model.") for name in names):
        return "SDXL refiner"
    return (
        "SD 2 checkpoint" if any(name.startswith("cond_stage_model.model.") for name in names) else "SD 1.5 checkpoint"
    )


def family(tensors: Iterable[str] | Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> str:
    """The family that a LoRA was made for: SD 1.5, SD 2, SDXL, FLUX; empty if nothing tells."""
    names = {name: name.replace(".", "_") for name in tensors}
    told = next(
        (found for found, marks in LORA_FAMILIES.items() if any(map(re.compile(marks).search, names.values()))), ""
    )
    if told in ("", "SD 1.5"):  # SD 2 has the modules of SD 1.5
        for name, flat in names.items():
            if (shape := _shape(tensors, name)) and re.search(r"attn2_to_k.*(down|lora_A)", flat):
                told = TEXT_WIDTHS.get(shape[-1], told)
    stated = (metadata or {}).get("ss_base_model_version", "")
    return told or ("SDXL" if stated.startswith("sdxl") else "SD 1.5" if stated.startswith("sd_v1") else "")


def _shape(tensors: Iterable[str] | Mapping[str, Any], name: str) -> tuple[int, ...]:
    """A weight's shape, if the file's contents are given with shapes; else ()."""
    found = tensors.get(name, ()) if isinstance(tensors, Mapping) else ()
    found = getattr(found, "shape", found)
    return tuple(found) if isinstance(found, tuple | list) else ()


def expect(wanted: Kind | tuple[Kind, ...], tensors: Iterable[str] | Mapping[str, Any], *, name: str) -> None:
    """Raises CheckpointError unless the file called ``name`` is of a ``wanted`` kind: "x is a VAE, not a LoRA"."""
    kinds = (wanted,) if isinstance(wanted, str) else wanted
    if (found := kind(tensors)) not in kinds:
        raise misplaced(found, kinds, name=name)


def misplaced(found: Kind, kinds: tuple[Kind, ...], *, name: str) -> CheckpointError:
    """The error for a file of another kind than wanted: what it is, what was needed, and where it belongs."""
    about, slots = KINDS[found], {KINDS[kind].slot for kind in kinds}
    if about.refused:
        remedy = about.refused
    elif about.slot and about.slot not in slots:
        remedy = f"it belongs under model.{about.slot}"
    elif about.slot and KINDS[kinds[0]].family:
        remedy = f"use one made for {KINDS[kinds[0]].family}"
    else:
        remedy = f"give {a(kinds[0])}"
    same = [kind for kind in kinds if _noun(kind) == _noun(found)]
    if same and same != [found]:  # only the family differs: say both
        message = f"{name} is {a(_full(found))}, not {' or '.join(a(_full(kind)) for kind in same)}"
    else:
        either = slots == {"checkpoint"} and bool(kinds[1:])
        wanted = "checkpoint" if either else kinds[0]
        message = f"{name} is {a(found)}, not {a(wanted)}"
    return CheckpointError(message, remedy=remedy)


def _noun(kind: Kind) -> str:
    """A kind without its family."""
    return re.sub(r"^(SDXL|SD \S+|FLUX) ", "", kind)


def _full(kind: Kind) -> str:
    """A kind with its family, where two families are told apart: an SD 1.5 LoRA."""
    family = KINDS[kind].family if kind in KINDS else ""
    return kind if not family or family in kind else f"{family} {kind}"


def a(thing: str) -> str:
    """``thing`` with its article, as it is spoken: an SDXL checkpoint, a VAE."""
    return f"an {thing}" if thing.startswith(("SD ", "SDXL", "IP-", "inp")) else f"a {thing}"
