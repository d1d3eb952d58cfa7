"""The weights of motion modules and motion LoRAs."""

from collections import OrderedDict

from model_files.specs import Spec


def motion(ch, mid, pe=32, dt="F32", style="ad", layers=2, attn=2, ups=True):
    """style "ad"        guoyww's names (v1/v2/v3, SDXL beta, lightning *_comfyui, TemporalDiff, AnimateLCM)
          "diffusers" MotionAdapter (lightning *_diffusers, the adapter folders)
          "hotshot"   Hotshot-XL
    pe=None: no positional-encoding buffers at all (AnimateLCM)."""
    b = Spec(dt)

    def module(k, c):
        t = k + (".temporal_transformer" if style == "ad" else "")
        b.norm(t + ".norm", c)
        b.lin(t + ".proj_in", c, c)
        x = t + ".transformer_blocks.0"
        for a in range(attn):
            n = f"{x}.attn{a + 1}" if style == "diffusers" else f"{x}.attention_blocks.{a}"
            for q in ("to_q", "to_k", "to_v"):
                b.lin(f"{n}.{q}", c, c, False)
            b.lin(f"{n}.to_out.0", c, c)
            if pe and style == "ad":
                b.t(f"{n}.pos_encoder.pe", 1, pe, c)
            if pe and style == "hotshot":
                b.t(f"{n}.pos_encoder.positional_encoding", 1, pe, c)
        for a in range(attn):
            b.norm(f"{x}.norm{a + 1}" if style == "diffusers" else f"{x}.norms.{a}", c)
        if pe and style == "diffusers":
            b.t(f"{x}.pos_embed.pe", 1, pe, c)
        b.lin(f"{x}.ff.net.0.proj", 8 * c, c)
        b.lin(f"{x}.ff.net.2", c, 4 * c)
        b.norm(f"{x}.norm3" if style == "diffusers" else f"{x}.ff_norm", c)
        b.lin(t + ".proj_out", c, c)

    name = "temporal_attentions" if style == "hotshot" else "motion_modules"
    for i, c in enumerate(ch):
        for j in range(layers):
            module(f"down_blocks.{i}.{name}.{j}", c)
    if mid:
        module(f"mid_block.{name}.0", ch[-1])
    if ups:
        for i, c in enumerate(reversed(ch)):
            for j in range(layers + 1):
                module(f"up_blocks.{i}.{name}.{j}", c)
    return b


def motion_lora(ch, mid, r, dt="F32", style="v2"):
    """style "v2": guoyww v2_lora_*.ckpt (attention only, rank 64, 336 keys).
    "director": AnimateDiff-MotionDirector's newer names, also in feed-forwards."""
    o = OrderedDict()

    def module(k, c):
        t = f"{k}.temporal_transformer.transformer_blocks.0"
        for a in (0, 1):
            n = f"{t}.attention_blocks.{a}"
            for x in ("to_q", "to_k", "to_v", "to_out"):
                key = f"{n}.processor.{x}_lora" if (style == "v2" or x != "to_out") else f"{n}.to_out.processor.0_lora"
                o[key + ".down.weight"] = ((r, c), dt)
                o[key + ".up.weight"] = ((c, r), dt)
        if style == "director":
            for key, i, out in (
                (f"{t}.ff.net.0.processor.proj_lora", c, 8 * c),
                (f"{t}.ff.net.processor.2_lora", 4 * c, c),
            ):
                o[key + ".down.weight"] = ((r, i), dt)
                o[key + ".up.weight"] = ((out, r), dt)

    for i, c in enumerate(ch):
        for j in range(2):
            module(f"down_blocks.{i}.motion_modules.{j}", c)
    if mid:
        module("mid_block.motion_modules.0", ch[-1])
    for i, c in enumerate(reversed(ch)):
        for j in range(3):
            module(f"up_blocks.{i}.motion_modules.{j}", c)
    return o
