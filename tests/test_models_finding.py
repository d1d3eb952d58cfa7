"""Files are found by path, name or content, where people and other tools keep them."""

import json
import os
import stat

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from lcm_video.errors import CheckpointError
from lcm_video.models import Lora, Model, digests, find
from lcm_video.models.folders import model_files
from lcm_video.models.places import searched
from lcm_video.models.slots import faults, fitting


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path, value=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": torch.full((2, 4), value)}, path)
    return path


@pytest.mark.parametrize("name", ["Fox.safetensors", "fox", "FOX", "fox.SAFETENSORS", "animals/Fox", "Animals/fox"])
def test_a_name_needs_no_ending_no_case_and_no_subfolder(here, name):
    path = put(here / "models/loras/animals/Fox.safetensors")
    assert find(name).resolve() == path


@pytest.mark.parametrize(
    "tree",
    [
        *("models/checkpoints", "models/loras", "models/vae", "models/embeddings", "models/animatediff_models"),
        *("models/animatediff_motion_lora", "custom_nodes/ComfyUI-AnimateDiff-Evolved/models"),
    ],
)
def test_a_comfyui_folder_is_searched_as_comfyui_lays_it_out(here, tree):
    (here / "ComfyUI/models/checkpoints").mkdir(parents=True)
    path = put(here / "ComfyUI" / tree / "fox.safetensors")
    for root in ("ComfyUI", "ComfyUI/models"):
        assert find("fox", folders=[str(here / root)]) == path


@pytest.mark.parametrize(
    "tree",
    [
        *("models/Stable-diffusion", "models/Lora", "models/VAE", "embeddings"),
        "extensions/sd-webui-animatediff/model",
    ],
)
def test_an_a1111_folder_is_searched_as_a1111_lays_it_out(here, tree):
    (here / "webui/models/Stable-diffusion").mkdir(parents=True)
    path = put(here / "webui" / tree / "deep/fox.safetensors")
    assert find("fox", folders=[str(here / "webui")]) == path


def test_the_folders_of_comfyuis_extra_model_paths_are_searched(here):
    path = put(here / "elsewhere/my loras/fox.safetensors")
    (here / "ComfyUI/models/loras").mkdir(parents=True)
    extra = f"webui:\n  base_path: {here / 'elsewhere'}\n  loras: |\n    my loras\n    more\n  is_default: true\n"
    (here / "ComfyUI/extra_model_paths.yaml").write_text(extra)
    assert find("fox", folders=[str(here / "ComfyUI")]) == path


def test_an_odd_extra_model_paths_disturbs_nothing(here):
    path = put(here / "ComfyUI/models/loras/fox.safetensors")
    (here / "ComfyUI/extra_model_paths.yaml").write_text("[: broken")
    assert find("fox", folders=[str(here / "ComfyUI")]) == path


def test_the_environment_and_the_settings_name_more_folders(here, monkeypatch):
    first, second = put(here / "a/fox.safetensors"), put(here / "b/owl.safetensors")
    third = put(here / "c/elk.safetensors")
    monkeypatch.setenv("LCM_VIDEO_MODELS", os.pathsep.join([str(first.parent), str(second.parent)]))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "config"))
    (here / "config/lcm-video").mkdir(parents=True)
    (here / "config/lcm-video/models.txt").write_text(f"# mine\n{third.parent}\n\n")
    assert [find(name) for name in ("fox", "owl", "elk")] == [first, second, third]


def test_the_users_folders_come_before_the_usual_ones(here):
    put(here / "models/fox.safetensors")
    mine = put(here / "mine/fox.safetensors")
    assert find("fox", folders=["mine"]).resolve() == mine


def test_a_file_is_found_by_its_content_whatever_its_name(here, monkeypatch):
    path = put(here / "models/renamed by somebody.safetensors")
    put(here / "models/other.safetensors", 2.0)
    whole = digests.digest(path)
    for digits in (whole, whole[:10], whole[:12].upper()):
        assert find(f"sha256:{digits}").resolve() == path
    with pytest.raises(CheckpointError, match="no hash"):
        find("sha256:abc")
    with pytest.raises(CheckpointError, match="no LoRA with the hash"):
        find("sha256:" + "0" * 64, kind="LoRA")


