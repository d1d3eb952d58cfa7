"""The configuration files of diffusers folders."""

from model_files.specs import Width


def clip_config(hidden, layers, heads, act, proj, arch):
    return {
        "architectures": [arch],
        "model_type": "clip_text_model",
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": act,
        "projection_dim": proj,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
        "layer_norm_eps": 1e-05,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "attention_dropout": 0.0,
        "dropout": 0.0,
        # The hub's configs say 2, with which transformers pools at argmax(ids): wrong with a textual inversion's ids.
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 49407 if act == "quick_gelu" else 0,
    }


def vae_config(w: Width, scaling=0.18215, upcast=None, size=512):
    c = {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "block_out_channels": [w.vae * m for m in (1, 2, 4, 4)],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "sample_size": size,
        "scaling_factor": scaling,
    }
    if upcast is not None:
        c["force_upcast"] = upcast
    return c


def unet15_config(w: Width):
    return {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "attention_head_dim": 8,
        "block_out_channels": list(w.ch15),
        "center_input_sample": False,
        "cross_attention_dim": w.clip,
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "out_channels": 4,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    }


def unetxl_config(w: Width):
    return {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": w.add_time,
        # heads = channels/64 in the real one (5,10,20); tiny keeps 8 channels per head or so
        "attention_head_dim": [5, 10, 20] if w.mc == 320 else [4, 8, 16],
        "block_out_channels": list(w.chxl),
        "center_input_sample": False,
        "cross_attention_dim": w.ctxxl,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "out_channels": 4,
        "projection_class_embeddings_input_dim": w.adm,
        "sample_size": 128,
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    }


def adapter_config(ch, mid, n, conv_in=None):
    return {
        "_class_name": "MotionAdapter",
        "block_out_channels": list(ch),
        "motion_layers_per_block": 2,
        "motion_max_seq_length": n,
        "motion_mid_block_layers_per_block": 1,
        "motion_norm_num_groups": 32,
        "motion_num_attention_heads": 8,
        "use_motion_mid_block": mid,
        "conv_in_channels": conv_in,
    }


SCHED15 = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
}


def index_config(xl):
    """model_index.json."""
    parts = {
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if xl:
        parts["text_encoder_2"] = ["transformers", "CLIPTextModelWithProjection"]
        parts["tokenizer_2"] = ["transformers", "CLIPTokenizer"]
    return {"_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline", **parts}


def taesd_config(w: Width):
    return {
        "_class_name": "AutoencoderTiny",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "encoder_block_out_channels": [w.taesd] * 4,
        "decoder_block_out_channels": [w.taesd] * 4,
        "act_fn": "relu",
        "num_encoder_blocks": [1, 3, 3, 3],
        "num_decoder_blocks": [3, 3, 3, 1],
        "latent_magnitude": 3,
        "latent_shift": 0.5,
        "scaling_factor": 1.0,
        "upsampling_scaling_factor": 2,
        "force_upcast": False,
    }


def whole(w: Width, xl: bool) -> dict[str, dict]:
    """Every configuration of a diffusers folder by its path."""
    scale = {"scaling": 0.13025, "upcast": True, "size": 1024} if xl else {}
    text = clip_config(w.clip, w.clip_layers, w.clip_heads, "quick_gelu", w.clip, "CLIPTextModel")
    wide = clip_config(w.g, w.g_layers, w.g_heads, "gelu", w.g, "CLIPTextModelWithProjection")
    return {
        "model_index.json": index_config(xl),
        "scheduler/scheduler_config.json": SCHED15,
        "unet/config.json": (unetxl_config if xl else unet15_config)(w),
        "vae/config.json": vae_config(w, **scale),
        "text_encoder/config.json": text,
        **({"text_encoder_2/config.json": wide} if xl else {}),
    }
