"""Single-file checkpoints: names, shapes, and the models built from them."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import save_file

from lcm_video.errors import CheckpointError
from lcm_video.models import Model, find, load
from lcm_video.models.architecture import architectures
from lcm_video.models.building import build_text, build_unet, build_vae
from lcm_video.models.checkpoint import architecture_for, split, vae_weights
from lcm_video.models.files import read
from lcm_video.models.names import unet_name, vae_name


@pytest.fixture(scope="module")
def tensors():
    """The shipped checkpoint, as its file names its weights."""
    return read(find("embedded", kind="checkpoint")).tensors


@pytest.fixture(scope="module")
def config():
    return next(config for config in architectures() if config.name == "embedded")


def without(tensors, *starts):
    return {key: w for key, w in tensors.items() if not key.startswith(starts)}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_unet_and_vae_get_the_names_that_diffusers_gives_them(tensors, config):
    """Oracle: diffusers' converter, which works by other means (lists of keys, block by block)."""
    parts = split(tensors)
    same(parts.unet, convert_ldm_unet_checkpoint(dict(tensors), dict(config.unet)))
    vae = convert_ldm_vae_checkpoint(dict(tensors), dict(config.vae))
    same(parts.vae, {k: w for k, w in vae.items() if not k.startswith("model.")})


def test_the_names_of_a_full_sd15_checkpoint_are_covered(tensors):
    """The embedded model has the very names of SD 1.5's 686 UNet weights, at full width and here."""
    sd15 = next(config for config in architectures() if config.name == "sd15")
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**sd15.unet), AutoencoderKL(**sd15.vae)
    wanted = unet.state_dict()
    assert len(wanted) == 686
    assert sum(w.numel() for w in wanted.values()) == 859_520_964
    assert wanted.keys() == split(tensors).unet.keys()
    assert (len(vae.state_dict()), sum(w.numel() for w in vae.state_dict().values())) == (248, 83_653_863)


def ldm_vae_names():
    """All weights of a full-width SD 1.5 VAE, as LDM names them."""
    names = {f"{n}.{e}" for n in ("quant_conv", "post_quant_conv") for e in ("weight", "bias")}
    for half, blocks, sampler in (("encoder", 2, "down.{}.downsample"), ("decoder", 3, "up.{}.upsample")):
        side = sampler[: sampler.index(".")]
        layers = [f"{side}.{i}.block.{j}.{part}" for i in range(4) for j in range(blocks)
                  for part in ("norm1", "conv1", "norm2", "conv2")]  # fmt: skip
        layers += [sampler.format(i) + ".conv" for i in (range(3) if half == "encoder" else range(1, 4))]
        layers += ["down.1.block.0.nin_shortcut", "down.2.block.0.nin_shortcut"] if half == "encoder" else []
        layers += ["up.0.block.0.nin_shortcut", "up.1.block.0.nin_shortcut"] if half == "decoder" else []
        layers += [f"mid.block_{i}.{part}" for i in (1, 2) for part in ("norm1", "conv1", "norm2", "conv2")]
        layers += [f"mid.attn_1.{part}" for part in ("norm", "q", "k", "v", "proj_out")]
        layers += ["conv_in", "norm_out", "conv_out"]
        names |= {f"{half}.{layer}.{end}" for layer in layers for end in ("weight", "bias")}
    return names


def test_the_names_of_a_full_vae_map_one_to_one():
    sd15 = next(config for config in architectures() if config.name == "sd15")
    with torch.device("meta"):
        wanted = AutoencoderKL(**sd15.vae).state_dict().keys()
    mapped = [vae_name(name) for name in ldm_vae_names()]
    assert len(mapped) == len({*mapped}) == 248
    assert {*mapped} == {*wanted}
    assert {vae_name(name) for name in wanted} == {*wanted}, "diffusers' own names stay"


BY_HEART = {
    "input_blocks.0.0.weight": "conv_in.weight",
    "input_blocks.3.0.op.bias": "down_blocks.0.downsamplers.0.conv.bias",
    "input_blocks.11.0.skip_connection.weight": "down_blocks.3.resnets.1.conv_shortcut.weight",
    "middle_block.1.transformer_blocks.0.norm1.bias": "mid_block.attentions.0.transformer_blocks.0.norm1.bias",
    "output_blocks.2.1.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
    "output_blocks.5.2.conv.weight": "up_blocks.1.upsamplers.0.conv.weight",
    "output_blocks.11.1.norm.weight": "up_blocks.3.attentions.2.norm.weight",
    "label_emb.0.2.weight": "add_embedding.linear_2.weight",
}


@pytest.mark.parametrize("ldm", BY_HEART)
def test_some_names_by_heart(ldm):
    assert unet_name(ldm) == BY_HEART[ldm]


def test_half_precision_weights_are_used_where_they_lie(tensors, config):
    unet = build_unet(split(tensors).unet, config.unet, torch.float16)
    assert unet.dtype == torch.float16
    assert unet.conv_in.weight.data_ptr() == tensors["model.diffusion_model.input_blocks.0.0.weight"].data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_are_frozen_complete_and_in_the_wanted_precision(tensors, config, dtype):
    parts = split(tensors)
    models = [
        build_unet(parts.unet, config.unet, dtype),
        build_vae(parts.vae, config.vae, dtype),
        build_text(parts.text, config.text, dtype),
    ]
    for model in models:
        assert not model.training
        every = [*model.parameters(), *model.buffers()]
        assert not any(weight.is_meta or weight.requires_grad for weight in every)
        assert {weight.dtype for weight in every if weight.is_floating_point()} == {dtype}


