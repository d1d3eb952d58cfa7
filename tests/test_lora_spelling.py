"""Every spelling of a layer leads to the same layer, and what is in no spelling is said so."""

import json

import pytest
import torch
from model_files.loras import ldm_name, mods15, modsxl
from model_files.specs import TINY

from lcm_video.errors import CheckpointError
from lcm_video.models import lora
from lcm_video.models.lora.spelling import place, unet_layer

TO_Q = "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
DOTTED = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
LDM = "input_blocks_4_1_transformer_blocks_0_attn1_to_q"
SPELLINGS = [
    f"lora_unet_{TO_Q}.lora_down.weight",
    f"lora_unet_{LDM}.lora_down.weight",
    f"lycoris_{TO_Q}.lora_down.weight",
    f"unet.{DOTTED}.to_q.lora_A.weight",
    f"unet.{DOTTED}.to_q.lora_A.default.weight",
    f"unet.{DOTTED}.to_q.lora_A.default_0.weight",
    f"base_model.model.{DOTTED}.to_q.lora_A.weight",
    f"base_model.model.unet.{DOTTED}.to_q.lora_A.weight",
    f"unet.base_model.model.{DOTTED}.to_q.lora_A.weight",
    f"unet.{DOTTED}.to_q.lora.down.weight",
    f"unet.{DOTTED}.processor.to_q_lora.down.weight",
    f"{DOTTED}.processor.to_q_lora.down.weight",
    "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_down.weight",
    "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
]


@pytest.mark.parametrize("key", SPELLINGS)
def test_every_spelling_of_a_unets_layer_is_read(key):
    assert place(key) == ("unet", TO_Q, lora.LowRank, "down")


FC1 = "encoder_layers_3_mlp_fc1"
TEXTS = [
    (f"lora_te_text_model_{FC1}.lora_up.weight", "text"),
    (f"lora_te1_text_model_{FC1}.lora_up.weight", "text"),
    (f"lora_te2_text_model_{FC1}.lora_up.weight", "text 2"),
    ("text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_B.weight", "text"),
    ("text_encoder.encoder.layers.3.mlp.fc1.lora_B.weight", "text"),
    ("text_encoder_2.text_model.encoder.layers.3.mlp.fc1.lora_B.weight", "text 2"),
    ("text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_linear_layer.up.weight", "text"),
    ("base_model.model.text_model.encoder.layers.3.mlp.fc1.lora_B.weight", "text"),
    ("text_encoders.clip_l.transformer.text_model.encoder.layers.3.mlp.fc1.lora_up.weight", "text"),
    ("text_encoders.clip_g.transformer.text_model.encoder.layers.3.mlp.fc1.lora_up.weight", "text 2"),
    (f"lycoris_text_model_{FC1}.lora_up.weight", "text"),
]


@pytest.mark.parametrize(("key", "target"), TEXTS)
def test_every_spelling_of_a_text_encoders_layer_is_read(key, target):
    assert place(key) == (target, FC1, lora.LowRank, "up")


def test_the_first_spelling_of_a_text_encoders_attention_is_read():
    key = "text_encoder.text_model.encoder.layers.3.self_attn.{}.down.weight"
    assert place(key.format("to_q_lora")).layer == "encoder_layers_3_self_attn_q_proj"
    assert place(key.format("to_out_lora")).layer == "encoder_layers_3_self_attn_out_proj"


@pytest.mark.parametrize("modules", [mods15(TINY), modsxl(TINY)], ids=["SD 1.5", "SDXL"])
def test_every_layer_of_a_unet_is_found_under_its_ldm_name(modules):
    assert len(modules) > 280
    for name in modules:
        assert unet_layer(ldm_name(name).replace(".", "_")) == name.replace(".", "_"), name
        assert unet_layer(ldm_name(name)) == name.replace(".", "_"), name
        assert unet_layer(name) == unet_layer(name.replace(".", "_")) == name.replace(".", "_")


OUTSIDE = {
    "time_embed_0": "time_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_2": "conv_out",
    "input_blocks_0_0": "conv_in",
    "input_blocks_3_0_op": "down_blocks_0_downsamplers_0_conv",
    "output_blocks_2_1_conv": "up_blocks_0_upsamplers_0_conv",
    "middle_block_0_emb_layers_1": "mid_block_resnets_0_time_emb_proj",
}


@pytest.mark.parametrize("old", OUTSIDE)
def test_ldm_layers_outside_the_transformers_are_found(old):
    assert unet_layer(old) == OUTSIDE[old]


