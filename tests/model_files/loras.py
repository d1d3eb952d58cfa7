"""The weights of LoRAs in every spelling."""

from collections import OrderedDict

from model_files.specs import Spec


def unet_modules(mc, mult, depth, ctx, mid_depth=1, linear=False, nres=2):
    """Every Linear/Conv of a diffusers UNet2DConditionModel: name -> ("lin"|"conv", out, in, kernel). LoRA targets."""
    o, te = OrderedDict(), mc * 4

    def lin(k, a, c):
        o[k] = ("lin", a, c, 0)

    def conv(k, a, c, n):
        o[k] = ("conv", a, c, n)

    def res(k, i, c):
        conv(k + ".conv1", c, i, 3)
        lin(k + ".time_emb_proj", c, te)
        conv(k + ".conv2", c, c, 3)
        if i != c:
            conv(k + ".conv_shortcut", c, i, 1)

    def att(k, c, d):
        (lin(k + ".proj_in", c, c) if linear else conv(k + ".proj_in", c, c, 1))
        for j in range(d):
            t = f"{k}.transformer_blocks.{j}"
            for a, x in (("attn1", c), ("attn2", ctx)):
                lin(f"{t}.{a}.to_q", c, c)
                lin(f"{t}.{a}.to_k", c, x)
                lin(f"{t}.{a}.to_v", c, x)
                lin(f"{t}.{a}.to_out.0", c, c)
            lin(f"{t}.ff.net.0.proj", c * 8, c)
            lin(f"{t}.ff.net.2", c, c * 4)
        (lin(k + ".proj_out", c, c) if linear else conv(k + ".proj_out", c, c, 1))

    ch = [mc * m for m in mult]
    conv("conv_in", mc, 4, 3)
    skips, c = [mc], mc
    for b, out in enumerate(ch):
        for r in range(nres):
            res(f"down_blocks.{b}.resnets.{r}", c, out)
            c = out
            skips.append(c)
            if depth[b]:
                att(f"down_blocks.{b}.attentions.{r}", c, depth[b])
        if b != len(ch) - 1:
            conv(f"down_blocks.{b}.downsamplers.0.conv", c, c, 3)
            skips.append(c)
    res("mid_block.resnets.0", c, c)
    att("mid_block.attentions.0", c, mid_depth)
    res("mid_block.resnets.1", c, c)
    rd = list(reversed(depth))
    for b, out in enumerate(reversed(ch)):
        for r in range(nres + 1):
            res(f"up_blocks.{b}.resnets.{r}", c + skips.pop(), out)
            c = out
            if rd[b]:
                att(f"up_blocks.{b}.attentions.{r}", c, rd[b])
        if b != len(ch) - 1:
            conv(f"up_blocks.{b}.upsamplers.0.conv", c, c, 3)
    conv("conv_out", 4, mc, 3)
    lin("time_embedding.linear_1", te, mc)
    lin("time_embedding.linear_2", te, te)
    return o


def mods15(w):
    return unet_modules(w.mc, w.mult15, (1, 1, 1, 0), w.clip)


def modsxl(w):
    return unet_modules(w.mc, w.multxl, (0, 2, 10), w.ctxxl, mid_depth=10, linear=True)


def te_modules(width, layers):
    o = OrderedDict()
    for i in range(layers):
        k = f"text_model.encoder.layers.{i}"
        for x in ("q_proj", "k_proj", "v_proj", "out_proj"):
            o[f"{k}.self_attn.{x}"] = ("lin", width, width, 0)
        o[f"{k}.mlp.fc1"] = ("lin", 4 * width, width, 0)
        o[f"{k}.mlp.fc2"] = ("lin", width, 4 * width, 0)
    return o


# What lcm-lora-sdv1-5 and lcm-lora-sdxl contain: 278 and 788 modules.
LCM_TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
)


# kohya's default LoRA: everything inside Transformer2DModel (192 modules on SD1.5; +conv_* with "LoCon"/conv_dim)
KOHYA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")


def pick(mods, targets):
    return OrderedDict((k, m) for k, m in mods.items() if any(k == t or k.endswith("." + t) for t in targets))


def down_up(m, r):
    kind, out, inp, k = m
    if kind == "lin":
        return (r, inp), (out, r)
    return (r, inp, k, k), (out, r, 1, 1)


