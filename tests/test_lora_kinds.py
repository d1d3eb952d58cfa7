"""Every algorithm against its paper's formula (lora_formulas), merged and beside, and what does not add up."""

import pytest
import torch
from lora_formulas import ALPHA, ANYWHERE, CASES, IN_3X3, INTO, LAYERS, OUT, RANK, factors, patch
from torch import nn

from lcm_video.errors import CheckpointError
from lcm_video.models import beside, lora
from lcm_video.models.call import Call, calling


def case(kind, layer):
    """A file with one layer's change, the layer, and what the formula adds to its weight."""
    made, delta = (ANYWHERE | IN_3X3)[kind](LAYERS[layer])
    tensors = {f"lora_unet_proj.{name}": tensor.float() for name, tensor in made.items()}
    tensors["lora_unet_proj.alpha"] = torch.tensor(ALPHA)
    return lora.read(tensors)["unet"], LAYERS[layer], delta.reshape(LAYERS[layer].weight.shape)


@pytest.mark.parametrize(("kind", "layer"), CASES)
def test_a_change_is_what_its_papers_formula_says(kind, layer):
    changes, layer, delta = case(kind, layer)
    ours = changes["proj"].delta(layer.weight.detach())
    assert delta.abs().max() > 0.2, "a change that would show"
    torch.testing.assert_close(ours.double(), delta, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("kind", "layer"), CASES)
def test_beside_the_layer_at_a_constant_strength_equals_merged(kind, layer):
    changes, layer, _ = case(kind, layer)
    model = nn.ModuleDict({"proj": type(layer)(*shape_of(layer))})
    model.load_state_dict({f"proj.{name}": w for name, w in layer.state_dict().items()})
    x = torch.randn(3, INTO, 5, 4) if patch(layer) else torch.randn(3, 7, INTO)
    with torch.no_grad():
        detach = beside.attach(model, changes, name="fox")
        with calling(Call(3, strengths={"fox": torch.full((3,), 0.7)})):
            aside = model["proj"](x)
        detach()
        lora.merge(model, changes, scale=0.7)
        torch.testing.assert_close(model["proj"](x), aside, atol=2e-5, rtol=2e-5)


def shape_of(layer):
    return (INTO, OUT, patch(layer), layer.stride, layer.padding) if patch(layer) else (INTO, OUT)


@pytest.mark.parametrize(("kind", "layer"), [case for case in CASES if "dora" not in case[0]])
def test_merging_and_its_negative_give_the_weights_back(kind, layer):
    changes, layer, _ = case(kind, layer)
    model, before = nn.ModuleDict({"proj": layer}), layer.weight
    lora.merge(model, changes, scale=0.8)
    assert not torch.allclose(layer.weight, before, atol=0.1)
    lora.merge(model, changes, scale=-0.8)
    torch.testing.assert_close(layer.weight, before, atol=1e-5, rtol=1e-5)
    layer.weight = before


@pytest.mark.parametrize("kind", ["dora", "dora, by input", "dora of loha"])
def test_half_a_dora_is_half_way_to_the_changed_weight(kind):
    changes, layer, delta = case(kind, "linear")
    before = layer.weight
    lora.merge(nn.ModuleDict({"proj": layer}), changes, scale=0.5)
    torch.testing.assert_close(layer.weight.double(), before.double() + delta / 2, atol=1e-5, rtol=1e-5)
    layer.weight = before


def test_a_dora_of_the_weights_own_lengths_and_no_turn_changes_nothing():
    weight = torch.randn(OUT, INTO)
    still = lora.LowRank(torch.zeros(2, INTO), torch.zeros(OUT, 2))
    change = lora.Decomposed(still, weight.norm(dim=1))
    torch.testing.assert_close(change.delta(weight), torch.zeros(OUT, INTO), atol=1e-6, rtol=0)


