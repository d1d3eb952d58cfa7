"""The weights of files that users have beside those lcm-video takes: it must tell them by name."""

from collections import OrderedDict

from model_files.checkpoints import ldm_unet
from model_files.loras import attn_only, diffusers_unet, mods15, peft
from model_files.motion import motion
from model_files.specs import Spec


def ldm_controlnet(w, dt="F32", prefix="control_model."):
    """control_v11p_sd15_*.pth: prefix control_model.; the comfy fp16 safetensors keep it."""
    u = ldm_unet(w.mc, w.mult15, (1, 1, 1, 0), w.clip, dt=dt, prefix=prefix)
    b = Spec(dt, prefix)
    for k, v in u.items():
        if not k.startswith((prefix + "output_blocks.", prefix + "out.")):
            b[k] = v
    chans = [w.mc] * 3
    for m in w.mult15[1:]:
        chans += [chans[-1]] + [w.mc * m] * 2
    for i, c in enumerate(chans):
        b.conv(f"zero_convs.{i}.0", c, c, 1)
    b.conv("middle_block_out.0", w.mc * w.mult15[-1], w.mc * w.mult15[-1], 1)
    sizes = [(16, 3), (16, 16), (32, 16), (32, 32), (96, 32), (96, 96), (256, 96), (w.mc, 256)]
    for n, (o, i) in enumerate(sizes):
        b.conv(f"input_hint_block.{2 * n}", o, i)
    return b


def sparsectrl(w, kind="rgb", dt="F32"):
    """v3_sd15_sparsectrl_{rgb,scribble}.ckpt: diffusers-named encoder + one-attention motion modules. From reading."""
    b = Spec(dt)
    encoder = OrderedDict((k, m) for k, m in mods15(w).items() if not k.startswith(("up_blocks", "conv_out")))
    b.update(diffusers_unet(encoder, w, dt=dt))
    b.update(motion(w.ch15, False, 32, dt, "ad", attn=1, ups=False))
    chans = [w.mc] * 3
    for m in w.mult15[1:]:
        chans += [chans[-1]] + [w.mc * m] * 2
    for i, c in enumerate(chans):
        b.conv(f"controlnet_down_blocks.{i}", c, c, 1)
    b.conv("controlnet_mid_block", w.ch15[-1], w.ch15[-1], 1)
    if kind == "rgb":
        b.conv("controlnet_cond_embedding", w.mc, 5)
    else:
        b.conv("controlnet_cond_embedding.conv_in", 16, 4)
        for n, (o, i) in enumerate([(16, 16), (32, 16), (32, 32), (96, 32), (96, 96), (256, 96)]):
            b.conv(f"controlnet_cond_embedding.blocks.{n}", o, i)
        b.conv("controlnet_cond_embedding.conv_out", w.mc, 256)
    return b


def ip_adapter(w, dt="F16", plus=False, tokens=4):
    """(image_proj, ip_adapter) sub-dicts. .bin nests them, .safetensors flattens with a dot."""
    ip, a = Spec(dt), Spec(dt)
    if not plus:
        ip.lin("proj", tokens * w.clip, w.img)
        ip.norm("norm", w.clip)
    else:
        d, wide = max(w.clip, 64), 1280 if w.img == 1024 else w.img  # the resampler's heads are d/64
        ip.t("latents", 1, 16, d)
        ip.lin("proj_in", d, wide)
        ip.lin("proj_out", w.clip, d)
        ip.norm("norm_out", w.clip)
        for i in range(4):
            for n in ("norm1", "norm2"):
                ip.norm(f"layers.{i}.0.{n}", d)
            ip.lin(f"layers.{i}.0.to_q", d, d, False)
            ip.lin(f"layers.{i}.0.to_kv", 2 * d, d, False)
            ip.lin(f"layers.{i}.0.to_out", d, d, False)
            ip.norm(f"layers.{i}.1.0", d)
            ip.lin(f"layers.{i}.1.1", 4 * d, d, False)
            ip.lin(f"layers.{i}.1.3", d, 4 * d, False)
    # attn2 processors in diffusers' attn_processors order (down, up, mid); the odd indices are the cross-attentions
    c = w.ch15
    order = [c[0]] * 2 + [c[1]] * 2 + [c[2]] * 2 + [c[3]] * 3 + [c[1]] * 3 + [c[0]] * 3 + [c[3]]
    for n, ch in enumerate(order):
        a.lin(f"{2 * n + 1}.to_k_ip", ch, w.clip, False)
        a.lin(f"{2 * n + 1}.to_v_ip", ch, w.clip, False)
    return ip, a


def domain_adapter(w, r, dt="F32"):
    """v3_sd15_adapter.ckpt: oldest diffusers LoRA names, no `unet.` prefix, attention only, rank 128, 256 keys."""
    return peft(attn_only(mods15(w)), r, "", dt, "processor")
