"""The commands about model files: models list, scan, info, get and lock, and convert."""

import hashlib
import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.models.catalogue import CATALOGUE, wanted
from lcm_video.models.files import read


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_list_shows_kind_family_and_size_and_what_is_unusable(here, model_files):
    folder = model_files("checkpoints/dreamshaper_8*", "loras/lcm-lora-sdxl*", "wild/html*", "wild/malicious.ckpt")
    told = run("models", "list", "--folder", folder)
    lines = {line.split()[0]: line for line in told.splitlines()}
    assert "SD 1.5 checkpoint" in lines["dreamshaper_8.safetensors"]
    assert "31.18 MB" in lines["dreamshaper_8.safetensors"]
    assert "SDXL LoRA" in lines["lcm-lora-sdxl.safetensors"]
    assert "html_error_page.safetensors: html_error_page.safetensors is a web page" in told
    assert "malicious.ckpt was refused: it wants to run __builtin__.exec" in told
    rows = json.loads(run("models", "list", "--folder", folder, "--kind", "lora", "--json"))["models"]
    assert {row["kind"] for row in rows} == {"LoRA", "SDXL LoRA"}
    assert all("sha256" not in row for row in rows)


def test_scan_adds_hashes_by_which_files_are_found(here, model_files):
    folder = model_files("embeddings/BadDream*")
    rows = json.loads(run("models", "scan", folder / "embeddings", "--json"))["models"]
    (row,) = [row for row in rows if row["name"] == "BadDream.pt"]
    assert row["sha256"] == hashlib.sha256((folder / "embeddings/BadDream.pt").read_bytes()).hexdigest()
    told = json.loads(run("models", "info", f"sha256:{row['sha256'][:10]}", "--folder", folder, "--json"))
    assert told["file"] == "BadDream.pt"
    assert told["kind"] == "textual inversion"
    assert told["use"] == "model.embeddings"


def test_info_shows_what_a_lora_was_trained_on_and_no_thumbnails(here):
    tags = {"10_fox": {"fox": 30, "forest": 12}, "5_more": {"fox": 3, "snow": 7}}
    about = {
        "ss_tag_frequency": json.dumps(tags),
        "modelspec.thumbnail": "data:" + "A" * 5000,
        "ss_base_model_version": "sd_v1",
    }
    weights = {
        f"lora_te_text_model_encoder_layers_0_mlp_fc1.{name}": torch.ones(2, 2)
        for name in ("lora_up.weight", "lora_down.weight")
    }
    save_file(weights, here / "fox.safetensors", about)
    told = json.loads(run("models", "info", "fox.safetensors", "--json"))
    assert told["trained on"] == ["fox", "forest", "snow"]
    assert told["family"] == "SD 1.5"
    assert told["ranks"] == [2]
    assert told["types"] == "F32"
    assert "modelspec.thumbnail" not in told["metadata"]
    assert "AAAA" not in run("models", "info", "fox")


def test_info_names_the_card_of_a_motion_module(here, model_files):
    folder = model_files("motion/mm_sd_v15_v2*")
    told = run("models", "info", "mm_sd_v15_v2", "--folder", folder / "motion")
    assert "animatediff-v2" in told
    assert "frames at most  32" in told


def test_verify_reads_every_weight(here, model_files):
    folder = model_files("wild/lora_nan*", "loras/dora*")
    assert "holds NaN or infinity in 1 weights, first lora_unet" in run(
        "models", "info", folder / "wild/lora_nan.safetensors", "--verify", code=4
    )
    assert "all are numbers" in run("models", "info", folder / "loras/dora_sd15.safetensors", "--verify")


def test_a_missing_model_and_an_empty_folder_are_told(here):
    assert "was not found" in run("models", "info", "nothing_like_it", code=4)
    assert "no model files were found" in run("models", "list", "--kind", "no such kind")


BOARD = """\
extends: embedded
video: {fps: 8, width: 64, height: 64, frames: 1}
sampling: {steps: 1}
model: {motion: "", loras: {it: mine}}
prompts: {0: a red circle}
output: {path: film.png}
"""


def test_a_lockfile_holds_a_render_to_the_files_it_names(here):
    from lcm_video.resources import shipped

    (here / "models").mkdir()
    content = (shipped("configs") / "embedded/embedded_lcm_lora.safetensors").read_bytes()
    (here / "models/mine.safetensors").write_bytes(content)
    (here / "board.yaml").write_text(BOARD)
    assert run("models", "lock", "board.yaml").strip() == "board.lock.json"
    locked = json.loads((here / "board.lock.json").read_text())["models"]
    assert locked["model.loras.it"] == {"name": "mine.safetensors", "sha256": hashlib.sha256(content).hexdigest()}
    run("render", "board.yaml", "-q")

    weights = load_file(here / "models/mine.safetensors")
    save_file({name: weight * 2 for name, weight in weights.items()}, here / "models/mine.safetensors")
    told = run("render", "board.yaml", "--overwrite", code=4)
    assert "model.loras.it: mine.safetensors has changed" in told
    assert "lcm-video models lock board.yaml" in told
    assert "model.loras.more is not locked" in run("render", "board.yaml", "model.loras.more=mine", code=4)
    (here / "board.lock.json").write_text("[]")
    assert "is no lockfile" in run("render", "board.yaml", "--overwrite", code=4)
    run("models", "lock", "board.yaml")
    run("render", "board.yaml", "--overwrite", "-q")


# convert