def test_biases_and_norms_are_changed_too():
    model = nn.ModuleDict({"proj": nn.Linear(INTO, OUT), "norm": nn.GroupNorm(2, OUT)})
    before = {name: w.clone() for name, w in model.state_dict().items()}
    bias, scale, shift = (torch.randn(OUT) for _ in range(3))
    tensors = {"lora_unet_proj.diff_b": bias, "lora_unet_norm.w_norm": scale, "lora_unet_norm.b_norm": shift}
    assert lora.merge(model, lora.read(tensors)["unet"], scale=2.0) == 3
    torch.testing.assert_close(model["proj"].bias, before["proj.bias"] + 2 * bias)
    torch.testing.assert_close(model["norm"].weight, before["norm.weight"] + 2 * scale)
    torch.testing.assert_close(model["norm"].bias, before["norm.bias"] + 2 * shift)
    assert torch.equal(model["proj"].weight, before["proj.weight"])


@pytest.mark.parametrize("layer", LAYERS)
def test_a_changed_bias_may_vary_by_frame_a_changed_norm_not(layer):
    model = nn.ModuleDict({"proj": LAYERS[layer], "norm": nn.GroupNorm(2, OUT)})
    x = torch.randn(2, INTO, 5, 4) if patch(LAYERS[layer]) else torch.randn(2, 7, INTO)
    bias = torch.randn(OUT)
    with torch.no_grad():
        plain = model["proj"](x)
        detach = beside.attach(model, lora.read({"lora_unet_proj.diff_b": bias})["unet"], name="fox")
        with calling(Call(2, strengths={"fox": torch.tensor([0.0, 2.0])})):
            varied = model["proj"](x)
        detach()
    assert torch.equal(varied[0], plain[0])
    shift = bias[:, None, None] if patch(LAYERS[layer]) else bias
    torch.testing.assert_close(varied[1], plain[1] + 2 * shift)
    with pytest.raises(CheckpointError, match=r"changes 1 norms, first norm, which cannot vary"):
        beside.attach(model, lora.read({"lora_unet_norm.w_norm": torch.ones(OUT)})["unet"], name="fox")


@pytest.mark.parametrize(
    ("drop", "shape", "message"),
    [
        ("hada_w2_b", {}, "proj has no w2_b weight"),
        ("", {"hada_w1_b": (RANK, 5)}, "the factors of proj do not fit each other"),
        (
            "",
            {"hada_w1_a": (7, RANK), "hada_w2_a": (7, RANK)},
            r"proj is \(8, 6\) in this model, the LoRA changes \(7, 6\)",
        ),
        ("", {"dora_scale": (7, 1)}, "proj has 8 outputs in this model, the DoRA lengths 7"),
        ("", {"lora_down.weight": (2, INTO)}, "proj has Hadamard and LowRank, not one change"),
    ],
)
def test_a_change_that_does_not_add_up_is_refused(drop, shape, message):
    shapes = {"hada_w1_a": (OUT, RANK), "hada_w1_b": (RANK, INTO), "hada_w2_a": (OUT, RANK), "hada_w2_b": (RANK, INTO)}
    made = {f"lora_unet_proj.{k}": t.float() for k, t in factors(**(shapes | shape)).items() if k != drop}
    model = nn.ModuleDict({"proj": nn.Linear(INTO, OUT)})
    with pytest.raises(CheckpointError, match=message) as caught:
        lora.merge(model, lora.read(made)["unet"])
    assert caught.value.remedy


@pytest.mark.parametrize(
    "parts", [{"lokr_w1": (2, 2)}, {"lokr_w1": (2, 2), "lokr_w2_a": (4, RANK)}, {"lokr_w2": (4, 3)}]
)
def test_a_lokr_without_a_factor_is_refused(parts):
    made = {f"lora_unet_proj.{name}": t.float() for name, t in factors(**parts).items()}
    with pytest.raises(CheckpointError, match="proj lacks one of its factors"):
        lora.merge(nn.ModuleDict({"proj": nn.Linear(INTO, OUT)}), lora.read(made)["unet"])
