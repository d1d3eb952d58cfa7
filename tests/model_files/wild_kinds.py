"""Files that hurt: sound, but not what the slot wants."""

from collections import OrderedDict

from model_files.checkpoints import ldm_unet, sd15
from model_files.loras import KOHYA_TARGETS, kohya, ldm_name, mods15, modsxl, pick
from model_files.motion import motion
from model_files.specs import NANO, TINY, Spec, merge
from model_files.vaes import ldm_vae
from model_files.wild import PT, Case, seeded


def sd2() -> OrderedDict:
    text = Spec("F16", "cond_stage_model.model.")
    text.t("token_embedding.weight", 49408, 16)
    text.t("positional_embedding", 77, 16)
    return merge(ldm_unet(8, (1, 2, 4, 4), (1, 1, 1, 0), 1024, linear=True, dt="F16"), text)


def full_unet() -> OrderedDict:
    spec = OrderedDict()
    for name, (how, out, inp, size) in list(mods15(TINY).items())[:60]:
        spec[f"{name}.weight"] = ((out, inp) if how == "lin" else (out, inp, size, size)), "F16"
    return spec


def flux() -> OrderedDict:
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    shapes = {"lora_down.weight": (4, 64), "lora_up.weight": (192, 4), "alpha": ()}
    return OrderedDict((f"{name}.{part}", (shape, "BF16")) for part, shape in shapes.items())


def some_of(spec: OrderedDict, *parts: str) -> OrderedDict:
    return OrderedDict((k, v) for k, v in spec.items() if any(part in k for part in parts))


def kind_cases() -> list[Case]:
    """A file of another kind or family, for each slot."""
    xl = lambda: kohya(pick(modsxl(TINY), KOHYA_TARGETS), 2, names=ldm_name)
    sd = lambda: kohya(pick(mods15(TINY), KOHYA_TARGETS), 4)
    style = {"string_to_token": {"*": 265}, "string_to_param": {"*": seeded(4, 1024)}, "name": "sd2style", "step": 1}
    first = lambda: some_of(sd15(TINY, inc=9), "diffusion_model.input_blocks.0.0", "time_embed")
    return [
        Case("wild/lora_sdxl.safetensors", "loras", "error", ("SDXL", "SD 1.5", "LoRA"),
             lambda w, n: w.safetensors(n, xl(), {"ss_base_model_version": "sdxl_base_v1-0"}, 4)),
        Case("wild/lora_sd15_for_sdxl.safetensors", "loras of SDXL", "error", ("SD 1.5", "SDXL", "LoRA"),
             lambda w, n: w.safetensors(n, sd(), {"ss_base_model_version": "sd_v1"}, 4)),
        Case("wild/vae_as_checkpoint.safetensors", "checkpoint", "error", ("VAE", "checkpoint"),
             lambda w, n: w.safetensors(n, ldm_vae(NANO.vae, "F16", ""), PT)),
        Case("wild/checkpoint_as_lora.safetensors", "loras", "error", ("checkpoint", "not a LoRA"),
             lambda w, n: w.safetensors(n, some_of(sd15(NANO), "diffusion_model"), PT)),
        Case("wild/lcm_full_unet_as_lora.safetensors", "loras", "error", ("UNet", "not a LoRA"),
             lambda w, n: w.safetensors(n, full_unet(), PT), "LCM_Dreamshaper_v7's UNet in the LoRA folder"),
        Case("wild/motion_as_checkpoint.ckpt", "checkpoint", "error", ("motion module", "checkpoint"),
             lambda w, n: w.ckpt(n, motion(NANO.ch15, False, 24, "F16"))),
        Case("wild/motion_sdxl_for_sd15.ckpt", "motion", "error", ("SDXL", "SD 1.5"),
             lambda w, n: w.ckpt(n, motion(NANO.chxl, False, 32, "F16")), "3 down blocks against 4"),
        Case("wild/sd21_checkpoint.safetensors", "checkpoint", "error", ("SD 2", "not supported"),
             lambda w, n: w.safetensors(n, sd2(), PT)),
        Case("wild/inpainting_checkpoint.safetensors", "checkpoint", "error", ("inpainting", "9"),
             lambda w, n: w.safetensors(n, first(), PT), "cut down to the few weights that tell"),
        Case("wild/embedding_sd2_1024.pt", "embeddings", "error", ("1024", "768", "SD 2"),
             lambda w, n: w.torch(n, style)),
        Case("wild/flux_lora.safetensors", "loras", "error", ("FLUX", "not supported"),
             lambda w, n: w.safetensors(n, flux(), {"ss_base_model_version": "flux1"}, 4)),
    ]  # fmt: skip