MOTION = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0"
IN_MOTION = "mid_block_motion_modules_0_transformer_blocks_0"


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        (f"{MOTION}.attention_blocks.1.processor.to_v_lora.down.weight", "attn2_to_v"),
        (f"{MOTION}.attention_blocks.0.processor.to_out_lora.down.weight", "attn1_to_out_0"),
        (f"{MOTION}.attention_blocks.0.to_out.processor.0_lora.down.weight", "attn1_to_out_0"),
        (f"{MOTION}.ff.net.0.processor.proj_lora.down.weight", "ff_net_0_proj"),
        (f"{MOTION}.ff.net.processor.2_lora.down.weight", "ff_net_2"),
        ("unet.mid_block.motion_modules.0.transformer_blocks.0.attn2.to_v.lora_A.weight", "attn2_to_v"),
    ],
)
def test_every_spelling_of_a_motion_modules_layer_is_read(key, layer):
    assert place(key) == ("unet", f"{IN_MOTION}_{layer}", lora.LowRank, "down")


@pytest.mark.parametrize(
    "key", ["proj.down", "proj.lora_down.weight", "lora_unet_proj.weight", "unet..lora_A", "lora_unet_", ""]
)
def test_what_is_in_no_spelling_means_nothing(key):
    assert place(key) is None
    if key:
        with pytest.raises(CheckpointError, match="1 of its 1 weights have unknown names, first") as caught:
            lora.read({key: torch.zeros(1)})
        assert caught.value.remedy


def test_a_layer_that_stands_twice_in_a_file_is_refused():
    """Whichever came last would count, without a word."""
    names = (f"lora_unet_{TO_Q}", f"lora_unet_{LDM}")
    tensors = {f"{name}.lora_{part}.weight": torch.ones(4, 4) for name in names for part in ("down", "up")}
    with pytest.raises(CheckpointError, match=f"{TO_Q} is changed twice"):
        lora.read(tensors)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("lora_unet_proj.oft_blocks", "an OFT"),
        ("lora_unet_proj.on_input", r"an \(IA\)³"),
        ("lora_unet_proj.a1.weight", "a GLoRA"),
        ("lora_unet_single_blocks_0_linear1.lora_down.weight", "a FLUX LoRA"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "a FLUX LoRA"),
        ("transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight", "a FLUX LoRA"),
        ("lora_unet_joint_blocks_0_x.lora_down.weight", "an SD 3 LoRA"),
    ],
)
def test_what_is_not_supported_is_called_by_its_name(key, what):
    with pytest.raises(CheckpointError, match=f"it is {what}, which is not supported"):
        lora.read({key: torch.zeros(1)})


def peft(config, key="lora_adapter_metadata"):
    tensors = {
        f"unet.{DOTTED}.to_q.lora_A.weight": torch.ones(4, 6),
        f"unet.{DOTTED}.to_q.lora_B.weight": torch.ones(5, 4),
    }
    return lora.read(tensors, {key: config if isinstance(config, str) else json.dumps(config)})["unet"][TO_Q].factor


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({"unet.r": 4, "unet.lora_alpha": 8}, 2.0),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 2}}, 0.5),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_k": 2}}, 2.0),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 4.0),
        ({"text_encoder.lora_alpha": 8}, 1.0),
        ({"r": 4, "lora_alpha": 16, "peft_type": "LORA"}, 4.0),
        ("not JSON", 1.0),
        ("[1]", 1.0),
        ("", 1.0),
    ],
)
def test_alpha_stands_in_pefts_configuration(config, factor):
    assert peft(config) == factor


def test_pefts_configuration_is_read_from_beside_its_file(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 12, "r": 4}))
    assert peft(lora.configuration(tmp_path / "adapter_model.safetensors", {})["adapter_config"], "adapter_config") == 3
    assert lora.configuration(tmp_path / "other.safetensors", {"a": "b"}) == {"a": "b"}


def test_a_layers_own_alpha_goes_before_pefts_configuration():
    tensors = {f"lora_unet_{TO_Q}.lora_{name}.weight": torch.ones(4, 4) for name in ("down", "up")}
    tensors[f"lora_unet_{TO_Q}.alpha"] = torch.tensor(1.0)
    assert lora.read(tensors, {"lora_adapter_metadata": '{"unet.lora_alpha": 8}'})["unet"][TO_Q].factor == 0.25
