"""LoRA files as people have them, whole: every module of each finds its layer, in a model of the real structure."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from model_files.configs import clip_config, unet15_config, unetxl_config
from model_files.loras import attn_only, modsxl
from model_files.specs import TINY
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lcm_video.errors import CheckpointError
from lcm_video.models import lora, motion
from lcm_video.models.cards import recognise
from lcm_video.models.files import read

CLIP_L = (TINY.clip, TINY.clip_layers, TINY.clip_heads, "quick_gelu", TINY.clip, "CLIPTextModel")
CLIP_G = (TINY.g, TINY.g_layers, TINY.g_heads, "gelu", TINY.g, "CLIPTextModelWithProjection")


def unet_of(config):
    return UNet2DConditionModel.from_config({**config, "sample_size": 8})


def models(family):
    """UNet and text encoders of a family, with every real layer and few channels; on the meta device, as shapes."""
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(**clip_config(*CLIP_L)))
        if family == "sd15":
            return {"unet": unet_of(unet15_config(TINY)), "text": text}
        second = CLIPTextModelWithProjection(CLIPTextConfig(**clip_config(*CLIP_G)))
        return {"unet": unet_of(unetxl_config(TINY)), "text": text, "text 2": second}


FILES = {
    "lcm-lora-sdv1-5.safetensors": ("sd15", {"unet": 278}),
    "lcm-lora-sdxl.safetensors": ("sdxl", {"unet": 788}),
    "kohya_sd15_unet_te.safetensors": ("sd15", {"unet": 192, "text": 72}),
    "kohya_sd15_locon.safetensors": ("sd15", {"unet": 278, "text": 72}),
    "kohya_sdxl_ldm_names.safetensors": ("sdxl", {"unet": 722, "text": 72, "text 2": 192}),
    "kohya_sd15_no_alpha_bf16.safetensors": ("sd15", {"unet": 192}),
    "lycoris_loha_sd15.safetensors": ("sd15", {"unet": 192}),
    "lycoris_lokr_sd15.safetensors": ("sd15", {"unet": 192}),
    "dora_sd15.safetensors": ("sd15", {"unet": 192}),
    "diffusers_peft_sd15.safetensors": ("sd15", {"unet": 128, "text": 48}),
    "diffusers_peft_metadata_sd15.safetensors": ("sd15", {"unet": 128}),
    "diffusers_dotdown_sd15.safetensors": ("sd15", {"unet": 128}),
    "diffusers_processor_sd15.safetensors": ("sd15", {"unet": 128}),
    "kohya_sd15_old.ckpt": ("sd15", {"unet": 192}),
}


def changes_in(model_files, name, folder="loras"):
    return lora.read(*read(model_files(f"{folder}/{name}") / folder / name))


@pytest.mark.parametrize("name", FILES)
def test_every_module_of_a_file_finds_its_layer(model_files, name):
    family, counts = FILES[name]
    changes = changes_in(model_files, name)
    assert {target: len(change) for target, change in changes.items() if change} == counts
    lora.check_family(changes, family)
    for target, model in models(family).items():
        assert len(lora.places(model, changes[target])) == len(changes[target])


@pytest.mark.parametrize(
    "name", ["kohya_sd15_locon.safetensors", "lycoris_lokr_sd15.safetensors", "dora_sd15.safetensors"]
)
def test_merging_a_file_changes_its_layers_and_no_others(model_files, name):
    torch.manual_seed(0)
    unet, changes = unet_of(unet15_config(TINY)), changes_in(model_files, name)["unet"]
    before = {key: weight.clone() for key, weight in unet.state_dict().items()}
    assert lora.merge(unet, changes) == len(changes)
    changed = {key for key, weight in unet.state_dict().items() if not torch.equal(weight, before[key])}
    assert {key.removesuffix(".weight").replace(".", "_") for key in changed} == set(changes)
    key = "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k"
    delta = unet.get_parameter(f"{key}.weight") - before[f"{key}.weight"]
    wanted = changes[key.replace(".", "_")].delta(before[f"{key}.weight"])
    torch.testing.assert_close(delta, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "own", "other"), [
    ("kohya_sdxl_ldm_names.safetensors", "SDXL", "sd15"), ("lcm-lora-sdxl.safetensors", "SDXL", "sd15"),
    ("lcm-lora-sdv1-5.safetensors", "SD 1.5", "sdxl"), ("diffusers_processor_sd15.safetensors", "SD 1.5", "sdxl"),
])  # fmt: skip
def test_a_lora_of_another_family_is_refused_in_one_sentence(model_files, name, own, other):
    with pytest.raises(CheckpointError, match=f"it is an {own} LoRA, the checkpoint is SD") as caught:
        lora.check_family(changes_in(model_files, name), other)
    assert caught.value.remedy


def test_a_lora_with_modules_that_do_not_exist_names_how_many_and_the_first(model_files):
    changes = changes_in(model_files, "lcm-lora-sdv1-5.safetensors")["unet"]
    renamed = {name.replace("up_blocks_3", "up_blocks_9"): change for name, change in changes.items()}
    lost = sum("up_blocks_9" in name for name in renamed)
    with pytest.raises(
        CheckpointError, match=rf"{lost} of its 278 modules .* first up_blocks_9_attentions_0_proj_in, .* …"
    ):
        lora.places(models("sd15")["unet"], renamed)


def test_a_lora_of_another_width_is_refused(model_files):
    sdxl = {name.replace(".", "_") for name in attn_only(modsxl(TINY))}
    changes = changes_in(model_files, "lcm-lora-sdxl.safetensors")["unet"]
    wide = {name: change for name, change in changes.items() if name in sdxl and name.startswith("mid_block")}
    with pytest.raises(CheckpointError, match="in this model"):
        lora.places(models("sd15")["unet"], wide)


@pytest.fixture(scope="module")
def moving(model_files):
    """A UNet of real structure with the motion module that is asked for."""

    def made(name):
        torch.manual_seed(0)
        unet = unet_of(unet15_config(TINY))
        tensors, metadata = read(model_files(f"motion/{name}") / "motion" / name)
        card = recognise({key: tuple(tensor.shape) for key, tensor in tensors.items()}, metadata, file=name)
        motion.inject(unet, motion.read(tensors, card), shared_norm=card.shared_norm)
        return unet

    return made


@pytest.mark.parametrize(("name", "module", "count"), [
    ("v2_lora_ZoomIn.ckpt", "mm_sd_v15_v2.ckpt", 168), ("v2_lora_ZoomIn.ckpt", "AnimateLCM_sd15_t2v.ckpt", 168),
    ("motiondirector_style.safetensors", "v3_sd15_mm.ckpt", 200), ("v3_sd15_adapter.ckpt", "v3_sd15_mm.ckpt", 128),
    ("motiondirector_style.safetensors", "mm_sd_v15.ckpt", 200),
])  # fmt: skip
def test_a_motion_lora_and_the_domain_adapter_are_applied_whole(model_files, moving, name, module, count):
    unet = moving(module)
    before = {key: weight.clone() for key, weight in unet.state_dict().items()}
    changes = changes_in(model_files, name, "motion_lora")
    assert lora.merge(unet, changes["unet"]) == count
    changed = {key for key, weight in unet.state_dict().items() if not torch.equal(weight, before[key])}
    assert len(changed) == count
    assert all((".temporal." in key) == ("adapter" not in name) for key in changed)


def test_a_shared_norm_hides_no_layer(moving, model_files):
    """v1 wraps the norms of all resnets; a LoRA's other layers are still found, and so are the norms themselves."""
    unet = moving("mm_sd_v15.ckpt")
    changes = changes_in(model_files, "kohya_sd15_locon.safetensors")["unet"]
    changes["down_blocks_0_resnets_0_norm1"] = lora.Full(torch.ones(32))
    before = unet.down_blocks[0].resnets[0].norm1.norm.weight.clone()
    assert lora.merge(unet, changes) == 279
    torch.testing.assert_close(unet.down_blocks[0].resnets[0].norm1.norm.weight, before + 1)


def test_a_motion_lora_without_a_motion_module_says_what_to_do(model_files):
    changes = changes_in(model_files, "v2_lora_ZoomIn.ckpt", "motion_lora")["unet"]
    with pytest.raises(CheckpointError, match=r"motion LoRA \(168 modules\), and there is no motion module") as caught:
        lora.places(models("sd15")["unet"], changes)
    assert "set model.motion" in caught.value.remedy


@pytest.mark.parametrize("module", ["mm_sd_v15.ckpt", "v3_sd15_mm.ckpt"])
def test_a_v2_motion_lora_is_refused_for_a_module_without_a_middle_block(model_files, moving, module):
    changes = changes_in(model_files, "v2_lora_ZoomIn.ckpt", "motion_lora")["unet"]
    with pytest.raises(CheckpointError, match=r"8 of its 168 .* middle block, and this one has none") as caught:
        lora.merge(moving(module), changes)
    assert "animatediff-v2" in caught.value.remedy
