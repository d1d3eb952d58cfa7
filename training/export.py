"""From trained parts to the files that people use, in the layouts of SD 1.5, AnimateDiff, kohya and A1111."""

import json
import re
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lcm_video.models.checkpoint import TEXT, UNET, VAE
from lcm_video.models.names import ENDS, MIDDLE, RESNET
from lcm_video.models.temporal import sinusoids
from training.parts import GROUPS, HEADS, MAX_FRAMES, config

CHECKPOINT = Path("configs/embedded/embedded.safetensors")
LCM = CHECKPOINT.with_name("embedded_lcm_lora.safetensors")
NEGATIVE = CHECKPOINT.with_name("embedded_negative.safetensors")
MOTION = Path("motion_modules/embedded.safetensors")
"""Where the files lie in the repository; `export` lays out its folder in the same way."""

CARD = f"""about: The embedded motion module (lcm-video). Moves the embedded checkpoint's shapes.
family: sd15
file: {MOTION.name}
window: 16
max_frames: {MAX_FRAMES}
betas: {{start: 0.00085, end: 0.012, schedule: scaled_linear}}   # trained on SD's own schedule
norm: frame
heads: {HEADS}
groups: {GROUPS}
licence: Apache-2.0
source: trained for this project on drawn shapes; see training/README.md
"""


def unet_key(name: str, *, layers: int = 2) -> str:
    """The LDM name of a UNet weight: the inverse of `lcm_video.models.names.unet_name`.

    >>> unet_key("down_blocks.1.attentions.0.proj_in.weight")
    'input_blocks.4.1.proj_in.weight'
    """
    for new, old in ENDS.items():
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    for number, place in MIDDLE.items():
        if name.startswith(f"{place}."):
            return f"middle_block.{number}.{inner_key(place, name.removeprefix(place + '.'))}"
    side, block, kind, index, inner = name.split(".", 4)
    up = side == "up_blocks"
    first = int(block) * (layers + 1) + (not up)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers}.0.op.{inner.removeprefix('conv.')}"
    if kind == "upsamplers":  # last of its block, after a resnet and, in all but the first block, an attention
        return f"output_blocks.{first + layers}.{1 if block == '0' else 2}.{inner}"
    part = 1 if kind == "attentions" else 0
    return f"{'output' if up else 'input'}_blocks.{first + int(index)}.{part}.{inner_key(kind, inner)}"


def inner_key(place: str, inner: str) -> str:
    """The LDM name of a weight within a resnet or an attention."""
    part, _, ending = inner.rpartition(".")
    old = {new: old for old, new in RESNET.items()}
    return inner if "attentions" in place else f"{old.get(part, part)}.{ending}"


VAE_KEYS = (
    (r"conv_norm_out", "norm_out"),
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets", r"up.\1.block"),
    (r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"conv_shortcut", "nin_shortcut"),
)


def vae_key(name: str, *, blocks: int = 4) -> str:
    """The LDM name of a VAE weight.

    >>> vae_key("decoder.up_blocks.0.resnets.0.conv1.weight")
    'decoder.up.3.block.0.conv1.weight'
    """
    for new, old in VAE_KEYS:
        name = re.sub(new, old, name)
    return re.sub(r"\.up\.(\d)\.", lambda match: f".up.{blocks - 1 - int(match[1])}.", name)


MOTION_KEYS = (
    (r"(motion_modules\.\d+)\.", r"\1.temporal_transformer."),
    (r"\.attn([12])\.", lambda match: f".attention_blocks.{int(match[1]) - 1}."),
    (r"\.norm([12])\.", lambda match: f".norms.{int(match[1]) - 1}."),
    (r"\.norm3\.", ".ff_norm."),
)


def motion_key(name: str) -> str:
    """AnimateDiff's own name of a temporal layer's weight."""
    for new, old in MOTION_KEYS:
        name = re.sub(new, old, name)
    return name


def checkpoint(out: Path) -> dict[str, Tensor]:
    """UNet, VAE and text encoder as one SD 1.5 checkpoint."""
    weights = {UNET + unet_key(name): weight for name, weight in load_file(out / "unet.safetensors").items()}
    for name, weight in load_file(out / "vae.safetensors").items():
        # LDM writes the attention's projections as 1×1 convolutions.
        pointwise = ".attentions.0.to_" in name and weight.ndim == 2
        weights[VAE + vae_key(name)] = weight[:, :, None, None] if pointwise else weight
    for name, weight in load_file(out / "text.safetensors").items():
        weights[f"{TEXT}text_model.{name.removeprefix('text_model.')}"] = weight
    return weights


def motion_module(out: Path) -> dict[str, Tensor]:
    """The motion module, with position codes as its authors store them: [1, frames, channels], in each attention."""
    weights = load_file(out / "motion.safetensors")
    named = {motion_key(name): weight for name, weight in weights.items()}
    for name in list(named):
        if name.endswith(".to_q.weight"):
            codes = sinusoids(MAX_FRAMES, named[name].shape[1])
            named[name.replace("to_q.weight", "pos_encoder.pe")] = codes[None]
    return named


def write(weights: Mapping[str, Tensor], path: Path, **metadata: str) -> None:
    """Writes ``weights`` in float16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: weight.to(torch.float16).contiguous() for name, weight in weights.items()}
    save_file(halves, path, metadata={"format": "pt", **metadata})
    print(f"{path.name} {path.stat().st_size:,} bytes", flush=True)


def export(out: Path, to: Path) -> None:
    """Writes what has been trained so far: the checkpoint with its sizes, and whichever of the others there is."""
    write(checkpoint(out), to / CHECKPOINT)
    for part in ("unet", "vae", "text"):
        sizes = json.dumps(config(part), indent=2) + "\n"
        (to / CHECKPOINT).with_name(f"{part}.json").write_text(sizes, encoding="utf-8")
    if (out / "motion.safetensors").exists():
        write(motion_module(out), to / MOTION, motion_card=MOTION.stem)
        (to / MOTION).with_suffix(".yaml").write_text(CARD, encoding="utf-8")
    for trained, path in {"lcm": LCM, "negative": NEGATIVE}.items():
        if (out / f"{trained}.safetensors").exists():
            write(load_file(out / f"{trained}.safetensors"), to / path)


def main() -> None:
    """Exports from ``--out`` to ``--to``."""
    parser = ArgumentParser(description="Writes the files that people use.")
    parser.add_argument("--out", type=Path, default=Path("training/out"))
    parser.add_argument("--to", type=Path)
    given = parser.parse_args()
    export(given.out, given.to or given.out / "export")


if __name__ == "__main__":
    main()