def ldm_name(k, layers=2):
    """diffusers UNet module name -> LDM module name (kohya trains SDXL on the LDM UNet)."""
    p = k.split(".")
    sub = {
        "conv1": "in_layers.2",
        "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }
    if k.startswith("conv_in"):
        return "input_blocks.0.0"
    if k.startswith("conv_out"):
        return "out.2"
    if p[0] == "time_embedding":
        return "time_embed." + {"linear_1": "0", "linear_2": "2"}[p[1]]
    if p[0] == "mid_block":
        n = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[(p[1], p[2])]
        return ".".join([f"middle_block.{n}"] + [sub.get(x, x) for x in p[3:]])
    b, kind, j = int(p[1]), p[2], int(p[3])
    if p[0] == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{(b + 1) * (layers + 1)}.0.op"
        return ".".join(
            [f"input_blocks.{b * (layers + 1) + j + 1}.{0 if kind == 'resnets' else 1}"]
            + [sub.get(x, x) for x in p[4:]]
        )
    if kind == "upsamplers":
        return f"output_blocks.{b * (layers + 1) + layers}.2.conv"
    return ".".join(
        [f"output_blocks.{b * (layers + 1) + j}.{0 if kind == 'resnets' else 1}"] + [sub.get(x, x) for x in p[4:]]
    )


def kohya(mods, r, prefix="lora_unet_", dt="F16", names=None, alpha=True, kind="lora"):
    """kohya / LyCORIS key styles. `kind`: lora | dora | loha | lokr."""
    o = OrderedDict()
    for k, m in mods.items():
        n = prefix + (names(k) if names else k).replace(".", "_")
        d, u = down_up(m, r)
        if kind in ("lora", "dora"):
            o[n + ".lora_down.weight"] = (d, dt)
            o[n + ".lora_up.weight"] = (u, dt)
            if kind == "dora":
                o[n + ".dora_scale"] = ((m[1], 1) if m[0] == "lin" else (m[1], 1, 1, 1), dt)
        elif kind == "loha":
            fan = m[2] * max(m[3], 1) ** 2
            for w in ("1", "2"):
                o[f"{n}.hada_w{w}_a"] = ((m[1], r), dt)
                o[f"{n}.hada_w{w}_b"] = ((r, fan), dt)
        elif kind == "lokr":
            f = 4 if m[1] % 4 == 0 and m[2] % 4 == 0 else 1
            o[n + ".lokr_w1"] = ((f, f), dt)
            o[n + ".lokr_w2_a"] = ((m[1] // f, r), dt)
            o[n + ".lokr_w2_b"] = ((r, (m[2] // f) * max(m[3], 1) ** 2), dt)
        if alpha:
            o[n + ".alpha"] = ((), dt)
    return o


def peft(mods, r, prefix="unet.", dt="F32", style="lora_A"):
    """diffusers-native styles: `lora_A/lora_B` (now), `lora.down/up` (0.2x), `processor.to_q_lora.down` (oldest)."""
    o = OrderedDict()
    for k, m in mods.items():
        d, u = down_up(m, r)
        if style == "lora_A":
            o[f"{prefix}{k}.lora_A.weight"], o[f"{prefix}{k}.lora_B.weight"] = (d, dt), (u, dt)
        elif style == "lora.down":
            o[f"{prefix}{k}.lora.down.weight"], o[f"{prefix}{k}.lora.up.weight"] = (d, dt), (u, dt)
        elif style == "processor":  # attention only
            head, tail = k.split(".to_")
            n = f"{prefix}{head}.processor.to_{tail.replace('.0', '')}_lora"
            o[n + ".down.weight"], o[n + ".up.weight"] = (d, dt), (u, dt)
    return o


def attn_only(mods):
    return OrderedDict((k, m) for k, m in mods.items() if ".attn" in k)


def diffusers_unet(mods, width, xl=False, dt="F16"):
    """diffusion_pytorch_model.safetensors of a UNet2DConditionModel folder: `mods` with their norms."""
    b = Spec(dt)
    for name, (how, out, inp, size) in mods.items():
        if how == "lin":
            b.lin(name, out, inp, bias=".attn" not in name or name.endswith("to_out.0"))
        else:
            b.conv(name, out, inp, size)
        if name.endswith(".conv1"):
            b.norm(name.replace(".conv1", ".norm1"), inp)
            b.norm(name.replace(".conv1", ".norm2"), out)
        if name.endswith(".proj_in"):
            b.norm(name.replace(".proj_in", ".norm"), inp)
        if name.endswith(".ff.net.2"):
            for number in (1, 2, 3):
                b.norm(name.replace(".ff.net.2", f".norm{number}"), out)
    if "conv_out" in mods:
        b.norm("conv_norm_out", width.mc)
    if xl:
        b.lin("add_embedding.linear_1", width.mc * 4, width.adm)
        b.lin("add_embedding.linear_2", width.mc * 4, width.mc * 4)
    return b
