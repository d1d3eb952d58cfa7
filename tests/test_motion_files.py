"""Motion module files as people have them: each is known, complete, and draws what diffusers' motion UNet draws."""

import json
import re

import pytest
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from model_files.configs import unet15_config, unetxl_config
from model_files.specs import TINY
from test_motion import corrected

from lcm_video.errors import CheckpointError
from lcm_video.models import card_for, motion
from lcm_video.models.cards import as_configured, recognise
from lcm_video.models.files import read
from lcm_video.models.unet import Unet

FOLDER = "diffusers-adapter-v1-5-2/diffusion_pytorch_model"
FILES = {
    "mm_sd_v14.ckpt": ("animatediff-v1-sd14", 20, 24),
    "mm_sd_v15.ckpt": ("animatediff-v1", 20, 24),
    "mm_sd_v15_v2.ckpt": ("animatediff-v2", 21, 32),
    "v3_sd15_mm.ckpt": ("animatediff-v3", 20, 32),
    "mm_sdxl_v10_beta.ckpt": ("animatediff-sdxl-beta", 15, 32),
    "AnimateLCM_sd15_t2v.ckpt": ("animatelcm", 21, 64),
    "temporaldiff-v1-animatediff.safetensors": ("temporaldiff", 20, 24),
    "mm_sd15_v3.fp16.safetensors": ("animatediff-v3", 20, 32),
    "lt_long_mm_64_frames.ckpt": ("longanimatediff-64", 20, 64),
    "animatediff_lightning_4step_comfyui.safetensors": ("animatediff-lightning", 21, 32),
    "animatediff_lightning_4step_diffusers.safetensors": ("animatediff-lightning", 21, 32),
    "hsxl_temporal_layers.f16.safetensors": ("hotshot-xl", 15, 24),
    f"{FOLDER}.safetensors": ("animatediff-v2", 21, 32),
    f"{FOLDER}.fp16.safetensors": ("animatediff-v2", 21, 32),
    "finetuned_ddp_checkpoint-epoch-7.ckpt": ("animatediff-v2", 21, 32),
}
CONFIGS = {"sd15": unet15_config(TINY), "sdxl": unetxl_config(TINY)}


def layers_of(model_files, name):
    """A file's temporal layers, in float32, and its card."""
    path = model_files(f"motion/{name}", "motion/diffusers-adapter*") / "motion" / name
    tensors, metadata = read(path)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    card = as_configured(recognise(shapes, metadata, file=path.name), path)
    return {site: layer.float() for site, layer in motion.read(tensors, card).items()}, card


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_known_and_read_whole(model_files, name):
    card, count, frames = FILES[name]
    layers, found = layers_of(model_files, name)
    assert (found.name, len(layers), found.max_frames) == (card, count, frames)
    assert {len(layer.transformer_blocks[0].positions) for layer in layers.values()} == {frames}
    path = model_files(f"motion/{name}") / "motion" / name
    assert card_for(str(path)) == found, "planning finds the same card without reading weights"


# One of every structure; the others differ in their numbers alone, which are compared below.
DRAWN = ("mm_sd_v15.ckpt", "AnimateLCM_sd15_t2v.ckpt", "hsxl_temporal_layers.f16.safetensors", f"{FOLDER}.safetensors")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in DRAWN else pytest.mark.slow) for n in FILES])
@pytest.mark.filterwarnings("ignore")
def test_every_file_draws_what_diffusers_draws(model_files, name):
    """Oracle: UNetMotionModel, with these weights under its names, and the norm that the modules were trained with.

    v1's and Hotshot's norms over the window, which diffusers does not have, are switched off to compare the rest.
    """
    layers, card = layers_of(model_files, name)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(CONFIGS[card.family]).eval()
    oracle = corrected(UNetMotionModel.from_unet2d(unet, adapter(layers, card)))
    added = {}
    if card.family == "sdxl":
        oracle.add_embedding.load_state_dict(unet.add_embedding.state_dict())  # which from_unet2d forgets
        sizes = torch.tensor([[64.0, 64, 0, 0, 64, 64]])
        added = {"text_embeds": torch.randn(1, TINY.g), "time_ids": sizes}
    motion.inject(unet, layers)
    latents, tokens = torch.randn(3, 4, 8, 8), torch.randn(3, 5, CONFIGS[card.family]["cross_attention_dim"])
    ours_only = {"pooled": "text_embeds", "time_ids": "time_ids"} if added else {}
    encoding = {"tokens": tokens, **{ours: added[theirs].expand(3, -1) for ours, theirs in ours_only.items()}}
    with torch.inference_mode():
        ours = Unet(unet)(latents, 499.0, encoding, clip=3)
        theirs = oracle(latents.transpose(0, 1)[None], 499, tokens, added_cond_kwargs=added).sample[0].transpose(0, 1)
        motion.eject(unet)
        still = Unet(unet)(latents, 499.0, encoding, clip=3)
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.std()
    assert (ours - still).abs().max() > 1e-2 * theirs.std(), "the module does something"


