"""Files that hurt: of the right kind, with wrong or unusual content."""

from collections import OrderedDict

from model_files.checkpoints import ldm_unet, sd15
from model_files.loras import KOHYA_TARGETS, kohya, mods15, pick, te_modules
from model_files.motion import motion
from model_files.specs import TINY, Spec, merge, reprefix
from model_files.vaes import ldm_vae
from model_files.wild import PT, Case, seeded


def without(spec: OrderedDict, *parts: str) -> OrderedDict:
    return OrderedDict((k, v) for k, v in spec.items() if not any(part in k for part in parts))


def some_lora(count: int) -> OrderedDict:
    return kohya(OrderedDict(list(pick(mods15(TINY), KOHYA_TARGETS).items())[:count]), 4)


def no_up() -> OrderedDict:
    spec = some_lora(4)
    spec.pop(next(k for k in spec if k.endswith("lora_up.weight")))
    return spec


def ninth_block() -> OrderedDict:
    name, spec = "lora_unet_down_blocks_9_attentions_0_proj_in", some_lora(4)
    spec[f"{name}.lora_down.weight"] = ((4, 32, 1, 1), "F16")
    spec[f"{name}.lora_up.weight"] = ((32, 4, 1, 1), "F16")
    spec[f"{name}.alpha"] = ((), "F16")
    return spec


def motion_nan(state: OrderedDict) -> None:
    state["down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight"][0, 0] = float("nan")
    state["up_blocks.0.motion_modules.0.temporal_transformer.proj_out.bias"][0] = float("inf")


def lora_nan(state: OrderedDict) -> None:
    state[next(k for k in state if k.endswith("lora_up.weight"))].fill_(float("nan"))


def content_cases() -> list[Case]:
    """Missing, extra and broken weights, for each slot."""
    return [*motion_cases(), *lora_cases(), *checkpoint_cases(), *embedding_cases()]


def motion_cases() -> list[Case]:
    channels = TINY.ch15
    v2, v3 = motion(channels, True, 32, "F16"), motion(channels, False, 32, "F16")
    nine = Spec("F16")
    nine.conv("conv_in", TINY.mc, 9)
    spatial = OrderedDict(list(ldm_unet(32, (1, 2, 4, 4), (1, 1, 1, 0), 32, dt="F16", prefix="").items())[:30])
    return [
        Case("wild/motion_module_prefix.ckpt", "motion", "ok", (),
             lambda w, n: w.ckpt(n, reprefix(v3, "module."), "state_dict", extra={"epoch": 1, "global_step": 10})),
        Case("wild/motion_missing_keys.safetensors", "motion", "error", ("missing", "up_blocks.2"),
             lambda w, n: w.safetensors(n, without(v2, "up_blocks.2"), PT)),
        Case("wild/motion_extra_keys.safetensors", "motion", "either", ("conv_in",),
             lambda w, n: w.safetensors(n, merge(v3, nine), PT), "PIA: not a plain motion module"),
        Case("wild/motion_ckpt_with_full_unet.ckpt", "motion", "ok", (),
             lambda w, n: w.ckpt(n, merge(v2, spatial), "state_dict", extra={"global_step": 5})),
        Case("wild/motion_pe24_asked_32.safetensors", "motion over 32 frames", "error", ("24", "32"),
             lambda w, n: w.safetensors(n, motion(channels, False, 24, "F16"), PT)),
        Case("wild/motion_nan.safetensors", "motion", "error", ("NaN", "down_blocks.0.motion_modules.0"),
             lambda w, n: w.safetensors(n, v3, PT, edit=motion_nan), "otherwise the film is black"),
    ]  # fmt: skip


def lora_cases() -> list[Case]:
    return [
        Case("wild/lora_nan.safetensors", "loras", "error", ("NaN",),
             lambda w, n: w.safetensors(n, some_lora(8), PT, 4, edit=lora_nan)),
        Case("wild/lora_missing_up.safetensors", "loras", "error", ("lora_up|half|up", "missing|without|has no"),
             lambda w, n: w.safetensors(n, no_up(), PT, 4)),
        Case("wild/lora_unknown_module.safetensors", "loras", "either", ("down_blocks_9|down_blocks.9",),
             lambda w, n: w.safetensors(n, ninth_block(), PT, 4)),
        Case("wild/lora_only_text_encoder.safetensors", "loras", "ok", (),
             lambda w, n: w.safetensors(n, kohya(te_modules(TINY.clip, 2), 4, "lora_te_"), PT, 4)),
    ]  # fmt: skip


def checkpoint_cases() -> list[Case]:
    proj = "model.diffusion_model.middle_block.1.proj_in.weight"
    return [
        Case("wild/vae_fp8.safetensors", "vae", "ok", (),
             lambda w, n: w.safetensors(n, ldm_vae(TINY.vae, "F8", ""), PT)),
        Case("wild/checkpoint_no_text_encoder.safetensors", "checkpoint", "error", ("text encoder",),
             lambda w, n: w.safetensors(n, without(sd15(TINY), "cond_stage_model"), PT)),
        Case("wild/checkpoint_missing_vae.safetensors", "checkpoint", "error", ("VAE", "model.vae"),
             lambda w, n: w.safetensors(n, without(sd15(TINY), "first_stage_model"), PT), "then `vae` is needed"),
        Case("wild/checkpoint_one_unet_key_missing.safetensors", "checkpoint", "error",
             ("missing", "middle_block.1.proj_in|mid_block.attentions.0.proj_in"),
             lambda w, n: w.safetensors(n, without(sd15(TINY), proj), PT)),
    ]  # fmt: skip


def embedding_cases() -> list[Case]:
    two = OrderedDict(first=((2, TINY.clip), "F32"), second=((2, TINY.clip), "F32"))
    cat = {"string_to_token": {"*": 265}, "string_to_param": {"*": seeded(2, TINY.clip)}, "name": "cat", "step": 1}
    return [
        Case("wild/embedding_two_tokens.safetensors", "embeddings", "either", ("2|two", "embedding"),
             lambda w, n: w.safetensors(n, two)),
        Case("wild/embedding_name_collision.pt", "embeddings", "ok", (), lambda w, n: w.torch(n, cat),
             "the name inside is an ordinary word: the file's name is the trigger"),
    ]  # fmt: skip
