"""Which UNets the fast one knows: those whose layers all do what it does. Any other runs as it is.

diffusers' layers have many switches for other models. What matters here is listed with the setting that is known.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    UNetMidBlock2DCrossAttn,
    UpBlock2D,
)
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.upsampling import Upsample2D
from torch import nn

from lcm_video.models import temporal
from lcm_video.models.motion import SharedNorm, Spatiotemporal

NO_FREEU: Mapping[str, Any] = {"s1": None, "s2": None, "b1": None, "b2": None}

PLAIN: tuple[type[nn.Module], ...] = (
    CrossAttnDownBlock2D, DownBlock2D, UNetMidBlock2DCrossAttn,
    UNet2DConditionModel, FeedForward, GEGLU, TimestepEmbedding, Timesteps,
    Spatiotemporal, SharedNorm,
    temporal.TemporalLayer, temporal.Block, temporal.Attention, temporal.FeedForward, temporal.Gate,
    nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm, nn.SiLU, nn.ModuleList, nn.Sequential, nn.Dropout, nn.Identity,
)  # fmt: skip
"""Kinds of layers without switches that matter."""

KNOWN: dict[type[nn.Module], Mapping[str, Any]] = {
    ResnetBlock2D: {
        "time_embedding_norm": "default", "skip_time_act": False, "output_scale_factor": 1.0,
        "upsample": None, "downsample": None,
    },
    Transformer2DModel: {"is_input_continuous": True},
    BasicTransformerBlock: {
        "norm_type": "layer_norm", "only_cross_attention": False, "double_self_attention": False, "pos_embed": None,
        "_chunk_size": None,
    },
    Attention: {
        "group_norm": None, "spatial_norm": None, "norm_q": None, "norm_k": None, "norm_cross": None,
        "residual_connection": False, "rescale_output_factor": 1.0, "add_k_proj": None, "is_causal": False,
    },
    Downsample2D: {"use_conv": True, "padding": 1, "norm": None},
    Upsample2D: {"use_conv": True, "use_conv_transpose": False, "interpolate": True, "norm": None},
    CrossAttnUpBlock2D: NO_FREEU,
    UpBlock2D: NO_FREEU,
}  # fmt: skip
"""Other kinds of layers, and what their switches must be."""

CONFIG: Mapping[str, Any] = {
    "center_input_sample": False, "class_embed_type": None, "num_class_embeds": None, "encoder_hid_dim_type": None,
    "time_embedding_type": "positional", "time_cond_proj_dim": None, "time_embedding_act_fn": None, "act_fn": "silu",
    "conv_in_kernel": 3, "conv_out_kernel": 3, "attention_type": "default",
}  # fmt: skip
"""What a UNet's own description must say."""


def unknown_in(model: UNet2DConditionModel) -> str:
    """What the fast UNet does not know about ``model``, in a few words; nothing if it knows all."""
    return next(_unknown(model), "")


def _unknown(model: UNet2DConditionModel) -> Iterator[str]:
    yield from (
        f"its {name} is {model.config.get(name)}"
        for name, only in CONFIG.items()
        if model.config.get(name, only) != only
    )
    if model.config.get("addition_embed_type") not in (None, "text_time"):
        yield f"its addition_embed_type is {model.config['addition_embed_type']}"
    if not isinstance(model.mid_block, UNetMidBlock2DCrossAttn):
        yield "its middle block has no attention to the prompt"
    if model.conv_norm_out is None:
        yield "its output has no norm"
    for name, module in model.named_modules():
        if type(module) not in KNOWN and type(module) not in PLAIN:
            yield f"{name} is a {type(module).__name__}"
            return
        for switch, only in KNOWN.get(type(module), {}).items():
            if getattr(module, switch, only) != only:
                yield f"{name} has {switch}"
        if isinstance(module, Attention) and type(module.processor) is not AttnProcessor2_0:
            yield f"{name} is processed by {type(module.processor).__name__}"
        if module._forward_hooks or module._forward_pre_hooks:
            yield f"something acts beside {name}"  # as LoRAs of varying strength do
