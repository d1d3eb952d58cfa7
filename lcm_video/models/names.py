"""From the names of an LDM checkpoint (as SD 1.5 and SDXL files are written) to those of diffusers and transformers."""

import re

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
MIDDLE = {"0": "mid_block.resnets.0", "1": "mid_block.attentions.0", "2": "mid_block.resnets.1"}


def unet_name(name: str, *, layers: int = 2) -> str:
    """The diffusers name of a UNet weight; ``layers`` is resnets per down block.

    LDM counts layers through all blocks: a resnet (part 0), its attention (part 1), and last of a block the sampler.

    >>> unet_name("input_blocks.4.1.proj_in.weight")
    'down_blocks.1.attentions.0.proj_in.weight'
    """
    for old, new in ENDS.items():
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    side, number, *rest = name.split(".")
    if side == "middle_block":
        place, inner, attention = MIDDLE[number], ".".join(rest), number == "1"
    else:
        up = side == "output_blocks"
        block, index = divmod(int(number) - (not up), layers + 1)
        part, inner = rest[0], ".".join(rest[1:])
        here = f"{'up' if up else 'down'}_blocks.{block}"
        if inner.startswith("op."):
            return f"{here}.downsamplers.0.conv.{inner.removeprefix('op.')}"
        if inner.startswith("conv."):
            return f"{here}.upsamplers.0.{inner}"
        attention = part != "0"
        place = f"{here}.{'attentions' if attention else 'resnets'}.{index}"
    return f"{place}.{inner if attention else resnet_name(inner)}"


def resnet_name(name: str) -> str:
    """The diffusers name of a weight within a resnet."""
    part, _, ending = name.rpartition(".")
    return f"{RESNET.get(part, part)}.{ending}"


VAE_PATTERNS = (
    (r"^(encoder|decoder)\.norm_out", r"\1.conv_norm_out"),
    (r"\.down\.(\d)\.block", r".down_blocks.\1.resnets"),
    (r"\.down\.(\d)\.downsample", r".down_blocks.\1.downsamplers.0"),
    (r"\.up\.(\d)\.block", r".up_blocks.\1.resnets"),
    (r"\.up\.(\d)\.upsample", r".up_blocks.\1.upsamplers.0"),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
    (r"nin_shortcut", "conv_shortcut"),
    # diffusers' own older spelling of the attention:
    (r"\.attentions\.0\.query\.", ".attentions.0.to_q."),
    (r"\.attentions\.0\.key\.", ".attentions.0.to_k."),
    (r"\.attentions\.0\.value\.", ".attentions.0.to_v."),
    (r"\.attentions\.0\.proj_attn\.", ".attentions.0.to_out.0."),
)


def vae_name(name: str, *, blocks: int = 4) -> str:
    """The diffusers name of a VAE weight; names that are diffusers' already stay.

    >>> vae_name("decoder.up.3.block.0.conv1.weight")
    'decoder.up_blocks.0.resnets.0.conv1.weight'
    """
    # LDM numbers the decoder's blocks from its output.
    name = re.sub(r"\.up\.(\d)\.", lambda match: f".up.{blocks - 1 - int(match[1])}.", name)
    for pattern, new in VAE_PATTERNS:
        name = re.sub(pattern, new, name)
    return name


OPEN_CLIP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "text_projection": "text_projection.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
OPEN_CLIP_LAYERS = {
    "attn.": "self_attn.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}


def open_clip_name(name: str) -> str:
    """The name in transformers of a weight of OpenCLIP's text encoder; empty for what only training needs.

    Attention's ``in_proj`` keeps its name: it is three weights in one.

    >>> open_clip_name("transformer.resblocks.31.mlp.c_fc.bias")
    'encoder.layers.31.mlp.fc1.bias'
    """
    if not (layer := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name)):
        return "" if name in ("logit_scale", "attn_mask") else OPEN_CLIP.get(name, name)
    inner = layer[2]
    for old, new in OPEN_CLIP_LAYERS.items():
        if inner.startswith(old):
            inner = new + inner.removeprefix(old)
    return f"encoder.layers.{layer[1]}.{inner}"
