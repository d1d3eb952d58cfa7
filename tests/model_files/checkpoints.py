"""The weights of single-file checkpoints and of their parts, as SD 1.5 and SDXL files name them."""

from collections import OrderedDict

from model_files.specs import Spec, Width, merge
from model_files.vaes import ldm_vae


def ldm_unet(
    mc, mult, depth, ctx, mid_depth=1, linear=False, adm=None, inc=4, dt="F32", prefix="model.diffusion_model.", nres=2
):
    """openaimodel.UNetModel. SD1.x: mult (1,2,4,4) depth (1,1,1,0) ctx 768 -> 686 keys.
    SDXL: mult (1,2,4) depth (0,2,10) mid 10 ctx 2048 linear adm 2816 -> 1680 keys."""
    b = Spec(dt, prefix)
    te = mc * 4

    def res(k, i, o):
        b.norm(k + ".in_layers.0", i)
        b.conv(k + ".in_layers.2", o, i)
        b.lin(k + ".emb_layers.1", o, te)
        b.norm(k + ".out_layers.0", o)
        b.conv(k + ".out_layers.3", o, o)
        if i != o:
            b.conv(k + ".skip_connection", o, i, 1)

    def spatial(k, c, d):
        b.norm(k + ".norm", c)
        (b.lin(k + ".proj_in", c, c) if linear else b.conv(k + ".proj_in", c, c, 1))
        for j in range(d):
            t = f"{k}.transformer_blocks.{j}"
            for a, x in (("attn1", c), ("attn2", ctx)):
                b.lin(f"{t}.{a}.to_q", c, c, False)
                b.lin(f"{t}.{a}.to_k", c, x, False)
                b.lin(f"{t}.{a}.to_v", c, x, False)
                b.lin(f"{t}.{a}.to_out.0", c, c)
            b.lin(f"{t}.ff.net.0.proj", c * 8, c)  # GEGLU: 2 x 4c
            b.lin(f"{t}.ff.net.2", c, c * 4)
            for n in (1, 2, 3):
                b.norm(f"{t}.norm{n}", c)
        (b.lin(k + ".proj_out", c, c) if linear else b.conv(k + ".proj_out", c, c, 1))

    b.lin("time_embed.0", te, mc)
    b.lin("time_embed.2", te, te)
    if adm:
        b.lin("label_emb.0.0", te, adm)
        b.lin("label_emb.0.2", te, te)
    b.conv("input_blocks.0.0", mc, inc)
    chans, c, i = [mc], mc, 1
    for level, m in enumerate(mult):
        for _ in range(nres):
            res(f"input_blocks.{i}.0", c, mc * m)
            c = mc * m
            if depth[level]:
                spatial(f"input_blocks.{i}.1", c, depth[level])
            chans.append(c)
            i += 1
        if level != len(mult) - 1:
            b.conv(f"input_blocks.{i}.0.op", c, c)
            chans.append(c)
            i += 1
    res("middle_block.0", c, c)
    spatial("middle_block.1", c, mid_depth)
    res("middle_block.2", c, c)
    i = 0
    for level, m in reversed(list(enumerate(mult))):
        for r in range(nres + 1):
            s = chans.pop()
            res(f"output_blocks.{i}.0", c + s, mc * m)
            c = mc * m
            n = 1
            if depth[level]:
                spatial(f"output_blocks.{i}.1", c, depth[level])
                n = 2
            if level and r == nres:  # the upsampler is .1 or .2 depending on attention: diffusers looks at both
                b.conv(f"output_blocks.{i}.{n}.conv", c, c)
            i += 1
    b.norm("out.0", c)
    b.conv("out.2", 4, c)
    return b


def clip_l(w: Width, dt="F32", prefix="cond_stage_model.transformer.text_model.", posids="I64"):
    """HF CLIPTextModel under LDM's prefix: 196 keys + position_ids (int64 in most, float16 in fp16 merges made by
    scripts that cast everything, absent in newer ones)."""
    b, c = Spec(dt, prefix), w.clip
    if posids:
        b.t("embeddings.position_ids", 1, 77, dt=posids)
    b.t("embeddings.token_embedding.weight", w.vocab, c)
    b.t("embeddings.position_embedding.weight", 77, c)
    for i in range(w.clip_layers):
        k = f"encoder.layers.{i}"
        for x in ("q_proj", "k_proj", "v_proj", "out_proj"):
            b.lin(f"{k}.self_attn.{x}", c, c)
        b.norm(f"{k}.layer_norm1", c)
        b.lin(f"{k}.mlp.fc1", 4 * c, c)
        b.lin(f"{k}.mlp.fc2", c, 4 * c)
        b.norm(f"{k}.layer_norm2", c)
    b.norm("final_layer_norm", c)
    return b


def open_clip_g(w: Width, dt="F32", prefix="conditioner.embedders.1.model."):
    """open_clip text tower (SDXL text encoder 2), 390 keys. Fused in_proj_weight [3c,c]; text_projection is stored
    transposed with respect to transformers' Linear."""
    b, c = Spec(dt, prefix), w.g
    b.t("positional_embedding", 77, c)
    b.t("text_projection", c, c)
    b.t("logit_scale")
    b.t("token_embedding.weight", w.vocab, c)
    b.norm("ln_final", c)
    for i in range(w.g_layers):
        k = f"transformer.resblocks.{i}"
        b.t(f"{k}.attn.in_proj_weight", 3 * c, c)
        b.t(f"{k}.attn.in_proj_bias", 3 * c)
        b.lin(f"{k}.attn.out_proj", c, c)
        b.norm(f"{k}.ln_1", c)
        b.norm(f"{k}.ln_2", c)
        b.lin(f"{k}.mlp.c_fc", 4 * c, c)
        b.lin(f"{k}.mlp.c_proj", c, 4 * c)
    return b


SCHEDULE_KEYS = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
    *("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
)


def training_leftovers(dt="F32"):
    """Buffers of LatentDiffusion that v1-5-pruned(-emaonly) still carries. Not weights; ignore."""
    b = Spec(dt)
    for k in SCHEDULE_KEYS:
        b.t(k, 1000)
    b.t("model_ema.decay")
    b.t("model_ema.num_updates", dt="I32")
    return b


def ema_copy(unet):
    """v1-5-pruned.ckpt / v1-4-full-ema: the EMA weights, under flat names with the dots removed."""
    return OrderedDict(("model_ema." + k[len("model.") :].replace(".", ""), v) for k, v in unet.items())


def sd15(w, dt="F16", posids="I64", extras=False, inc=4):
    parts = [
        ldm_unet(w.mc, w.mult15, (1, 1, 1, 0), w.clip, dt=dt, inc=inc),
        ldm_vae(w.vae, dt),
        clip_l(w, dt, posids=posids),
    ]
    if extras:
        parts.append(training_leftovers(dt))
    return merge(*parts)


def sdxl(w, dt="F16", posids="I64"):
    return merge(
        ldm_unet(w.mc, w.multxl, (0, 2, 10), w.ctxxl, mid_depth=10, linear=True, adm=w.adm, dt=dt),
        ldm_vae(w.vae, dt),
        clip_l(w, dt, "conditioner.embedders.0.transformer.text_model.", posids),
        open_clip_g(w, dt),
    )