def test_a_hash_is_remembered_between_processes_and_worked_out_again_when_the_file_changes(here, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    digests._known.cache_clear()
    path = put(here / "fox.safetensors")
    first = digests.digest(path)
    digests._known.cache_clear()  # as another process
    monkeypatch.setattr(digests.hashlib, "file_digest", lambda *_: pytest.fail("was computed again"))
    assert digests.digest(path) == first
    monkeypatch.undo()
    put(path, 3.0)
    os.utime(path, (1, 1))
    assert digests.digest(path) != first


def test_a_damaged_or_missing_cache_only_costs_time(here, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    (here / "cache/lcm-video").mkdir(parents=True)
    (here / "cache/lcm-video/sha256.jsonl").write_bytes(b'\xff\xfe["a", 1]\n[]\n{\n' + json.dumps(["x", "y"]).encode())
    digests._known.cache_clear()
    path = put(here / "fox.safetensors")
    assert len(digests.digest(path)) == 64
    digests._known.cache_clear()


def test_several_files_of_one_name_are_listed_not_guessed(here):
    put(here / "models/loras/people/fox.safetensors")
    put(here / "models/loras/animals/fox.safetensors", 2.0)
    with pytest.raises(CheckpointError, match="ambiguous: 2 files") as caught:
        find("fox", kind="LoRA")
    assert "animals/fox.safetensors" in caught.value.remedy
    assert "people/fox.safetensors" in caught.value.remedy
    assert find("animals/fox").parent.name == "animals"


def test_the_same_file_under_two_links_is_not_ambiguous(here):
    path = put(here / "models/a/fox.safetensors")
    (here / "models/b").mkdir()
    (here / "models/b/fox.safetensors").symlink_to(path)
    assert find("fox").resolve() == path


def test_safetensors_are_preferred_to_pickles_of_the_same_name(here):
    torch.save({"emb_params": torch.ones(1, 4)}, here / "fox.pt")
    (here / "models").mkdir()
    (here / "fox.pt").rename(here / "models/fox.pt")
    assert find("fox").name == "fox.pt"
    put(here / "models/deep/fox.safetensors")
    put(here / "models/fox.safetensors")
    assert find("Fox").name == "fox.safetensors"


@pytest.mark.parametrize("name", ["dreamshaper_8.safetesnors", "dreamshapr_8", "DREAMSHAPER8"])
def test_a_name_nearly_right_is_answered_with_the_right_one(here, name):
    put(here / "models/checkpoints/dreamshaper_8.safetensors")
    with pytest.raises(CheckpointError) as caught:
        find(name, kind="checkpoint")
    assert f"checkpoint '{name}' was not found" in caught.value.message
    assert "did you mean dreamshaper_8.safetensors?" in caught.value.remedy


def test_links_in_circles_and_locked_folders_end_the_search_not_the_program(here):
    put(here / "models/fox.safetensors")
    (here / "models/loop").symlink_to(here / "models", target_is_directory=True)
    (here / "models/self").symlink_to(here / "models/self")
    locked = here / "models/locked"
    locked.mkdir()
    locked.chmod(0)
    try:
        assert find("Fox").name == "fox.safetensors"
        with pytest.raises(CheckpointError):
            find("self")
    finally:
        locked.chmod(stat.S_IRWXU)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_no_name_is_answered_with_anything_but_a_file_or_a_model_error(name):
    try:
        found = find(name)
    except CheckpointError:
        return
    assert found.is_file()


def test_a_checkpoint_may_be_a_folder_and_a_vae_one_too(model_files):
    folder = model_files("checkpoints/diffusers_sd15/*", "vae/diffusers_new/*")
    assert find("diffusers_sd15", kind="checkpoint", folders=[str(folder / "checkpoints")]).is_dir()
    vae = find(str(folder / "vae/diffusers_new"), kind="VAE")
    assert vae.name == "diffusion_pytorch_model.safetensors"
    assert not faults(Model(checkpoint=str(folder / "checkpoints/diffusers_sd15"), vae=str(vae)))


def test_places_are_looked_into_once(here):
    put(here / "models/loras/fox.safetensors")
    places = [place.resolve() for place in searched(["models", "./models", str(here / "models")])]
    assert len(places) == len(set(places))
    assert [path.name for path in model_files(here / "models")] == ["fox.safetensors"]


def test_all_that_is_wrong_is_told_at_once(model_files):
    folder = model_files(
        "checkpoints/dreamshaper_8*", "loras/lcm-lora-sdxl*", "vae/kl*", "motion/mm_sdxl*", "embeddings/SDXL*"
    )
    model = Model(
        checkpoint="dreamshaper_8",
        vae="mm_sdxl_v10_beta",
        loras={"lcm": Lora("lcm-lora-sdxl"), "no": Lora("nowhere")},
        embeddings=("SDXL_embedding",),
        motion=str(folder / "motion/mm_sdxl_v10_beta.ckpt"),
    )
    told = [str(error) for error in faults(model, [str(path) for path in folder.iterdir()])]
    assert len(told) == 5
    for words in (
        "mm_sdxl_v10_beta.ckpt is an SDXL motion module, not a VAE",
        "lcm-lora-sdxl.safetensors is an SDXL LoRA, not an SD 1.5 LoRA",
        "'nowhere' was not found",
        "SDXL_embedding.safetensors is an SDXL textual inversion, not an SD 1.5 textual inversion",
        "mm_sdxl_v10_beta.ckpt is an SDXL motion module, not an SD 1.5 motion module",
    ):
        assert any(words in line for line in told), told


def test_files_of_the_right_kinds_pass(model_files):
    names = (
        "checkpoints/v1-5-pruned-emaonly.ckpt",
        "loras/kohya_sd15_old*",
        "motion/mm_sd_v15_v2*",
        "embeddings/BadDream*",
    )
    folder = model_files(*names, "vae/vae-ft-ema-560000-ema-pruned.ckpt", "motion_lora/v2*")
    model = Model(
        checkpoint="v1-5-pruned-emaonly.ckpt",
        vae="vae-ft-ema-560000-ema-pruned.ckpt",
        loras={"a": Lora("kohya_sd15_old"), "b": Lora("v2_lora_ZoomIn")},
        embeddings=("baddream",),
        motion="mm_sd_v15_v2.ckpt",
    )
    assert faults(model, [str(path) for path in folder.iterdir()]) == []


def test_every_family_has_its_kinds_in_every_slot():
    for slot in ("motion", "loras", "embeddings"):
        assert fitting(slot, "SD 1.5")
        assert fitting(slot, "SDXL")
        assert not set(fitting(slot, "SD 1.5")) & set(fitting(slot, "SDXL"))
