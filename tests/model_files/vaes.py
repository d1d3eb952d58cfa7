"""The weights of VAEs: LDM, diffusers old and new, TAESD."""

from model_files.specs import Spec


def ldm_vae(ch, dt="F32", prefix="first_stage_model.", mult=(1, 2, 4, 4), z=4, nres=2):
    """AutoencoderKL, 248 keys. Attention q/k/v/proj_out are 1x1 *convs* (4-D) here, Linears (2-D) in diffusers."""
    b = Spec(dt, prefix)

    def res(k, i, o):
        b.norm(k + ".norm1", i)
        b.conv(k + ".conv1", o, i)
        b.norm(k + ".norm2", o)
        b.conv(k + ".conv2", o, o)
        if i != o:
            b.conv(k + ".nin_shortcut", o, i, 1)

    def mid(k, c):
        res(k + ".mid.block_1", c, c)
        b.norm(k + ".mid.attn_1.norm", c)
        for x in ("q", "k", "v", "proj_out"):
            b.conv(f"{k}.mid.attn_1.{x}", c, c, 1)
        res(k + ".mid.block_2", c, c)

    b.conv("encoder.conv_in", ch, 3)
    c = ch
    for level, m in enumerate(mult):
        for r in range(nres):
            res(f"encoder.down.{level}.block.{r}", c, ch * m)
            c = ch * m
        if level != len(mult) - 1:
            b.conv(f"encoder.down.{level}.downsample.conv", c, c)
    mid("encoder", c)
    b.norm("encoder.norm_out", c)
    b.conv("encoder.conv_out", 2 * z, c)
    b.conv("decoder.conv_in", c, z)
    mid("decoder", c)
    for level, m in reversed(list(enumerate(mult))):
        for r in range(nres + 1):
            res(f"decoder.up.{level}.block.{r}", c, ch * m)
            c = ch * m
        if level:
            b.conv(f"decoder.up.{level}.upsample.conv", c, c)
    b.norm("decoder.norm_out", c)
    b.conv("decoder.conv_out", 3, c)
    b.conv("quant_conv", 2 * z, 2 * z, 1)
    b.conv("post_quant_conv", z, z, 1)
    return b


def diffusers_vae(ch, dt="F32", attn="new", mult=(1, 2, 4, 4), z=4, nres=2):
    """diffusion_pytorch_model.safetensors of an AutoencoderKL folder. `attn="old"` is what the hub's sd-vae-ft-mse/ema
    still hold: query/key/value/proj_attn; "new" is to_q/to_k/to_v/to_out.0."""
    b = Spec(dt)
    names = {
        "new": ("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
        "old": ("group_norm", "query", "key", "value", "proj_attn"),
    }[attn]

    def res(k, i, o):
        b.norm(k + ".norm1", i)
        b.conv(k + ".conv1", o, i)
        b.norm(k + ".norm2", o)
        b.conv(k + ".conv2", o, o)
        if i != o:
            b.conv(k + ".conv_shortcut", o, i, 1)

    def mid(k, c):
        res(k + ".mid_block.resnets.0", c, c)
        b.norm(f"{k}.mid_block.attentions.0.{names[0]}", c)
        for x in names[1:]:
            b.lin(f"{k}.mid_block.attentions.0.{x}", c, c)
        res(k + ".mid_block.resnets.1", c, c)

    b.conv("encoder.conv_in", ch, 3)
    c = ch
    for level, m in enumerate(mult):
        for r in range(nres):
            res(f"encoder.down_blocks.{level}.resnets.{r}", c, ch * m)
            c = ch * m
        if level != len(mult) - 1:
            b.conv(f"encoder.down_blocks.{level}.downsamplers.0.conv", c, c)
    mid("encoder", c)
    b.norm("encoder.conv_norm_out", c)
    b.conv("encoder.conv_out", 2 * z, c)
    b.conv("decoder.conv_in", c, z)
    mid("decoder", c)
    for level, m in enumerate(reversed(mult)):  # note: LDM's up.3 is diffusers' up_blocks.0
        for r in range(nres + 1):
            res(f"decoder.up_blocks.{level}.resnets.{r}", c, ch * m)
            c = ch * m
        if level != len(mult) - 1:
            b.conv(f"decoder.up_blocks.{level}.upsamplers.0.conv", c, c)
    b.norm("decoder.conv_norm_out", c)
    b.conv("decoder.conv_out", 3, c)
    b.conv("quant_conv", 2 * z, 2 * z, 1)
    b.conv("post_quant_conv", z, z, 1)
    return b


def taesd(w, side, dt="F32", style="pth"):
    """taesd_encoder.pth / taesd_decoder.pth (bare Sequential indices) or diffusers' AutoencoderTiny folder."""
    b, c = Spec(dt), w.taesd

    def block(k):
        for n in (0, 2, 4):
            b.conv(f"{k}.conv.{n}", c, c)

    def conv(k, o, i, bias=True):
        b.t(k + ".weight", o, i, 3, 3)
        if bias:
            b.t(k + ".bias", o)

    if side == "encoder":
        p = "encoder.layers." if style == "diffusers" else ""
        conv(p + "0", c, 3)
        block(p + "1")
        for n in (2, 6, 10):
            conv(p + str(n), c, c, bias=False)
            for j in (1, 2, 3):
                block(p + str(n + j))
        conv(p + "14", 4, c)
    else:
        # .pth Sequential starts with Clamp() (index 0); diffusers drops it and so is one lower... in the same order
        p, s = ("decoder.layers.", 0) if style == "diffusers" else ("", 1)
        conv(p + str(s), c, 4)
        n = s + 2  # +1 is ReLU
        for _ in range(3):
            for j in range(3):
                block(p + str(n + j))
            conv(p + str(n + 4), c, c, bias=False)  # +3 is Upsample
            n += 5
        block(p + str(n))
        conv(p + str(n + 1), 3, c)
    return b
