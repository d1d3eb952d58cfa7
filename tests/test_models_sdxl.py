"""SDXL: two text encoders, the picture's size, and films and stills through the whole path at tiny width."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint, convert_open_clip_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.errors import CheckpointError
from lcm_video.models import Lora, Model, Runtime, Size, load
from lcm_video.models.architecture import architectures
from lcm_video.models.building import build_text, build_unet
from lcm_video.models.checkpoint import split
from lcm_video.models.files import read
from lcm_video.pipeline import Pipeline
from lcm_video.samplers import Sampling
from lcm_video.storyboard import Storyboard, Video
from lcm_video.timeline import Keyframe, Point

SDXL, FOLDER = "checkpoints/sd_xl_base_1.0.safetensors", "checkpoints/diffusers_sdxl"


@pytest.fixture(scope="module")
def root(model_files):
    """The folder with the single file, and the folder whose configs describe its tiny sizes."""
    return model_files(SDXL, f"{FOLDER}/*")


@pytest.fixture(scope="module")
def tensors(root):
    return read(root / SDXL).tensors


@pytest.fixture(scope="module")
def parts(root):
    """The single file, loaded. Shared: leave it as it is."""
    return load(Model(checkpoint=str(root / SDXL)), Runtime(folders=(str(root),)))


def flat(state):
    return {name.removeprefix("text_model."): w for name, w in state.items() if not name.endswith("position_ids")}


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name].float(), theirs[name].float())] == []


def test_unet_and_vae_are_what_diffusers_loads_from_the_same_file(root, parts):
    for part, kind, ours in (("unet", UNet2DConditionModel, parts.unet), ("vae", AutoencoderKL, parts.vae)):
        places = {"config": str(root / FOLDER), "subfolder": part, "local_files_only": True}
        theirs = kind.from_single_file(str(root / SDXL), **places, torch_dtype=torch.float32)
        same(ours.model.state_dict(), theirs.state_dict())
    assert parts.vae.model.config["scaling_factor"] == 0.13025


def test_both_text_encoders_are_what_diffusers_converts(root, tensors):
    weights = split(tensors)
    config = next(found for found in architectures(root / FOLDER)).text_2
    second = build_text(weights.text_2, config, torch.float32, second=True)
    same(weights.text, flat(convert_ldm_clip_checkpoint(dict(tensors))))
    theirs = convert_open_clip_checkpoint(second, dict(tensors), prefix="conditioner.embedders.1.model.")
    same(flat(second.state_dict()), flat(theirs))


def test_a_full_sdxl_checkpoint_has_the_published_numbers_of_weights():
    sdxl = next(config for config in architectures() if config.name == "sdxl")
    assert sdxl.family == "sdxl"
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(sdxl.unet), AutoencoderKL.from_config(sdxl.vae)
    assert len(unet.state_dict()) == 1680
    assert sum(w.numel() for w in unet.parameters()) == 2_567_463_684
    assert sum(w.numel() for w in vae.parameters()) == 83_653_863
    weights = {name: torch.empty(w.shape, device="meta") for name, w in unet.state_dict().items()}
    build_unet(weights, sdxl.unet, torch.float16)


def test_the_folder_gives_the_same_architecture_as_the_file(root, parts):
    folder = load(Model(checkpoint=str(root / FOLDER)))
    assert folder.unet.model.config["attention_head_dim"] == parts.unet.model.config["attention_head_dim"]
    roles = ["checkpoint:unet", "checkpoint:vae", "checkpoint:text_encoder", "checkpoint:text_encoder_2"]
    assert [file.role for file in folder.files] == roles
    stored = load_file(root / FOLDER / "unet/diffusion_pytorch_model.safetensors")
    same(folder.unet.model.state_dict(), stored)


def test_prompts_have_tokens_of_both_encoders_and_a_pooled_vector(root, parts, tensors):
    encoded = parts.text(["a very cool car", ""])
    assert encoded["tokens"].shape == (2, 77, 32 + 64)
    assert encoded["pooled"].shape == (2, 64)
    assert not torch.equal(*encoded["pooled"])


def test_the_pooled_vector_is_read_at_the_first_end(root, parts):
    """Oracle: transformers itself, on the same weights in a folder of its own, with its ids set right."""
    config = next(found for found in architectures(root / FOLDER)).text_2
    (chunk,) = parts.text.vocabulary.chunks("a very cool car")
    ids = torch.tensor([chunk.ids(0)])
    model = CLIPTextModelWithProjection.from_pretrained(root / FOLDER / "text_encoder_2", dtype=torch.float32)
    assert model.config.hidden_size == config["hidden_size"]
    ours = load(Model(checkpoint=str(root / FOLDER))).text(["a very cool car"])["pooled"]
    torch.testing.assert_close(ours, model(ids).text_embeds, atol=1e-5, rtol=1e-5)


def call(unet, encoding):
    latents = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(3))
    return unet(latents, 499.0, encoding, clip=2)


def test_the_picture_is_told_its_own_size_unless_the_encoding_says_another(parts):
    """Oracle: the diffusers UNet, given the six numbers as its own pipeline orders them."""
    encoded = {name: rows.expand(2, *rows.shape[1:]) for name, rows in parts.text(["a car"]).items()}
    latents = torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(3))

    def theirs(*numbers):
        told = {"text_embeds": encoded["pooled"], "time_ids": torch.tensor([numbers] * 2, dtype=torch.float32)}
        return parts.unet.model(latents, 499.0, encoded["tokens"], added_cond_kwargs=told).sample

    torch.testing.assert_close(call(parts.unet, encoded), theirs(64, 96, 0, 0, 64, 96))
    sizes = {"size:original_width": torch.full((2,), 1216.0), "size:crop_top": torch.full((2,), 33.0)}
    other = call(parts.unet, {**encoded, **sizes})
    torch.testing.assert_close(other, theirs(64, 1216, 33, 0, 64, 96))
    assert not torch.allclose(other, call(parts.unet, encoded), atol=1e-4)


def test_sizes_may_differ_by_frame_and_stay_exact_in_half_precision(root):
    half = load(Model(checkpoint=str(root / SDXL)), Runtime(folders=(str(root),), dtype="bfloat16"))
    seen = []
    half.unet.model.add_time_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoded = {name: rows.expand(2, *rows.shape[1:]) for name, rows in half.text(["a car"]).items()}
    call(half.unet, {**encoded, "size:target_height": torch.tensor([1001.0, 1003.0])})
    assert seen[0].view(2, 6)[:, 4].tolist() == [1001.0, 1003.0]


def test_sdxls_vae_stays_in_float32_where_16_bits_would_overflow(root):
    folders = (str(root),)
    for dtype, expected in (("float16", torch.float32), ("bfloat16", torch.bfloat16)):
        loaded = load(Model(checkpoint=str(root / SDXL)), Runtime(folders=folders, dtype=dtype))
        assert loaded.unet.model.dtype == getattr(torch, dtype)
        assert loaded.vae.model.dtype == expected


def board(root, *, frames, checkpoint=SDXL, **options):
    return Storyboard(
        prompts={"0": Keyframe("a very cool car"), "-1": Keyframe("a fox in snow")} if frames > 1 else
                {"0": Keyframe("a very cool car")},
        video=Video(frames=frames, width=64, height=64),
        model=Model(checkpoint=str(root / checkpoint)),
        sampling=Sampling(**{"steps": 2, **options}),
        runtime=Runtime(folders=(str(root),)),
    )  # fmt: skip


def test_a_film_travels_through_the_whole_path(root, parts):
    """The first frame is drawn from the first prompt alone, the last from the second: as stills of the same noise."""
    film = board(root, frames=2, guidance=1.5)
    pipeline = Pipeline(parts.text, parts.unet, parts.vae)
    first, last = pipeline.frames(film)
    assert first.shape == last.shape == (64, 64, 3)
    (still,) = pipeline.frames(board(root, frames=1, guidance=1.5))
    # Two frames are one call of the UNet, whose rounding depends on its batch.
    assert abs(still.astype(int) - first).max() <= 1
    assert abs(last.astype(int) - first).max() > 20


def test_pooled_vectors_travel_like_tokens(root, parts):
    told = []
    handle = parts.unet.model.add_embedding.register_forward_pre_hook(lambda _, inputs: told.append(inputs[0]))
    list(Pipeline(parts.text, parts.unet, parts.vae).steps(board(root, frames=3)))
    handle.remove()
    pooled = told[0][:, :64]
    torch.testing.assert_close(pooled[1], (pooled[0] + pooled[2]) / 2)
    assert not torch.allclose(pooled[0], pooled[2], atol=1e-2)


def test_a_storyboards_sizes_reach_the_unet_frame_by_frame(root, parts):
    told = []
    handle = parts.unet.model.add_time_proj.register_forward_pre_hook(lambda _, inputs: told.append(inputs[0]))
    size = Size(original_width=2048.0, crop_top={"0": Point(0), "-1": Point(64)})
    film = board(root, frames=3)
    film = replace(film, model=replace(film.model, size=size))
    list(Pipeline(parts.text, parts.unet, parts.vae).steps(film))
    handle.remove()
    assert told[0].view(3, 6).tolist() == [[64, 2048, top, 0, 64, 64] for top in (0, 32, 64)]


def test_sd15_knows_no_sizes():
    with pytest.raises(CheckpointError, match=r"embedded is an SD 1.5 checkpoint, which knows no size"):
        load(Model(checkpoint="embedded", size=Size(crop_left=8.0)))


def test_sdxls_motion_module_and_lcm_lora_draw_together(root, model_files):
    """Through the loaders that a storyboard uses; with motion switched off the frames are others."""
    names = ["motion/mm_sdxl_v10_beta.ckpt", "loras/lcm-lora-sdxl.safetensors"]
    folder = model_files(*names)
    film = board(root, frames=2, steps=1)
    model = replace(film.model, motion=str(folder / names[0]), loras={"lcm": Lora(str(folder / names[1]))})
    pipeline = Pipeline.load(model, film.runtime)
    assert "lcm-lora-sdxl.safetensors: 788 of 788 modules applied, at 1" in pipeline.notes
    assert pipeline.betas.end == 0.02
    moving, still = (
        [*pipeline.frames(replace(film, model=replace(model, motion_scale=scale)))] for scale in (1.0, 0.0)
    )
    assert abs(moving[0].astype(int) - still[0]).max() > 2


def test_one_frame_is_one_png(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("still.yaml").write_text(
        f"prompts: a very cool car\nmodel: {{checkpoint: {root / SDXL}}}\nvideo: {{frames: 1, width: 64, height: 72}}\n"
        f"sampling: {{steps: 1}}\noutput: {{path: out/car.png}}\nruntime: {{folders: [{root}]}}\n"
    )
    done = CliRunner().invoke(app, ["render", "still.yaml"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("out").iterdir()) == ["car.png", "car.png.lcm.json"]
    with Image.open("out/car.png") as picture:
        assert picture.size == (64, 72)
    assert CliRunner().invoke(app, ["plan", "out/car.png"]).exit_code == 0, "it carries its storyboard"


MISSING = {
    "conditioner.embedders.1.": "saved without its second text encoder",
    "conditioner.embedders.0.": "saved without its text encoder",
    "first_stage_model.": "saved without its VAE\n.*model.vae",
}


@pytest.mark.parametrize("prefix", MISSING)
def test_a_checkpoint_without_a_part_says_which(root, tensors, tmp_path, prefix):
    some = {name: w.contiguous() for name, w in tensors.items() if not name.startswith(prefix)}
    save_file(some, tmp_path / "merge.safetensors")
    with pytest.raises(CheckpointError, match=MISSING[prefix]) as caught:
        load(Model(checkpoint=str(tmp_path / "merge.safetensors")), Runtime(folders=(str(root),)))
    assert "merge.safetensors" in caught.value.message
    assert caught.value.remedy
