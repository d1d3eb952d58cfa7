"""Checkpoints as diffusers saves them: folders, in every way that weights lie in them."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from lcm_video.errors import CheckpointError
from lcm_video.models import Model, Runtime, load
from lcm_video.models.checkpoint_folder import weight_files

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(model_files):
    return model_files("checkpoints/diffusers_sd15/*") / "checkpoints/diffusers_sd15"


@pytest.fixture
def folder(whole, tmp_path):
    """A copy to change."""
    return shutil.copytree(whole, tmp_path / "dreamshaper-8")


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name].float(), theirs[name].float())] == []


def flat(state):
    return {name.removeprefix("text_model."): w for name, w in state.items()}


def test_a_folder_gives_what_the_libraries_load_from_it(whole):
    parts = load(Model(checkpoint=str(whole)))
    full = {"torch_dtype": torch.float32}
    same(parts.unet.model.state_dict(), UNet2DConditionModel.from_pretrained(whole / "unet", **full).state_dict())
    same(parts.vae.model.state_dict(), AutoencoderKL.from_pretrained(whole / "vae", **full).state_dict())
    (encoder,) = parts.text.encoders
    theirs = CLIPTextModel.from_pretrained(whole / "text_encoder", dtype=torch.float32)
    same(flat(encoder.model.state_dict()), flat(theirs.state_dict()))
    assert [file.role for file in parts.files] == ["checkpoint:unet", "checkpoint:vae", "checkpoint:text_encoder"]
    assert len({file.sha256 for file in parts.files}) == 3


def test_a_folder_in_a_model_folder_is_found_by_its_name(folder):
    parts = load(Model(checkpoint="dreamshaper-8"), Runtime(folders=(str(folder.parent),)))
    assert parts.files[0].path.parent.name == "unet"


def test_shards_and_variants_hold_the_same_weights(whole, folder):
    weights = load_file(folder / UNET)
    names = sorted(weights)
    halves = {"a.safetensors": names[:300], "b.safetensors": names[300:]}
    for file, part in halves.items():
        save_file({name: weights[name] for name in part}, folder / "unet" / file)
    placed = {name: file for file, part in halves.items() for name in part}
    (folder / UNET).unlink()
    (folder / f"{UNET}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    (folder / "vae/diffusion_pytorch_model.safetensors").rename(folder / "vae/diffusion_pytorch_model.fp16.safetensors")
    text = load_file(folder / "text_encoder/model.safetensors")
    torch.save({f"text_model.{name.removeprefix('text_model.')}": w for name, w in text.items()},
               folder / "text_encoder/pytorch_model.bin")  # fmt: skip
    (folder / "text_encoder/model.safetensors").unlink()
    ours, theirs = load(Model(checkpoint=str(folder))), load(Model(checkpoint=str(whole)))
    for part in ("unet", "vae"):
        same(getattr(ours, part).model.state_dict(), getattr(theirs, part).model.state_dict())
    assert torch.equal(ours.text(["a fox"])["tokens"], theirs.text(["a fox"])["tokens"])
    assert [file.role for file in ours.files][:2] == ["checkpoint:unet", "checkpoint:unet:2"]


@pytest.mark.parametrize(
    ("names", "half", "chosen"),
    [
        (["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"], False, ["model.safetensors"]),
        (["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"], True, ["model.fp16.safetensors"]),
        (["model.fp16.safetensors", "pytorch_model.bin"], False, ["model.fp16.safetensors"]),
        (["diffusion_pytorch_model.bin", "diffusion_pytorch_model.non_ema.safetensors"], True,
         ["diffusion_pytorch_model.bin"]),
    ],
)  # fmt: skip
def test_the_best_of_several_copies_is_taken(tmp_path, names, half, chosen):
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in weight_files(tmp_path, half=half)] == chosen


@pytest.mark.parametrize("name", ["model.safetensors.index.fp16.json", "model.safetensors.fp16.index.json",
                                  "model.fp16.safetensors.index.json"])  # fmt: skip
def test_every_spelling_of_an_index_of_half_precision_is_known(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"weight_map": {"x": "one.safetensors"}}))
    (tmp_path / "one.safetensors").touch()
    assert weight_files(tmp_path) == [tmp_path / "one.safetensors"]


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def index(folder, placed):
    (folder / UNET).unlink()
    (folder / f"{UNET}.index.json").write_text(json.dumps({"weight_map": placed}))


SCHEDULER = {"prediction_type": "v_prediction"}
DAMAGES = {
    "lacks the weights of vae": lambda f: shutil.move(f / "vae/diffusion_pytorch_model.safetensors", f / "x"),
    "unet/config.json is missing": lambda f: (f / "unet/config.json").unlink(),
    "unet/config.json cannot be read": lambda f: (f / "unet/config.json").write_text("{"),
    "is no JSON|not a JSON object": lambda f: (f / "vae/config.json").write_text("[1]"),
    "describes no UNet": lambda f: (f / "unet/config.json").write_text("{}"),
    "UNet: its config.json makes no model": lambda f: edit(f / "unet/config.json", down_block_types=["Nothing"]),
    "text encoder: its config.json makes no model": lambda f: edit(f / "text_encoder/config.json", hidden_size="x"),
    "UNet: .* do not fit": lambda f: edit(f / "unet/config.json", cross_attention_dim=48),
    "is an inpainting or other special checkpoint": lambda f: edit(f / "unet/config.json", in_channels=9),
    "is a whole LCM": lambda f: edit(f / "unet/config.json", time_cond_proj_dim=256),
    "predict velocity": lambda f: edit(f / "scheduler/scheduler_config.json", **SCHEDULER),
    "unet lacks 1 of its 1 files, first b": lambda f: index(f, {"x": "b.safetensors"}),
    "names no weight files of its folder": lambda f: index(f, {"x": "../../../etc/passwd"}),
    "names no weight files": lambda f: index(f, {}),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_folder_that_cannot_be_used_says_why(folder, message):
    DAMAGES[message](folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(Model(checkpoint=str(folder)))
    assert caught.value.remedy
    assert str(folder.parent) not in str(caught.value)


def test_a_folder_of_another_kind_is_named(tmp_path):
    made = tmp_path / "flux"
    (made / "transformer").mkdir(parents=True)
    (made / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(CheckpointError, match=r"flux holds a FluxPipeline, not SD 1.5 or SDXL"):
        load(Model(checkpoint=str(made)))
