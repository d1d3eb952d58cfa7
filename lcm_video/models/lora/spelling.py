"""Every spelling of a LoRA's keys: whom a key changes, in which layer, and what it is there.

A key is a prefix that names the model, the layer's name, and an ending that names the factor:
``lora_unet_`` + ``mid_block_attentions_0_proj_in`` + ``.lora_down.weight``. Trainers write a layer's dots as
underscores, peft does not; SDXL LoRAs often use LDM's names of layers; motion LoRAs and the first LoRAs of diffusers
name an attention's processor, which is no layer. Layers are called here as diffusers calls them, with underscores.
"""

import re
from typing import NamedTuple

from lcm_video.models.lora.changes import Change, Full, Hadamard, Kronecker, LowRank
from lcm_video.models.motion import renamed
from lcm_video.models.names import ENDS, RESNET, unet_name

UNET, TEXT, TEXT_2 = "unet", "text", "text 2"

PREFIXES = {
    "lora_unet_": UNET,
    "lora_te1_": TEXT,
    "lora_te2_": TEXT_2,
    "lora_te_": TEXT,
    "unet.": UNET,
    "text_encoder_2.": TEXT_2,
    "text_encoder.": TEXT,
    "text_encoders.clip_l.transformer.": TEXT,
    "text_encoders.clip_g.transformer.": TEXT_2,
    "model.diffusion_model.": UNET,
    "diffusion_model.": UNET,
    "lycoris_": UNET,
}
PREFIXLESS = re.compile(r"(down|up|input|output)_blocks[._]\d|(mid|middle)_block[._]|conv_(in|out)\b|time_embed")
"""How a UNet's layers begin in files that name no model: AnimateDiff's own, and peft's of a UNet alone."""

ENDINGS: dict[str, tuple[type[Change] | None, str]] = {
    ".lora_down.weight": (LowRank, "down"),
    ".lora_up.weight": (LowRank, "up"),
    ".lora_mid.weight": (LowRank, "mid"),
    ".lora_A.weight": (LowRank, "down"),
    ".lora_B.weight": (LowRank, "up"),
    ".lora.down.weight": (LowRank, "down"),
    ".lora.up.weight": (LowRank, "up"),
    "_lora.down.weight": (LowRank, "down"),
    "_lora.up.weight": (LowRank, "up"),
    ".lora_linear_layer.down.weight": (LowRank, "down"),
    ".lora_linear_layer.up.weight": (LowRank, "up"),
    **{f".hada_{name}": (Hadamard, name) for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f".lokr_{name}": (Kronecker, name) for name in ("w1", "w2", "w1_a", "w1_b", "w2_a", "w2_b", "t2")},
    ".diff": (Full, "diff"),
    ".w_norm": (Full, "diff"),
    ".diff_b": (Full, "diff"),
    ".b_norm": (Full, "diff"),
    ".alpha": (None, "alpha"),
    ".dora_scale": (None, "dora_scale"),
    ".lora_magnitude_vector": (None, "magnitude"),
    ".lora_magnitude_vector.weight": (None, "magnitude"),
}
OF_BIAS = (".diff_b", ".b_norm")
BIAS = ".bias"
"""What is appended to a layer's name where its bias is changed, not its weight."""

# LDM's names as trainers write them.
LDM_ENDS = {old.replace(".", "_"): new for old, new in ENDS.items()}
LDM_RESNET = {old.replace(".", "_"): old for old in RESNET}
LDM_BLOCK = re.compile(r"(?:(input_blocks|output_blocks)_(\d+)_(\d+)|(middle_block)_(\d+))_(.+)")


class Place(NamedTuple):
    """Whom a key changes (``UNET``, ``TEXT``, ``TEXT_2``), in which layer, by which algorithm, as which factor."""

    target: str
    layer: str
    change: type[Change] | None
    factor: str


def place(key: str) -> Place | None:
    """What a key means, or None if it is in no known spelling."""
    key = re.sub(r"\.default(_\d+)?(?=\.weight$|$)", "", key.removeprefix("base_model.model."))
    ending = max((ending for ending in ENDINGS if key.endswith(ending)), key=len, default="")
    prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
    inner = key.removeprefix(prefix).removeprefix("base_model.model.").removesuffix(ending)
    if inner.startswith(("text_model.", "text_model_")):
        target = PREFIXES.get(prefix, TEXT)
        target = TEXT if target == UNET else target
    elif prefix or PREFIXLESS.match(inner):
        target = PREFIXES.get(prefix, UNET)
    else:
        return None
    if not ending or not inner:
        return None
    layer = unet_layer(inner) if target == UNET else text_layer(inner)
    return Place(target, layer + BIAS if ending in OF_BIAS else layer, *ENDINGS[ending])


def unet_layer(name: str) -> str:
    """A UNet layer in diffusers' names, with underscores; also a motion module's layer.

    >>> unet_layer("input_blocks_4_1_proj_in")
    'down_blocks_1_attentions_0_proj_in'
    >>> unet_layer("mid_block.motion_modules.0.temporal_transformer.proj_in")
    'mid_block_motion_modules_0_proj_in'
    """
    name = renamed(name).replace(".processor.", ".")
    name = re.sub(r"\.to_out$", ".to_out.0", name).replace(".", "_")
    if name in LDM_ENDS:
        return LDM_ENDS[name].replace(".", "_")
    if not (match := LDM_BLOCK.fullmatch(name)):
        return name
    side, block, part, middle, number, inner = match.groups()
    inner = LDM_RESNET.get(inner, inner)
    dotted = f"{middle}.{number}.{inner}.weight" if middle else f"{side}.{block}.{part}.{inner}.weight"
    return unet_name(dotted).removesuffix(".weight").replace(".", "_")


def text_layer(name: str) -> str:
    """A text encoder's layer in transformers' names, with underscores and without ``text_model``."""
    name = name.replace(".", "_").removeprefix("text_model_")
    # The first LoRAs of diffusers named the text encoder's projections as they name the UNet's.
    name = re.sub(r"self_attn_to_([qkv])$", r"self_attn_\1_proj", name)
    return re.sub(r"self_attn_to_out$", "self_attn_out_proj", name)
