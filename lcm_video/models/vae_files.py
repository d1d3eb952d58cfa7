"""A VAE from files of its own: a single file in any naming, diffusers' folder, or the pair of files of a TAESD."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor

from lcm_video.errors import CheckpointError
from lcm_video.models.architecture import Architecture, read_json
from lcm_video.models.building import build_tiny_vae, build_vae
from lcm_video.models.checkpoint import vae_weights
from lcm_video.models.files import read
from lcm_video.models.folders import find
from lcm_video.models.kinds import expect, kind

SIDES = {"encoder": "decoder", "decoder": "encoder"}


class VaeFiles(NamedTuple):
    """The weights of a VAE, its sizes, and the files they came from."""

    weights: dict[str, Tensor]
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    tiny: bool = False


def read_vae(name: str, architecture: Architecture, folders: Sequence[str] = ()) -> VaeFiles:
    """The VAE that ``name`` stands for. Its scaling is its folder's, else that of the checkpoint's family.

    The file itself does not say which family it was made for. Raises CheckpointError if it holds no VAE.
    """
    path = found(name, folders)
    tensors = read(path).tensors
    expect(("VAE", "TAESD"), tensors, name=path.name)
    if kind(tensors) == "TAESD":
        return read_taesd(path, tensors)
    prefix = "first_stage_model."
    weights = vae_weights({key.removeprefix(prefix): weight for key, weight in tensors.items()})
    return VaeFiles(weights, described(path) or architecture.vae, (path,))


def found(name: str, folders: Sequence[str]) -> Path:
    """The file; ``taesd`` stands for taesd_decoder and taesd_encoder, as other tools call the pair."""
    try:
        return find(name, kind="VAE", folders=folders)
    except CheckpointError as error:
        try:
            return find(f"{name}_decoder", kind="VAE", folders=folders)
        except CheckpointError:
            raise error from None


def described(path: Path) -> dict[str, Any]:
    """What the config.json of diffusers beside the file says; empty if there is none for a VAE."""
    config = path.parent / "config.json"
    facts = read_json(config) if config.is_file() else {}
    return facts if str(facts.get("_class_name", "")).startswith("Autoencoder") else {}


def read_taesd(path: Path, tensors: Mapping[str, Tensor]) -> VaeFiles:
    """A TAESD: diffusers' file with both halves, or one of the authors' two files, whose other lies beside it."""
    if any(name.startswith("encoder.layers.") for name in tensors):
        return VaeFiles(dict(tensors), described(path) or taesd_config(tensors), (path,), tiny=True)
    side = half_of(tensors)
    other = partner(path, side)
    halves = {side: tensors, SIDES[side]: read(other).tensors}
    expect("TAESD", halves[SIDES[side]], name=other.name)
    weights = {new: weight for half, its in halves.items() for new, weight in renamed(half, its).items()}
    return VaeFiles(weights, taesd_config(weights), (path, other), tiny=True)


def half_of(tensors: Mapping[str, Tensor]) -> str:
    """Which half a file of the authors' holds: an encoder begins with a picture, a decoder after a clamp."""
    return "encoder" if "0.weight" in tensors else "decoder"


def partner(path: Path, side: str) -> Path:
    """The file with the other half. Raises CheckpointError if it is not where its name says it would be."""
    name = re.sub(side, SIDES[side], path.name, count=1, flags=re.IGNORECASE)
    if name == path.name or not (other := path.with_name(name)).is_file():
        message = f"{path.name} holds only the {side} of a TAESD"
        wanted = name if name != path.name else f"taesd_{SIDES[side]}.safetensors"
        raise CheckpointError(message, remedy=f"put {wanted} beside it; the names differ in that word only")
    return other


def renamed(side: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One half under diffusers' names: the decoder's first layer, a clamp, is not counted there."""
    shift = side == "decoder"
    numbered = ((name.partition("."), weight) for name, weight in tensors.items())
    return {f"{side}.layers.{int(number) - shift}.{rest}": weight for (number, _, rest), weight in numbered}


def taesd_config(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The sizes of a TAESD, which differ only in width."""
    first = weights.get("encoder.layers.0.weight")
    width = 64 if first is None else len(first)
    return {"encoder_block_out_channels": [width] * 4, "decoder_block_out_channels": [width] * 4}


def build(vae: VaeFiles, dtype: torch.dtype) -> AutoencoderKL | AutoencoderTiny:
    """The VAE, frozen, in ``dtype``; see `precision`."""
    return (build_tiny_vae if vae.tiny else build_vae)(vae.weights, vae.config, dtype)


def precision(vae: VaeFiles, architecture: Architecture, dtype: torch.dtype) -> torch.dtype:
    """What a VAE computes in: SDXL's overflows in float16, unless its config.json says that it was mended."""
    overflows = architecture.family == "sdxl" and not vae.tiny and vae.config.get("force_upcast", True)
    return torch.float32 if overflows and dtype == torch.float16 else dtype
