"""The LoRA files that users have: every spelling, every algorithm."""

import json
from collections import OrderedDict
from collections.abc import Callable

from model_files.loras import (
    KOHYA_TARGETS,
    LCM_TARGETS,
    attn_only,
    kohya,
    ldm_name,
    mods15,
    modsxl,
    peft,
    pick,
    te_modules,
)
from model_files.specs import TINY, Width, merge
from model_files.writing import Writer

PT = {"format": "pt"}
META = {
    "ss_base_model_version": "sd_v1",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "32",
    "ss_network_alpha": "16.0",
    "ss_sd_model_name": "v1-5-pruned.safetensors",
    "ss_v2": "False",
    "sshs_model_hash": "0" * 64,
}
META_XL = {
    **META,
    "ss_base_model_version": "sdxl_base_v1-0",
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
}


def lycoris(algo: str) -> dict[str, str]:
    return {**META, "ss_network_module": "lycoris.kohya", "ss_network_args": json.dumps({"algo": algo})}


def lora_recipes(w: Writer, width: Width) -> dict[str, Callable[[str], None]]:
    m15, mxl, r = mods15(width), modsxl(width), width.rank
    te, te2 = te_modules(width.clip, width.clip_layers), te_modules(width.g, width.g_layers)
    k15, kxl = pick(m15, KOHYA_TARGETS), pick(mxl, KOHYA_TARGETS)
    ends = ("conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2")
    inner = OrderedDict((k, m) for k, m in m15.items() if k not in ends)
    attn, attn_te = attn_only(m15), OrderedDict((k, m) for k, m in te.items() if "self_attn" in k)
    lcm_alpha = 1 if width is TINY else 8
    peft_meta = {
        "unet.r": r,
        "unet.lora_alpha": r,
        "unet.target_modules": ["to_q", "to_k", "to_v", "to_out.0"],
        "unet.peft_type": "LORA",
        "unet.init_lora_weights": True,
    }

    def st(spec, meta=None, alpha=None):
        return lambda n: w.safetensors(n, spec(), meta or PT, alpha)

    return {
        "loras/lcm-lora-sdv1-5.safetensors": st(lambda: kohya(pick(m15, LCM_TARGETS), r), alpha=lcm_alpha),
        "loras/lcm-lora-sdxl.safetensors": st(lambda: kohya(pick(mxl, LCM_TARGETS), r), alpha=lcm_alpha),
        "loras/kohya_sd15_unet_te.safetensors": st(lambda: merge(kohya(k15, r), kohya(te, r, "lora_te_")), META, r / 2),
        "loras/kohya_sd15_locon.safetensors": st(
            lambda: merge(kohya(inner, r), kohya(te, r, "lora_te_")),
            {**META, "ss_network_args": '{"conv_dim": "4", "conv_alpha": "1"}'},
            1,
        ),
        "loras/kohya_sdxl_ldm_names.safetensors": st(
            lambda: merge(kohya(kxl, r, names=ldm_name), kohya(te, r, "lora_te1_"), kohya(te2, r, "lora_te2_")),
            META_XL,
            r / 2,
        ),
        "loras/kohya_sd15_no_alpha_bf16.safetensors": st(lambda: kohya(k15, r, dt="BF16", alpha=False)),
        "loras/lycoris_loha_sd15.safetensors": st(lambda: kohya(k15, r, kind="loha"), lycoris("loha"), 1),
        "loras/lycoris_lokr_sd15.safetensors": st(lambda: kohya(k15, r, kind="lokr"), lycoris("lokr"), 1),
        "loras/dora_sd15.safetensors": st(lambda: kohya(k15, r, kind="dora"), META, r / 2),
        "loras/diffusers_peft_sd15.safetensors": st(lambda: merge(peft(attn, r), peft(attn_te, r, "text_encoder."))),
        "loras/diffusers_peft_metadata_sd15.safetensors": st(
            lambda: peft(attn, r), {**PT, "lora_adapter_metadata": json.dumps(peft_meta)}
        ),
        "loras/diffusers_dotdown_sd15.safetensors": st(lambda: peft(attn, r, style="lora.down")),
        "loras/diffusers_processor_sd15.safetensors": st(lambda: peft(attn, r, style="processor")),
        "loras/kohya_sd15_old.ckpt": lambda n: w.ckpt(n, kohya(k15, r), None, r / 2),
    }