def test_the_text_encoder_may_be_named_with_or_without_text_model(tensors, config):
    flat = {key.replace("transformer.text_model.", "transformer."): w for key, w in tensors.items()}
    assert flat.keys() != tensors.keys()
    flat["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)[None]
    same(split(flat).text, split(tensors).text)
    ids = torch.arange(77)[None]
    outs = [build_text(split(t).text, config.text, torch.float32)(ids).last_hidden_state for t in (flat, tensors)]
    assert torch.equal(*outs)


def test_training_leftovers_are_left_behind(tensors, config):
    more = {
        **tensors,
        "betas": torch.zeros(1000),
        "model_ema.decay": torch.zeros(()),
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(3),
        "first_stage_model.loss.logvar": torch.zeros(()),
    }
    for ours, theirs in zip(split(more), split(tensors), strict=True):
        same(ours, theirs)


def test_the_architecture_is_told_by_shapes_never_by_name(tensors):
    weights = split(tensors)
    path = Path("dreamshaper.safetensors")
    assert architecture_for(weights, path).name == "embedded"
    weights.unet["conv_in.weight"] = torch.empty(320, 4, 3, 3)
    weights.unet["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"] = torch.empty(320, 768)
    assert architecture_for(weights, path).name == "sd15"
    weights.unet["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"] = torch.empty(320, 1024)
    with pytest.raises(CheckpointError, match=r"first width 320, text width 1024[\s\S]*known: embedded, sd15, sdxl"):
        architecture_for(weights, path)


def test_the_configs_of_sd15_are_what_diffusers_publishes(golden):
    """The tiny golden model was made with SD 1.5's own settings; only widths, depths and sizes may differ."""
    widths = {"block_out_channels", "sample_size", "cross_attention_dim", "norm_num_groups", "layers_per_block"}
    for name in ("sd15", "embedded"):
        config = next(config for config in architectures() if config.name == name)
        for part, given in (("unet", config.unet), ("vae", config.vae)):
            published = json.loads((golden / f"models/tiny_sd15/{part}/config.json").read_text())
            with torch.device("meta"):
                ours = (UNet2DConditionModel if part == "unet" else AutoencoderKL)(**given).config
            differ = {
                key for key, value in published.items() if not key.startswith("_") and not same_value(ours[key], value)
            }
            allowed = widths if name == "sd15" else widths | {"attention_head_dim", "scaling_factor"}
            assert differ <= allowed, differ


def same_value(ours, theirs):
    return (list(ours) if isinstance(ours, tuple) else ours) == theirs


def save(tmp_path, tensors, name="mine.safetensors"):
    save_file({key: w.contiguous() for key, w in tensors.items()}, tmp_path / name)
    return str(tmp_path / name)


UNET = "model.diffusion_model."
CONV_IN = f"{UNET}input_blocks.0.0"
DAMAGES = {
    r"saved without its VAE\n.*name one under model.vae": lambda t: without(t, "first_stage_model."),
    r"saved without its text encoder\n.*whole checkpoint": lambda t: without(t, "cond_stage_model."),
    "UNet: 2 .* missing, first mid_block.attentions.0.proj_in": lambda t: without(t, f"{UNET}middle_block.1.proj_in"),
    "not a complete checkpoint: conv_in is missing": lambda t: without(t, CONV_IN),
    "UNet: 1 weights unknown, first down": lambda t: t | {f"{UNET}input_blocks.2.1.gate": torch.ones(1)},
    "is an inpainting checkpoint.*\n.*takes 9 channels": lambda t: t | {f"{CONV_IN}.weight": torch.zeros(32, 9, 3, 3)},
    r"first conv_in.bias: \(31,\) instead of \(32,\)": lambda t: t | {f"{CONV_IN}.bias": torch.zeros(31)},
    "is a VAE, not a checkpoint": lambda t: without(t, "model.", "cond"),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_checkpoint_that_lacks_something_says_what(tmp_path, tensors, message):
    path = save(tmp_path, DAMAGES[message](dict(tensors)))
    with pytest.raises(CheckpointError, match=message) as caught:
        load(Model(checkpoint=path))
    assert "mine.safetensors" in caught.value.message


@pytest.mark.parametrize("names", ["ldm", "diffusers", "old diffusers"])
def test_a_vae_of_its_own_takes_the_place_of_the_checkpoints(tmp_path, tensors, names):
    """Brighter by its last bias, so that it can be told from the checkpoint's own."""
    prefix = "first_stage_model."
    vae = {key.removeprefix(prefix): w for key, w in tensors.items() if key.startswith(prefix)}
    vae["decoder.conv_out.bias"] = vae["decoder.conv_out.bias"] + 0.5
    if names != "ldm":
        vae = vae_weights(vae)
    if names == "old diffusers":
        words = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, old in words.items():
            vae = {key.replace(f".attentions.0.{new}.", f".attentions.0.{old}."): w for key, w in vae.items()}
        assert any("proj_attn" in key for key in vae)
    bare = save(tmp_path, without(tensors, prefix), "bare.safetensors")
    parts = load(Model(checkpoint=bare, vae=save(tmp_path, vae, "vae.safetensors")))
    own = load(Model(checkpoint="embedded"))
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    brighter = own.vae.decode(latents) + (
        vae["decoder.conv_out.bias"] - tensors[f"{prefix}decoder.conv_out.bias"]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(parts.vae.decode(latents), brighter, atol=1e-3, rtol=0)
    assert [file.role for file in parts.files] == ["checkpoint", "vae"]
