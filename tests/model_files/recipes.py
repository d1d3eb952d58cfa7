"""Which file holds what: the path of every file that users have, and the function that writes it."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch

from model_files.checkpoints import clip_l, ema_copy, sd15, sdxl
from model_files.configs import adapter_config, taesd_config, vae_config, whole
from model_files.loras import diffusers_unet, mods15, modsxl
from model_files.motion import motion, motion_lora
from model_files.others import domain_adapter, ip_adapter, ldm_controlnet, sparsectrl
from model_files.recipes_loras import lora_recipes
from model_files.specs import TINY, Spec, Width, merge, reprefix
from model_files.vaes import diffusers_vae, ldm_vae, taesd
from model_files.writing import Writer

Recipes = dict[str, Callable[[str], None]]
PT = {"format": "pt"}


def recipes(w: Writer, width: Width) -> Recipes:
    """Path → the function that writes it (given that path), for every ordinary file."""
    return {
        **checkpoint_recipes(w, width),
        **folder_recipes(w, width),
        **vae_recipes(w, width),
        **lora_recipes(w, width),
        **motion_recipes(w, width),
        **embedding_recipes(w, width),
        **other_recipes(w, width),
    }


def checkpoint_recipes(w: Writer, width: Width) -> Recipes:
    def old_clip(n):  # NAI-era, and flattened exports of transformers 5.6+: no `text_model.` level
        names = {k: k.replace("transformer.text_model.", "transformer.") for k in sd15(width)}
        w.ckpt(n, OrderedDict((names[k], v) for k, v in sd15(width).items()), "state_dict")

    def full_ema(n):
        s = sd15(width, "F32", extras=True)
        unet = OrderedDict((k, v) for k, v in s.items() if k.startswith("model.diffusion_model."))
        w.safetensors(n, merge(s, ema_copy(unet)), PT)

    def without(spec, prefix):
        return OrderedDict((k, v) for k, v in spec.items() if not k.startswith(prefix))

    about = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-xl-v1-base",
        "modelspec.title": "Stable Diffusion XL 1.0 Base",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "1024x1024",
        "modelspec.thumbnail": "data:image/jpeg;base64," + "A" * 64,
    }
    return {
        "checkpoints/dreamshaper_8.safetensors": lambda n: w.safetensors(n, sd15(width)),
        "checkpoints/sd15_posids_fp16.safetensors": lambda n: w.safetensors(n, sd15(width, posids="F16")),
        "checkpoints/sd15_no_posids.safetensors": lambda n: w.safetensors(n, sd15(width, posids=None), PT),
        "checkpoints/sd15_bf16.safetensors": lambda n: w.safetensors(n, sd15(width, "BF16"), PT),
        "checkpoints/sd15_clip_without_text_model_prefix.ckpt": old_clip,
        "checkpoints/v1-5-pruned-emaonly.safetensors": lambda n: w.safetensors(n, sd15(width, "F32", extras=True), PT),
        "checkpoints/v1-5-pruned-emaonly.ckpt": lambda n: w.ckpt(n, sd15(width, "F32", extras=True), "state_dict"),
        "checkpoints/v1-5-pruned_full_ema.safetensors": full_ema,
        "checkpoints/sd_xl_base_1.0.safetensors": lambda n: w.safetensors(n, sdxl(width), about),
        "checkpoints/sdxl_no_vae.safetensors": lambda n: w.safetensors(
            n, without(sdxl(width, posids=None), "first_stage_model."), PT
        ),
    }


def folder_recipes(w: Writer, width: Width) -> Recipes:
    """Whole models as diffusers folders, each weight file with the configurations beside it."""

    def projected():
        b = clip_l(Width(clip=width.g, clip_layers=width.g_layers), "F16", "text_model.", None)
        b.prefix = ""
        b.lin("text_projection", width.g, width.g, False)
        return b

    def part(folder, spec):
        def write(n):
            w.safetensors(n, spec(), PT)
            write_configs(w, folder, width, xl=folder.endswith("xl"))

        return write

    r: Recipes = {}
    for folder, mods in (("checkpoints/diffusers_sd15", mods15), ("checkpoints/diffusers_sdxl", modsxl)):
        unet = lambda mods=mods: diffusers_unet(mods(width), width, xl=mods is modsxl)
        text = lambda: clip_l(width, "F16", "text_model.", None)
        r[f"{folder}/unet/diffusion_pytorch_model.safetensors"] = part(folder, unet)
        r[f"{folder}/vae/diffusion_pytorch_model.safetensors"] = part(folder, lambda: diffusers_vae(width.vae, "F16"))
        r[f"{folder}/text_encoder/model.safetensors"] = part(folder, text)
    r["checkpoints/diffusers_sdxl/text_encoder_2/model.safetensors"] = part("checkpoints/diffusers_sdxl", projected)
    return r


def write_configs(w: Writer, folder: str, width: Width, xl: bool) -> None:
    for name, config in whole(width, xl).items():
        w.text(f"{folder}/{name}", json.dumps(config, indent=2))


def vae_recipes(w: Writer, width: Width) -> Recipes:
    def with_ema(spec):
        b = Spec("F32")
        b.t("model_ema.decay")
        b.t("model_ema.num_updates", dt="I32")
        return merge(spec, b)

    def anime2(n):  # kl-f8-anime2.ckpt still carries the training loss (LPIPS and discriminator)
        b = Spec("F32")
        b.t("loss.logvar")
        b.conv("loss.perceptual_loss.net.slice1.0", 64, 3)
        b.t("loss.perceptual_loss.scaling_layer.shift", 1, 3, 1, 1)
        b.conv("loss.discriminator.main.0", 64, 3, 4)
        w.ckpt(n, merge(ldm_vae(width.vae, prefix=""), b), "state_dict")

    def folder(attn):
        def write(n):
            w.safetensors(n, diffusers_vae(width.vae, attn=attn), PT)
            w.text(str(Path(n).parent / "config.json"), json.dumps(vae_config(width), indent=2))

        return write

    def taesd_folder(n):
        sides = [taesd(width, side, "F32", "diffusers") for side in ("encoder", "decoder")]
        w.safetensors(n, merge(*sides), PT)
        w.text(str(Path(n).parent / "config.json"), json.dumps(taesd_config(width), indent=2))

    ema = "vae/vae-ft-ema-560000-ema-pruned"
    return {
        f"{ema}.safetensors": lambda n: w.safetensors(n, with_ema(ldm_vae(width.vae, prefix="")), PT),
        f"{ema}.ckpt": lambda n: w.ckpt(n, ldm_vae(width.vae, prefix=""), "state_dict"),
        "vae/sdxl_vae_fp16_fix.safetensors": lambda n: w.safetensors(n, ldm_vae(width.vae, "F16", ""), PT),
        "vae/kl-f8-anime2.ckpt": anime2,
        "vae/diffusers_old/diffusion_pytorch_model.safetensors": folder("old"),
        "vae/diffusers_new/diffusion_pytorch_model.safetensors": folder("new"),
        "taesd/taesd_decoder.pth": lambda n: w.ckpt(n, taesd(width, "decoder")),
        "taesd/taesd_encoder.pth": lambda n: w.ckpt(n, taesd(width, "encoder")),
        "taesd/diffusers/diffusion_pytorch_model.safetensors": taesd_folder,
    }


def motion_recipes(w: Writer, width: Width) -> Recipes:
    sd, xl, rank = width.ch15, width.chxl, width.rank

    def ckpt(*spec, **named):
        return lambda n: w.ckpt(n, motion(*spec, **named))

    def st(*spec, meta: dict | None = PT):
        return lambda n: w.safetensors(n, motion(*spec), meta)

    def adapter_folder(n):
        st(sd, True, 32, "F16", "diffusers")(n)
        w.text(str(Path(n).parent / "config.json"), json.dumps(adapter_config(sd, True, 32), indent=2))

    def finetuned(n):  # what AnimateDiff's own train.py writes: a data-parallel prefix in a Lightning-like wrapper
        s = reprefix(motion(sd, True, 32), "module.")
        w.ckpt(n, s, "state_dict", extra={"epoch": 7, "global_step": 12000})

    folder, director = "motion/diffusers-adapter-v1-5-2/diffusion_pytorch_model", 4 if width is TINY else 32
    return {
        "motion/mm_sd_v14.ckpt": ckpt(sd, False, 24),
        "motion/mm_sd_v15.ckpt": ckpt(sd, False, 24),
        "motion/mm_sd_v15_v2.ckpt": ckpt(sd, True, 32),
        "motion/v3_sd15_mm.ckpt": ckpt(sd, False, 32),
        "motion/mm_sdxl_v10_beta.ckpt": ckpt(xl, False, 32),
        "motion/AnimateLCM_sd15_t2v.ckpt": ckpt(sd, True, None),
        "motion/temporaldiff-v1-animatediff.safetensors": st(sd, False, 24),
        "motion/mm_sd15_v3.fp16.safetensors": st(sd, False, 32, "F16", meta=None),
        "motion/lt_long_mm_64_frames.ckpt": ckpt(sd, False, 64, "F16"),
        "motion/animatediff_lightning_4step_comfyui.safetensors": st(sd, True, 32, "F16", meta=None),
        "motion/animatediff_lightning_4step_diffusers.safetensors": st(sd, True, 32, "F16", "diffusers", meta=None),
        "motion/hsxl_temporal_layers.f16.safetensors": st(xl, False, 24, "F16", "hotshot"),
        f"{folder}.safetensors": adapter_folder,
        f"{folder}.fp16.safetensors": st(sd, True, 32, "F16", "diffusers"),
        "motion/finetuned_ddp_checkpoint-epoch-7.ckpt": finetuned,
        "motion_lora/v2_lora_ZoomIn.ckpt": lambda n: w.ckpt(n, motion_lora(sd, True, rank)),
        "motion_lora/motiondirector_style.safetensors": lambda n: w.safetensors(
            n, motion_lora(sd, False, director, "F16", "director"), PT
        ),
        "motion_lora/v3_sd15_adapter.ckpt": lambda n: w.ckpt(n, domain_adapter(width, 4 if width is TINY else 128)),
    }


def vectors(count: int, features: int, seed: int) -> torch.Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(seed)) * 0.02


def a1111(name: str, weight: torch.Tensor) -> dict:
    """An embedding as A1111 saves it."""
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": weight},
        "name": name,
        "step": 99,
        "sd_checkpoint": "cc6cb27103",
        "sd_checkpoint_name": "v1-5-pruned-emaonly",
    }


def embedding_recipes(w: Writer, width: Width) -> Recipes:
    c, g = width.clip, width.g
    pair = OrderedDict(clip_g=((8, g), "F32"), clip_l=((8, c), "F32"))
    two = {"<s1>": 5, "<s2>": 6}
    old = lambda: torch.nn.Parameter(vectors(1, c, 3))
    return {
        "embeddings/BadDream.pt": lambda n: w.torch(n, a1111("BadDream", vectors(10, c, 1))),
        "embeddings/UnrealisticDream.pt": lambda n: w.torch(
            n, a1111("UnrealisticDream", vectors(16, c, 2).requires_grad_())
        ),
        "embeddings/a1111_parameter_legacy.pt": lambda n: w.torch(n, a1111("oldie", old()), legacy=True),
        "embeddings/easynegative.safetensors": lambda n: w.safetensors(n, OrderedDict(emb_params=((8, c), "F32"))),
        "embeddings/SDXL_embedding.safetensors": lambda n: w.safetensors(n, pair),
        "embeddings/learned_embeds.bin": lambda n: w.torch(n, {"<cat-toy>": vectors(1, c, 4)[0].clone()}),
        "embeddings/learned_embeds_multi.bin": lambda n: w.torch(
            n, {token: vectors(1, c, seed)[0].clone() for token, seed in two.items()}
        ),
        "embeddings/learned_embeds.safetensors": lambda n: w.safetensors(
            n, OrderedDict([("<cat-toy>", ((1, c), "F32"))]), PT
        ),
    }


def other_recipes(w: Writer, width: Width) -> Recipes:
    def ip_bin(n):
        image, adapter = ip_adapter(width)
        w.torch(n, {"image_proj": w.state(n + "a", image), "ip_adapter": w.state(n + "b", adapter)})

    def ip_flat(plus):
        def write(n):
            image, adapter = ip_adapter(width, plus=plus)
            w.safetensors(n, merge(reprefix(image, "image_proj."), reprefix(adapter, "ip_adapter.")), PT)

        return write

    lineart = "controlnet/control_v11p_sd15_lineart"
    return {
        f"{lineart}.pth": lambda n: w.ckpt(n, ldm_controlnet(width)),
        f"{lineart}_fp16.safetensors": lambda n: w.safetensors(n, ldm_controlnet(width, "F16")),
        "controlnet/v3_sd15_sparsectrl_rgb.ckpt": lambda n: w.ckpt(n, sparsectrl(width, "rgb")),
        "controlnet/v3_sd15_sparsectrl_scribble.ckpt": lambda n: w.ckpt(n, sparsectrl(width, "scribble")),
        "ip_adapter/ip-adapter_sd15.bin": ip_bin,
        "ip_adapter/ip-adapter_sd15.safetensors": ip_flat(False),
        "ip_adapter/ip-adapter-plus_sd15.safetensors": ip_flat(True),
    }
