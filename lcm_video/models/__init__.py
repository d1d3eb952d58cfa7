"""Models: files to parts. This module knows the options; the loaders behind `load` import torch when called."""

import os
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from lcm_video.models.cards import Card, Schedule, card_for
from lcm_video.models.folders import find
from lcm_video.models.parts import ModelFile, Parts
from lcm_video.models.size import Size
from lcm_video.timeline import Curve, Moment, within
from lcm_video.types import STRICT

__all__ = [
    "Card", "Lora", "Model", "ModelFile", "Parts", "Runtime", "Schedule", "Size", "card_for", "find",
    "load",
]  # fmt: skip


@dataclass(frozen=True, config=STRICT)
class Lora:
    """A low-rank change of the weights.

    path: a file, or its name in a model folder.
    scale: 1 applies it as it was trained, 0 not at all; may vary over time.
    steps: what the scale is multiplied by at steps of sampling, in straight lines between: ``{0: 0.2, 75%: 1}``.
    called: whether prompts say when it acts, by ``<lora:name:1>``; so it is with every LoRA that a prompt calls.
    """

    path: str
    scale: Annotated[Curve, within(-10, 10)] = 1.0
    steps: dict[Moment, Annotated[float, Field(ge=-10, le=10)]] = Field(default_factory=dict)
    called: bool = False

    @property
    def varies(self) -> bool:
        """Whether its strength changes over frames or steps, so that it cannot be merged into the weights."""
        return self.called or bool(self.steps) or not isinstance(self.scale, float)


@dataclass(frozen=True, config=STRICT)
class Model:
    """Which weights draw the film. Every file is a path, or a name in a model folder with or without its ending.

    checkpoint: the image model, SD 1.5 or SDXL, in one file or in a folder as diffusers saves it.
    vae: a VAE to use in place of the checkpoint's own; ``taesd_decoder`` (with taesd_encoder beside it) is fast.
    motion: a card in motion_modules/, or a motion module's file; without one every frame is drawn alone.
    motion_scale: how strongly frames hold together, 1 as trained; may vary over time.
    loras: LoRAs by a name of your own; ``lcm: file`` is short for ``lcm: {path: file}``.
    embeddings: textual inversions; a prompt calls one by its file's name.
    clip_skip: which text layer counting from the last is used; 1 is the last. Left out, 1 in SD 1.5 and 2 in SDXL.
    emphasis: whose reading of brackets and weights prompts have: that of AUTOMATIC1111's web UI, or ComfyUI's.
    size: what SDXL is told of the picture's size and cropping; in SD 1.5 there is no such thing.
    tokenizer: a CLIP vocabulary (bpe_simple_vocab_16e6.txt.gz, or a folder with vocab.json and merges.txt).
    """

    checkpoint: str = ""
    vae: str = ""
    motion: str = ""
    motion_scale: Annotated[Curve, within(0, 10)] = 1.0
    loras: dict[str, Annotated[Lora, BeforeValidator(lambda v: {"path": v} if isinstance(v, str) else v)]] = Field(
        default_factory=dict
    )
    embeddings: tuple[str, ...] = ()
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
    emphasis: Literal["a1111", "comfy"] = "a1111"
    size: Size = Size()
    tokenizer: str = ""


@dataclass(frozen=True, config=STRICT)
class Runtime:
    """Where and how the model runs; none of it changes what is drawn, beyond rounding.

    device: ``auto`` is a CUDA GPU if there is one, else the CPU; or as torch names it: ``cpu``, ``cuda:1``, ``mps``.
    dtype: ``auto`` is float16 on a GPU; on a CPU float32, or bfloat16 for a large model where the CPU is made for it.
    kernels: ``fast`` is our own rewriting of the layers for CPUs, ``plain`` what they were trained as; ``auto`` is fast
        on a CPU where it knows the model.
    compile: on a GPU, ``auto`` records each call once and replays it; ``blocks`` also compiles the blocks, which takes
        a minute the first time and is remembered on disk; ``off`` does neither.
    decode_batch: frames decoded at once.
    parallel_windows: context windows computed by threads side by side.
    window_batch: context windows computed in one call of the UNet, 1 to 64; ``auto`` (or 0) is what suits the device.
    strict: whether to stop where memory runs out, instead of going on in smaller pieces, whose rounding may differ.
    folders: more folders to look for model files in.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    kernels: Literal["auto", "plain", "fast"] = "auto"
    compile: Literal["auto", "off", "blocks"] = "auto"
    decode_batch: Annotated[int, Field(ge=1, le=256)] = 4
    parallel_windows: Annotated[int, Field(ge=1, le=64)] = 1
    window_batch: Annotated[int, BeforeValidator(lambda v: 0 if v == "auto" else v), Field(ge=0, le=64)] = 1
    strict: bool = False
    folders: tuple[str, ...] = ()


def load(model: Model, runtime: Runtime = Runtime()) -> Parts:  # noqa: B008 (frozen)
    """Reads every file of ``model``: the parts a film is drawn with, frozen, on the device.

    Raises CheckpointError if a file is missing, damaged, of another kind or of another family.
    """
    # Weights are files here: with this set before diffusers is imported, it opens no socket for one.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from lcm_video.models import lean

    lean.load_diffusers()
    from lcm_video.models import loading

    return loading.load(model, runtime)
