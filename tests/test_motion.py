import re
from dataclasses import replace

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

from lcm_video.errors import CheckpointError
from lcm_video.models import motion
from lcm_video.models.unet import Unet


class PerFrame(torch.nn.GroupNorm):
    """Normalises each frame alone, as the authors do, where diffusers normalises the window."""

    def forward(self, x):
        frames = x.transpose(1, 2).flatten(0, 1)
        return super().forward(frames).unflatten(0, (len(x), -1)).transpose(1, 2)


def corrected(oracle):
    """diffusers' motion UNet with the norm the modules were trained with."""
    for name, layer in oracle.named_modules():
        if name.rpartition(".")[0].endswith("motion_modules"):
            layer.norm.__class__ = PerFrame
    return oracle.eval()


@pytest.fixture
def film():
    torch.manual_seed(5)
    return torch.randn(5, 4, 8, 8), torch.randn(5, 3, 16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["frame", "window"])
def test_injection_equals_a_motion_unet(unet, motion_adapter, card, film, norm):
    """Oracle: diffusers' UNetMotionModel, a 2,100-line copy of the UNet with the layers written in."""
    latents, tokens = film
    oracle = UNetMotionModel.from_unet2d(unet, motion_adapter).eval()
    oracle = corrected(oracle) if norm == "frame" else oracle
    motion.inject(unet, motion.read(motion_adapter.state_dict(), replace(card, norm=norm)))
    with torch.inference_mode():
        ours = Unet(unet)(latents, 499.0, {"tokens": tokens}, clip=5)
        theirs = oracle(latents.transpose(0, 1)[None], 499, tokens).sample[0].transpose(0, 1)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_an_sdxl_shaped_unet_takes_temporal_layers_too(card):
    """Three blocks, none with attention at first, text of two encoders, sizes as extra input."""
    torch.manual_seed(6)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 32, 64),
        layers_per_block=2,
        norm_num_groups=32,
        cross_attention_dim=16,
        attention_head_dim=(2, 2, 4),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=12 + 6 * 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    ).eval()
    sizes = {"motion_layers_per_block": 2, "use_motion_mid_block": False}
    adapter = MotionAdapter(block_out_channels=(32, 32, 64), **sizes)
    for weight in adapter.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    oracle = corrected(UNetMotionModel.from_unet2d(unet, adapter))
    oracle.add_embedding.load_state_dict(unet.add_embedding.state_dict())  # which from_unet2d forgets
    motion.inject(unet, motion.read(adapter.state_dict(), card))
    latents, tokens, pooled = torch.randn(4, 4, 8, 8), torch.randn(4, 3, 16), torch.randn(1, 12)
    time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]]).expand(4, 6)
    with torch.inference_mode():
        encoding = {"tokens": tokens, "pooled": pooled.expand(4, 12), "time_ids": time_ids}
        ours = Unet(unet)(latents, 499.0, encoding, clip=4)
        added = {"text_embeds": pooled, "time_ids": time_ids[:1]}  # one for the film, where ours has one per frame
        theirs = oracle(latents.transpose(0, 1)[None], 499, tokens, added_cond_kwargs=added).sample
    torch.testing.assert_close(ours, theirs[0].transpose(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shared_norm", [False, True])
def test_eject_gives_back_the_image_unet(unet, motion_module, film, shared_norm):
    latents, tokens = film
    before_names = [name for name, _ in unet.named_modules()]
    with torch.inference_mode():
        before = unet(latents, 499, tokens).sample
        motion.inject(unet, motion_module, shared_norm=shared_norm)
        during = unet(latents, 499, tokens).sample
        motion.eject(unet)
        after = unet(latents, 499, tokens).sample
    assert not torch.allclose(before, during)
    assert torch.equal(before, after)
    assert [name for name, _ in unet.named_modules()] == before_names


def test_motion_scale_zero_is_the_image_unet(unet, motion_module, film):
    latents, tokens = film
    image = Unet(unet)(latents, 499.0, {"tokens": tokens}, clip=5)
    motion.inject(unet, motion_module)
    still = Unet(unet)(latents, 499.0, {"tokens": tokens, "motion_scale": torch.zeros(5)}, clip=5)
    assert torch.equal(image, still)


def authors_names(state):
    """A motion adapter's weights as AnimateDiff's own files name them."""
    renamed = {}
    for key, weight in state.items():
        site, rest = re.fullmatch(r"(.*motion_modules\.\d+)\.(.*)", key).groups()
        if rest.endswith("pos_embed.pe"):
            for block in (0, 1):
                place = f"transformer_blocks.0.attention_blocks.{block}.pos_encoder.pe"
                renamed[f"{site}.temporal_transformer.{place}"] = weight
            continue
        for new, old in (
            ("attn1.", "attention_blocks.0."),
            ("attn2.", "attention_blocks.1."),
            ("norm1.", "norms.0."),
            ("norm2.", "norms.1."),
            ("norm3.", "ff_norm."),
        ):
            rest = rest.replace(new, old)
        renamed[f"{site}.temporal_transformer.{rest}"] = weight
    return renamed


@pytest.mark.parametrize("spelling", ["authors", "trained in parallel", "hotshot", "no positions"])
def test_every_spelling_of_a_motion_module_reads_the_same(motion_adapter, card, spelling):
    plain = motion.read(motion_adapter.state_dict(), card)
    weights = authors_names(motion_adapter.state_dict())
    if spelling == "trained in parallel":
        weights = {f"module.{key}": w for key, w in weights.items()} | {"module.conv_in.weight": torch.zeros(1)}
    elif spelling == "hotshot":
        weights = {
            key.replace("motion_modules", "temporal_attentions").replace("encoder.pe", "encoder.positional_encoding"): w
            for key, w in weights.items()
        }
    elif spelling == "no positions":
        weights = {key: w for key, w in weights.items() if "pos_encoder" not in key}
    read = motion.read(weights, card)
    assert read.keys() == plain.keys()
    for site, layer in read.items():
        ours, theirs = layer.state_dict(), plain[site].state_dict()
        assert ours.keys() == theirs.keys()
        for name, weight in ours.items():
            torch.testing.assert_close(weight, theirs[name], atol=1e-6, rtol=0)


def test_positions_are_those_of_the_file(motion_adapter, card):
    """Some files round them; what the module was trained with counts."""
    state = {key: w + 0.25 if key.endswith(".pe") else w for key, w in motion_adapter.state_dict().items()}
    layer = motion.read(state, card)["mid_block.motion_modules.0"]
    stored = state["mid_block.motion_modules.0.transformer_blocks.0.pos_embed.pe"][0]
    assert torch.equal(layer.transformer_blocks[0].positions, stored)


def test_a_module_of_another_family_is_refused(unet, motion_module):
    del unet.up_blocks[1]
    with pytest.raises(CheckpointError, match=r"have no place in this UNet, first up_blocks\.1"):
        motion.inject(unet, motion_module)


def test_a_module_of_another_width_is_refused_and_nothing_injected(unet, motion_module):
    motion_module["up_blocks.1.motion_modules.0"] = motion_module["mid_block.motion_modules.0"]
    with pytest.raises(CheckpointError, match=r"up_blocks.1.motion_modules.0 has 64 channels .* and 32 in this UNet"):
        motion.inject(unet, motion_module)
    assert not any(isinstance(layer, motion.Spatiotemporal) for layer in unet.modules())


def test_an_incomplete_module_is_refused(unet, motion_module):
    del motion_module["down_blocks.1.motion_modules.0"]
    with pytest.raises(CheckpointError, match=r"lacks 1 layers, first down_blocks\.1"):
        motion.inject(unet, motion_module)
    del motion_module["mid_block.motion_modules.0"]  # which v1 and v3 do not have
    motion_module["down_blocks.1.motion_modules.0"] = motion_module["up_blocks.0.motion_modules.0"]
    motion.inject(unet, motion_module)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.popitem(), "1 weights are missing, first"),
        (lambda state: state.update({FIRST: torch.full((32,), float("nan"))}), "holds NaN"),
        (lambda state: state.update({FIRST.replace("norm.weight", "proj_in.weight"): torch.zeros(3, 3)}), "not fit"),
        (lambda state: state.update({FIRST.replace("norm.weight", "gate"): torch.zeros(3)}), "does not fit"),
        (lambda state: state.pop(FIRST), "norm.weight is missing"),
        (lambda state: state.clear(), "no temporal layers"),
    ],
)
def test_a_damaged_module_is_refused(motion_adapter, card, damage, message):
    state = dict(motion_adapter.state_dict())
    damage(state)
    with pytest.raises(CheckpointError, match=message):
        motion.read(state, card)


FIRST = "down_blocks.0.motion_modules.0.norm.weight"


def test_heads_that_do_not_divide_the_channels_are_refused(motion_adapter, card):
    with pytest.raises(CheckpointError, match="3 heads do not divide"):
        motion.read(motion_adapter.state_dict(), replace(card, heads=3))
