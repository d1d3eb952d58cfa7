import json

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import nn

from lcm_video.errors import CheckpointError
from lcm_video.models import beside, lora, motion
from lcm_video.models.call import Call, calling
from lcm_video.models.unet import Unet

LAYERS = [nn.Linear(6, 5), nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(6, 5, 3, stride=2, padding=1)]


def low_rank(layer, *, rank=4, alpha=2.0, name="proj", seed=0):
    """A LoRA for one layer, in kohya's names."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *layer.weight.shape[1:], generator=generator)
    up = torch.randn(layer.weight.shape[0], rank, *[1] * (layer.weight.ndim - 2), generator=generator)
    keys = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(alpha)}
    return {f"lora_unet_{name}.{key}": value for key, value in keys.items()}


def cases(golden_folder):
    return json.loads((golden_folder / "lora/lora_math.json").read_text()), np.load(
        golden_folder / "lora/lora_math.npz"
    )


@pytest.mark.parametrize("number", range(5))
def test_merging_equals_comfyui(golden, number):
    facts, arrays = cases(golden)
    case = facts[number]
    weight, down, up, out = (torch.from_numpy(arrays[f"{case['case']}_{part}"]) for part in ("W", "down", "up", "out"))
    layer = nn.Linear(*weight.shape[::-1]) if weight.ndim == 2 else nn.Conv2d(*weight.shape[1::-1], weight.shape[2:])
    layer.weight = nn.Parameter(weight, requires_grad=False)
    tensors = {"lora_unet_proj.lora_down.weight": down, "lora_unet_proj.lora_up.weight": up}
    if case["alpha"] is not None:
        tensors["lora_unet_proj.alpha"] = torch.tensor(case["alpha"])
    model = nn.ModuleDict({"proj": layer})
    assert lora.merge(model, lora.read(tensors)["unet"], scale=case["strength"]) == 1
    torch.testing.assert_close(model["proj"].weight, out, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_merging_equals_running_beside_the_layer(layer):
    x = torch.randn(2, 6) if layer.weight.ndim == 2 else torch.randn(2, 6, 8, 8)
    changes = lora.read(low_rank(layer))["unet"]
    with torch.no_grad():
        plain = layer(x)
        detach = beside.attach(nn.ModuleDict({"proj": layer}), changes, name="fox")
        with calling(Call(2, strengths={"fox": torch.full((2,), 0.7)})):
            beside_it = layer(x)
        assert torch.equal(layer(x), plain), "a call that gives no strength runs without it"
        detach()
        model = nn.ModuleDict({"proj": layer})
        before = layer.weight
        lora.merge(model, changes, scale=0.7)
        torch.testing.assert_close(model["proj"](x), beside_it, atol=1e-5, rtol=1e-5)
        layer.weight = before
        assert torch.equal(layer(x), plain)


def test_strength_varies_by_frame(unet):
    """Frames with strength 0 are drawn as without the LoRA, those with 1 as merged, others in between."""
    names = ["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "down_blocks.0.resnets.0.conv1",
             "mid_block.resnets.0.time_emb_proj", "up_blocks.1.attentions.0.proj_in"]  # fmt: skip
    tensors = {}
    for seed, name in enumerate(names):
        tensors |= low_rank(unet.get_submodule(name), name=name.replace(".", "_"), seed=seed)
    changes = lora.read(tensors)["unet"]
    latents, tokens = torch.randn(3, 4, 8, 8), torch.randn(3, 3, 16)
    plain = Unet(unet)(latents, 499.0, {"tokens": tokens}, clip=3)
    detach = beside.attach(unet, changes, name="fox")
    mixed = Unet(unet)(latents, 499.0, {"tokens": tokens, "lora:fox": torch.tensor([0, 1, 0.5])}, clip=3)
    detach()
    assert torch.equal(Unet(unet)(latents, 499.0, {"tokens": tokens}, clip=3), plain)
    lora.merge(unet, changes)
    merged = Unet(unet)(latents, 499.0, {"tokens": tokens}, clip=3)
    torch.testing.assert_close(mixed[0], plain[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1], merged[1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mixed[2], plain[2], atol=1e-3)
    assert not torch.allclose(mixed[2], merged[2], atol=1e-3)


def in_motion(unet, name="down_blocks_0_motion_modules_0_transformer_blocks_0_attn1_to_v"):
    """A LoRA of one temporal layer."""
    layer = unet.down_blocks[0].attentions[0].temporal.transformer_blocks[0].attn1.to_v
    return lora.read(low_rank(layer, name=name))["unet"]


@pytest.mark.parametrize("clips", [1, 2])
def test_the_strength_of_a_motion_lora_varies_by_frame(unet, motion_module, clips):
    """In a temporal layer frames lie along the second axis, and pixels of all clips along the first."""
    motion.inject(unet, motion_module)
    layer = unet.down_blocks[0].attentions[0].temporal.transformer_blocks[0].attn1.to_v
    changes, strength = in_motion(unet), torch.rand(clips * 3)
    x = torch.randn(clips * 20, 3, 32)
    with torch.no_grad():
        plain = layer(x)
        detach = beside.attach(unet, changes, name="zoom")
        with calling(Call(3, strengths={"zoom": strength})):
            varied = layer(x)
        detach()
        lora.merge(unet, changes)
        added = layer(x) - plain
    for clip in range(clips):
        for frame in range(3):
            rows = slice(clip * 20, (clip + 1) * 20)
            expected = plain[rows, frame] + strength[clip * 3 + frame] * added[rows, frame]
            torch.testing.assert_close(varied[rows, frame], expected, atol=1e-5, rtol=1e-5)


def test_merging_after_injection_equals_merging_before(unet, motion_module):
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = low_rank(unet.get_submodule(name), name=name.replace(".", "_"))
    layer, before = unet.get_submodule(name), unet.get_submodule(name).weight
    lora.merge(unet, lora.read(tensors)["unet"])
    merged, layer.weight = layer.weight, before
    motion.inject(unet, motion_module, shared_norm=True)
    assert lora.merge(unet, lora.read(tensors)["unet"]) == 1
    assert torch.equal(layer.weight, merged)
    assert not torch.equal(layer.weight, before)


def test_a_lora_beside_survives_injection(unet, motion_module):
    """Motion modules wrap the layers that a LoRA acts on; attached before, it keeps acting."""
    name = "up_blocks.1.attentions.0.proj_in"
    changes = lora.read(low_rank(unet.get_submodule(name), name=name.replace(".", "_")))["unet"]
    beside.attach(unet, changes, name="fox")
    motion.inject(unet, motion_module)
    latents, tokens = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 16)
    without, given = (
        Unet(unet)(latents, 499.0, {"tokens": tokens, "lora:fox": torch.full((2,), s)}, clip=2) for s in (0.0, 1.0)
    )
    assert not torch.allclose(without, given, atol=1e-3)


def test_a_real_lcm_lora_is_applied_whole(golden):
    """As the LCM authors write it: linear and convolution, alpha unlike rank, time embeddings too."""
    unet = UNet2DConditionModel.from_pretrained(golden / "models/tiny_sd15/unet", torch_dtype=torch.float32)
    tensors = load_file(golden / "models/lora/tiny_lcm_lora_kohya.safetensors")
    before = {name: w.clone() for name, w in unet.state_dict().items()}
    modules = {key.split(".")[0] for key in tensors}
    assert lora.merge(unet, lora.read(tensors)["unet"], scale=0.5) == len(modules) == 278
    changed = {n for n, w in unet.state_dict().items() if not torch.equal(w, before[n])}
    assert {f"lora_unet_{n.removesuffix('.weight').replace('.', '_')}" for n in changed} == modules
    name = "down_blocks.0.resnets.0.conv1"
    key = f"lora_unet_{name.replace('.', '_')}"
    down, up = (tensors[f"{key}.lora_{part}.weight"].float() for part in ("down", "up"))
    delta = torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down) * float(tensors[f"{key}.alpha"]) / len(down) * 0.5
    torch.testing.assert_close(unet.get_submodule(name).weight, before[f"{name}.weight"] + delta)


SPELLINGS = {
    "kohya": ("lora_unet_down_blocks_0_resnets_0_conv1", ".lora_down.weight", ".lora_up.weight"),
    "peft": ("unet.down_blocks.0.resnets.0.conv1", ".lora_A.weight", ".lora_B.weight"),
    "diffusers": ("unet.down_blocks.0.resnets.0.conv1", ".lora.down.weight", ".lora.up.weight"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_changes_the_same_layer(unet, spelling):
    layer, down, up = SPELLINGS[spelling]
    changes = lora.read({layer + down: torch.randn(2, 32, 3, 3), layer + up: torch.randn(32, 2, 1, 1)})
    assert changes["text"] == {}
    assert lora.places(unet, changes["unet"]) == {"down_blocks_0_resnets_0_conv1": unet.down_blocks[0].resnets[0].conv1}
    assert changes["unet"]["down_blocks_0_resnets_0_conv1"].factor == 1, "no alpha means alpha = rank"


@pytest.mark.parametrize(
    "prefix", ["lora_te_text_model_encoder_layers_1_mlp_fc1", "text_encoder.text_model.encoder.layers.1.mlp.fc1"]
)
def test_text_encoder_layers_are_found_with_or_without_text_model(golden, prefix):
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(golden / "models/tiny_sd15/text_encoder", dtype=torch.float32)
    ends = (
        (".lora_down.weight", ".lora_up.weight") if prefix.startswith("lora") else (".lora_A.weight", ".lora_B.weight")
    )
    changes = lora.read({prefix + ends[0]: torch.ones(2, 24), prefix + ends[1]: torch.ones(48, 2)})["text"]
    layer = getattr(text, "text_model", text).encoder.layers[1].mlp.fc1
    before = layer.weight.clone()
    assert lora.merge(text, changes, scale=0.5) == 1
    torch.testing.assert_close(layer.weight, before + 1)


def test_merging_in_half_precision_rounds_once():
    layer = nn.Linear(6, 5).half()
    exact = layer.weight.float() + 0.3 * lora.read(low_rank(nn.Linear(6, 5)))["unet"]["proj"].delta(layer.weight)
    model = nn.ModuleDict({"proj": layer})
    lora.merge(model, lora.read(low_rank(nn.Linear(6, 5)))["unet"], scale=0.3)
    assert torch.equal(model["proj"].weight, exact.half())


def test_weights_are_replaced_not_written_to():
    """They may be pages of a mapped file."""
    layer = nn.Linear(6, 5)
    kept = layer.weight.data
    copy = kept.clone()
    lora.merge(nn.ModuleDict({"proj": layer}), lora.read(low_rank(layer))["unet"])
    assert torch.equal(kept, copy)
    assert not torch.equal(layer.weight, copy)


def kohya(**weights):
    return {f"lora_unet_{key.replace('__', '.')}.weight": weight for key, weight in weights.items()}


UP = torch.zeros(5, 1)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            kohya(elsewhere__lora_down=torch.zeros(1, 6), elsewhere__lora_up=UP),
            "1 of its 1 modules .*, first elsewhere",
        ),
        (kohya(proj__lora_down=torch.zeros(1, 7), proj__lora_up=UP), r"is \(5, 6\) in .* the LoRA changes \(5, 7\)"),
        (kohya(proj__lora_down=torch.zeros(1, 6)), "proj has no up weight"),
        (kohya(proj__lora_down=torch.full((1, 6), torch.nan), proj__lora_up=UP), "proj holds NaN"),
        ({"lora_unet_proj.hada_w1_a": UP}, "proj has no w1_b weight"),
        ({"lora_unet_proj.dora_scale": UP}, "proj has no factors, not one change"),
        ({"lora_unet_proj.alpha": torch.tensor(1.0)}, "proj has no factors, not one change"),
        ({"proj.down": UP}, "1 of its 1 weights have unknown names, first proj.down"),
    ],
)
def test_a_lora_that_cannot_be_applied_whole_is_refused(tensors, message):
    model = nn.ModuleDict({"proj": nn.Linear(6, 5)})
    before = model["proj"].weight.clone()
    with pytest.raises(CheckpointError, match=message):
        lora.merge(model, lora.read(tensors)["unet"])
    assert torch.equal(model["proj"].weight, before)
