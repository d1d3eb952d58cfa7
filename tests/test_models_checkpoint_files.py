"""Every checkpoint that people have, as a file: the weights it gives are those that diffusers loads from it."""

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint

from lcm_video.errors import CheckpointError
from lcm_video.models import Model, Runtime, load
from lcm_video.models.files import read
from lcm_video.models.image import read_checkpoint

SD15 = "checkpoints/diffusers_sd15"
FILES = [
    "dreamshaper_8.safetensors",
    "sd15_posids_fp16.safetensors",
    "sd15_no_posids.safetensors",
    "sd15_bf16.safetensors",
    "v1-5-pruned-emaonly.safetensors",
    "v1-5-pruned-emaonly.ckpt",
    "v1-5-pruned_full_ema.safetensors",
]
OLD_CLIP = "sd15_clip_without_text_model_prefix.ckpt"


@pytest.fixture(scope="module")
def root(model_files):
    return model_files(f"{SD15}/*")


def flat(state):
    return {name.removeprefix("text_model."): w for name, w in state.items() if not name.endswith("position_ids")}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("name", FILES)
def test_every_layout_gives_the_weights_that_diffusers_loads(root, model_files, name):
    """In each file's own precision, so that nothing is rounded on the way."""
    path = model_files(f"checkpoints/{name}") / "checkpoints" / name
    weights = read_checkpoint(path, half=True, folders=[str(root)]).weights
    for part, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        dtype = next(iter(getattr(weights, part).values())).dtype
        theirs = kind.from_single_file(
            str(path), config=str(root / SD15), subfolder=part, local_files_only=True, torch_dtype=dtype
        )
        same(getattr(weights, part), theirs.state_dict())
    same(weights.text, flat(convert_ldm_clip_checkpoint(read(path).tensors)))
    assert len(weights.text) == 196


def test_names_without_text_model_are_the_same_encoder(root, model_files):
    """diffusers refuses this file; it is the other one's equal but for the names."""
    folder = model_files(f"checkpoints/{OLD_CLIP}", f"checkpoints/{FILES[0]}") / "checkpoints"
    old, new = (read_checkpoint(folder / name, half=True, folders=[str(root)]).weights for name in (OLD_CLIP, FILES[0]))
    stored = read(folder / OLD_CLIP).tensors
    assert old.text.keys() == new.text.keys()
    prefix = "cond_stage_model.transformer."
    inside = {key.removeprefix(prefix): w for key, w in stored.items() if key.startswith(prefix)}
    same(old.text, {key: w for key, w in inside.items() if "position_ids" not in key})


@pytest.mark.parametrize("name", [FILES[0], OLD_CLIP])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_computes_on_a_cpu(root, model_files, name, dtype):
    path = model_files(f"checkpoints/{name}") / "checkpoints" / name
    parts = load(Model(checkpoint=str(path)), Runtime(folders=(str(root),), dtype=dtype, device="cpu"))
    tokens = parts.text(["a fox"])["tokens"]
    noise = parts.unet(torch.randn(1, 4, 8, 8), 499.0, {"tokens": tokens}, clip=1)
    assert noise.dtype == torch.float32
    assert noise.isfinite().all()
    assert parts.vae.decode(noise).isfinite().all()
    assert {file.role for file in parts.files} == {"checkpoint"}


def test_a_checkpoint_made_to_predict_velocity_is_refused(root, model_files, tmp_path):
    """Such merges carry an empty tensor of that name; drawn as an ordinary one, a film would be noise."""
    from safetensors.torch import load_file, save_file

    path = model_files(f"checkpoints/{FILES[0]}") / "checkpoints" / FILES[0]
    save_file({**load_file(path), "v_pred": torch.zeros(0)}, tmp_path / "vpred.safetensors")
    with pytest.raises(CheckpointError, match=r"vpred.safetensors was made to predict velocity"):
        load(Model(checkpoint=str(tmp_path / "vpred.safetensors")), Runtime(folders=(str(root),)))


def test_weights_are_mapped_not_copied_and_hashed_only_when_asked(root, model_files, monkeypatch):
    from lcm_video.models import parts as module

    path = model_files(f"checkpoints/{FILES[0]}") / "checkpoints" / FILES[0]
    hashed = []
    monkeypatch.setattr(module, "digest", lambda path: hashed.append(path) or "0" * 64)
    parts = load(Model(checkpoint=str(path)), Runtime(folders=(str(root),), dtype="float16"))
    assert hashed == []
    assert (parts.files[0].sha256, parts.files[0].sha256, hashed) == ("0" * 64, "0" * 64, [path])
    places = [weight.data_ptr() for weight in parts.unet.model.parameters()]
    assert max(places) - min(places) < path.stat().st_size, "all weights lie in one mapping of the file"