def adapter(layers, card):
    """diffusers' MotionAdapter with these weights; it does not load files of every sort itself."""
    made = MotionAdapter(
        block_out_channels=tuple(CONFIGS[card.family]["block_out_channels"]),
        use_motion_mid_block="mid_block.motion_modules.0" in layers,
        motion_num_attention_heads=card.heads,
        motion_max_seq_length=card.max_frames,
    )
    state = {f"{site}.{name}": weight for site, layer in layers.items() for name, weight in layer.state_dict().items()}
    positions = {name for name in state if name.endswith(".positions")}
    renamed = {name.replace(".positions", ".pos_embed.pe"): state[name][None] for name in positions}
    made.load_state_dict({name: w for name, w in state.items() if name not in positions} | renamed)
    return made


DIFFUSERS_NAMES = {
    "module.": "", "temporal_attentions": "motion_modules", "temporal_transformer.": "", "attention_blocks.0": "attn1",
    "attention_blocks.1": "attn2", "norms.0": "norm1", "norms.1": "norm2", "ff_norm": "norm3",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_number_of_a_file_arrives_at_its_place(model_files, name):
    """Tensor by tensor, whatever the spelling, position codes too."""
    layers, _ = layers_of(model_files, name)
    tensors, _ = read(model_files(f"motion/{name}") / "motion" / name)
    for key, weight in tensors.items():
        for old, new in DIFFUSERS_NAMES.items():
            key = key.replace(old, new)
        site, parameter = re.fullmatch(r"(.+?\.motion_modules\.\d)\.(.+)", key).groups()
        if "pos_" in key:
            assert torch.equal(layers[site].transformer_blocks[0].positions, weight[0].float())
        else:
            assert torch.equal(layers[site].state_dict()[parameter], weight.float()), key
    # 26 weights of a layer, and its positions, stored once or for both attentions.
    stored = sum("pos_" in key for key in tensors)
    assert len(tensors) - stored == 26 * len(layers)


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ({"conv_in.weight": torch.zeros(1)}, "it is a PIA module: its conv_in"),
        ({"conv_out.weight": torch.zeros(1), "time_embed": torch.zeros(1)}, "2 other weights in the file are not used"),
    ],
)
def test_weights_beside_the_module_are_left_alone_and_told(model_files, extra, note):
    tensors, _ = read(model_files("motion/v3_sd15_mm.ckpt") / "motion/v3_sd15_mm.ckpt")
    assert motion.unused(tensors) == ()
    (told,) = motion.unused(tensors | extra)
    assert note in told
    assert (
        recognise({key: tuple(tensor.shape) for key, tensor in (tensors | extra).items()}, {}).name == "animatediff-v3"
    )


def test_a_module_of_the_other_family_is_refused(model_files):
    layers, _ = layers_of(model_files, "mm_sdxl_v10_beta.ckpt")
    with pytest.raises(CheckpointError, match="lacks"):
        motion.inject(UNet2DConditionModel.from_config(CONFIGS["sd15"]), layers)


def test_the_adapter_folders_configuration_is_read(model_files, tmp_path):
    folder = model_files("motion/diffusers-adapter*") / "motion/diffusers-adapter-v1-5-2"
    stated = json.loads((folder / "config.json").read_text())
    _, card = layers_of(model_files, f"{FOLDER}.safetensors")
    assert (card.heads, card.groups) == (stated["motion_num_attention_heads"], stated["motion_norm_num_groups"])
    assert card_for(str(folder)) == card