def tensors_of(path):
    return read(path).tensors


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("wild/lightning_callbacks.ckpt", {"callbacks", "epoch", "global_step", "lr_schedulers", "optimizer_states"}),
        ("embeddings/a1111_parameter_legacy.pt", {"name", "step", "string_to_token"}),
        ("loras/kohya_sd15_old.ckpt", set()),
        ("wild/numpy_scalar.ckpt", {"lr", "val"}),
        ("motion/finetuned_ddp_checkpoint-epoch-7.ckpt", {"epoch", "global_step"}),
    ],
)
def test_converting_keeps_every_weight_and_says_what_it_left_behind(here, model_files, name, left):
    source = model_files(name) / name
    told = json.loads(run("convert", source, "-o", here / "out.safetensors", "--json"))
    assert left <= set(told["dropped"])
    before, after = tensors_of(source), tensors_of(here / "out.safetensors")
    if "string_to_param" in before:
        before = {"emb_params": before["string_to_param"]["*"].detach()}
    assert {name for name, tensor in before.items() if isinstance(tensor, torch.Tensor)} == after.keys()
    assert told["tensors"] == len(after)
    assert all(
        torch.equal(before[name], tensor) and before[name].dtype == tensor.dtype for name, tensor in after.items()
    )
    assert read(here / "out.safetensors").metadata["converted_from"] == source.name
    assert [path.name for path in here.iterdir()] == ["out.safetensors"], "nothing is left lying about"


def test_converting_a_checkpoint_of_averaged_weights_alone_works(here):
    torch.save(
        {"state_dict": {"model_ema.diffusion_modelout2bias": torch.ones(4), "model_ema.decay": torch.tensor(0.9)}},
        "ema.ckpt",
    )
    run("convert", "ema.ckpt")
    assert tensors_of(here / "ema.safetensors").keys() == {"model_ema.diffusion_modelout2bias", "model_ema.decay"}


def test_weights_that_share_memory_are_converted_whole(here):
    shared = torch.arange(6.0)
    torch.save({"a": shared, "b": shared, "c": shared[2:4]}, "shared.pt")
    run("convert", "shared.pt")
    found = tensors_of(here / "shared.safetensors")
    assert torch.equal(found["a"], found["b"])
    assert found["c"].tolist() == [2, 3]


def test_converting_executes_nothing_and_replaces_nothing(here, model_files, monkeypatch):
    monkeypatch.setenv("LCM_VIDEO_PICKLE_MARKER", str(here / "executed"))
    source = model_files("wild/malicious.ckpt") / "wild/malicious.ckpt"
    assert "was refused: it wants to run __builtin__.exec" in run("convert", source, "-o", "x.safetensors", code=4)
    assert not list(here.iterdir())
    torch.save({"a": torch.ones(1)}, "good.pt")
    (here / "good.safetensors").write_text("mine")
    assert "good.safetensors exists" in run("convert", "good.pt", code=3)
    assert (here / "good.safetensors").read_text() == "mine"
    run("convert", "good.pt", "--overwrite")
    assert "is a safetensors file already" in run("convert", "good.safetensors", "-o", "b.safetensors", code=4)


def test_the_converting_process_is_bounded(here):
    bounded = (
        "from lcm_video.models import converting as c; c.bound(1000); print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import resource; {bounded}"], capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < 10e9
    greedy = "from lcm_video.models import converting as c; c.SPARE = 10**9; c.bound(0); bytearray(10**10)"
    done = subprocess.run([sys.executable, "-c", greedy], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr


# get, without a network


def test_get_knows_the_reference_setup_and_guesses_at_slips(here):
    for name in (
        "dreamshaper-8",
        "vae-ft-ema-560000",
        "lcm-lora-sdv1-5",
        "animatediff-v2",
        "sdxl-base",
        "lcm-lora-sdxl",
    ):
        assert wanted(name) is CATALOGUE[name]
        assert CATALOGUE[name].licence
    assert "did you mean 'dreamshaper-8'?" in run("models", "get", "dreamshaper8", code=4)
    assert wanted("a/b/c/d.safetensors").file == "c/d.safetensors"
    run("models", "get", "a/b/../../x", code=4)


def test_no_module_but_one_may_use_the_network():
    from pathlib import Path

    import lcm_video

    for path in Path(lcm_video.__file__).parent.rglob("*.py"):
        if path.name != "fetching.py":
            text = path.read_text()
            assert "huggingface_hub import" not in text, path
            assert "socket.socket" not in text, path
            assert "create_connection" not in text, path
            assert "urllib.request" not in text, path


def test_a_table_of_a_model_never_runs_code_either(here):
    (here / "evil.ckpt").write_bytes(pickle.dumps(subprocess.run, 2))
    assert "was refused" in run("models", "info", "evil.ckpt", code=4)


def test_every_command_of_the_documentation_runs(here, model_files, monkeypatch):
    import re
    import shutil
    from pathlib import Path

    text = (Path(__file__).parents[1] / "docs/models.md").read_text()
    monkeypatch.setenv("LCM_VIDEO_MODELS", str(model_files("checkpoints/dreamshaper_8*", "embeddings/BadDream*")))
    shutil.copy(model_files("embeddings/BadDream*") / "embeddings/BadDream.pt", here)
    (here / "story.yaml").write_text("extends: embedded\nprompts: {0: a red circle}\n")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    commands = [line.split("#")[0].split()[1:] for name, block in fenced if not name for line in block.splitlines()]
    assert len(commands) == 7
    for arguments in commands:
        if arguments != ["doctor"]:  # has its own tests, and renders
            run(*arguments)
    assert {path.name for path in here.iterdir()} >= {"story.lock.json", "BadDream.safetensors"}
    getting = text.split("## Getting files")[1]
    assert {*CATALOGUE} <= {*re.findall(r"[a-z0-9-]+", getting)}, "all that is known is named"
