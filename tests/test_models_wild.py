"""Files as they come from the wild, through the command line: drawn with, or refused with a reason and a next step."""

import re
import time

import pytest
import yaml
from model_files.wild import MARKER, cases
from typer.testing import CliRunner

from lcm_video.cli.commands import app

CASES = cases()
NEEDED = ("checkpoints/dreamshaper_8.safetensors", "checkpoints/sd_xl_base_1.0.safetensors")


def board(case, folder):
    """A storyboard that puts the file of ``case`` into its slot, beside a checkpoint of the family it is for."""
    path, slot = str(folder / case.file), case.slot.split()[0]
    base = NEEDED[1] if "SDXL" in case.slot else NEEDED[0]
    model = {"checkpoint": path if slot == "checkpoint" else str(folder / base)}
    if slot != "checkpoint":
        model |= {slot: {"loras": {"it": path}, "embeddings": [path]}.get(slot, path)}
    long = 32 if "32" in case.slot else 2
    return {
        "model": model,
        "video": {"width": 64, "height": 64, "fps": 8, "frames": long},
        "windows": {"length": max(long, 8)},
        "sampling": {"steps": 1, "guidance": 1},
        "runtime": {"folders": [str(folder)]},
        "output": {"path": "film.mp4"},
        "prompts": {0: "a cat"},
    }


def run(*arguments):
    done = CliRunner().invoke(app, arguments)
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


@pytest.fixture
def marker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(MARKER, str(tmp_path / "executed"))
    yield tmp_path / "executed"
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "PWNED_BY_PICKLE.txt").exists()


GOOD = [name for name, case in CASES.items() if case.expect == "ok"]
BAD = [name for name, case in CASES.items() if case.expect != "ok"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_a_reason(model_files, tmp_path, marker, name):
    case = CASES[name]
    folder = model_files(name, *NEEDED)
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(board(case, folder)))
    done = run("render", "board.yaml")
    told = done.output
    if case.expect == "either" and done.exit_code == 0:
        assert any(word in told for words in case.mentions for word in words.split("|")), "it says what it left out"
        return
    assert done.exit_code == (3 if "32" in case.slot else 4), told
    assert not (tmp_path / "film.mp4").exists()
    assert "→" in told
    for words in case.mentions:
        assert any(word.lower() in told.lower() for word in words.split("|")), f"{words}: {told}"
    assert done.exit_code == 3 or (folder / name).name in told, "the message names the file"


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_but_good_file_passes_the_check(model_files, tmp_path, marker, name):
    folder = model_files(name, *NEEDED)
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(board(CASES[name], folder)))
    done = run("check", "board.yaml")
    assert done.exit_code == 0, done.output
    assert "no problems" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_an_odd_but_good_file_is_drawn_with(model_files, tmp_path, marker, name):
    folder = model_files(name, *NEEDED)
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(board(CASES[name], folder)))
    done = run("render", "board.yaml")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "film.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    "name",
    ["checkpoints/*", "vae/*", "taesd/*", "loras/*", "motion/*", "motion_lora/*", "embeddings/*", "control*", "ip*"],
)  # fmt: skip
def test_every_ordinary_file_is_told_apart_by_its_names(model_files, name):
    from lcm_video.models.contents import contents

    expected = {
        "checkpoints/": r"SD 1\.5 checkpoint|SDXL checkpoint|UNet|VAE|text encoder", "vae/": "VAE", "taesd/": "TAESD",
        "loras/": "LoRA|SDXL LoRA", "motion/": "motion module|SDXL motion module", "motion_lora/": "motion LoRA|LoRA",
        "embeddings/": "textual inversion|SDXL textual inversion", "controlnet/": "ControlNet|SparseCtrl",
        "ip_adapter/": "IP-Adapter",
    }  # fmt: skip
    name = {"ip*": "ip_adapter/*", "control*": "controlnet/*"}.get(name, name)
    folder = model_files(name) / name.rstrip("*")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert paths
    for path in paths:
        found = contents(path).kind
        assert re.fullmatch(expected[name.rstrip("*")], found), path.name
        if "sdxl" in path.name.lower() and "vae" not in path.name:
            assert found.startswith("SDXL"), path.name


@pytest.mark.slow
def test_all_files_together_are_told_apart_in_well_under_a_second(model_files):
    from lcm_video.models.contents import _contents, contents

    folder = model_files("*")
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    paths = [path for path in files if "wild" not in path.parts]
    _contents.cache_clear()
    began = time.process_time()
    for path in paths:
        contents(path)
    assert len(paths) > 60
    assert time.process_time() - began < 1.5


def test_files_are_told_apart_at_full_size_without_reading_them(tmp_path):
    from model_files import make

    from lcm_video.models.contents import contents

    names = ("dreamshaper_8.safetensors", "v1-5-pruned-emaonly.ckpt", "sd_xl_base_1.0.safetensors")
    folder = make(tmp_path, width="full", fill="sparse", only=[f"checkpoints/{name}" for name in names]) / "checkpoints"
    assert (folder / names[0]).stat().st_size == 2_132_625_894, "as the published one"
    began = time.process_time()
    assert [contents(folder / name).kind for name in names] == ["SD 1.5 checkpoint"] * 2 + ["SDXL checkpoint"]
    assert time.process_time() - began < 1.5
