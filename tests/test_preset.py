"""The preset that most people start from: the files as they are dropped into a folder, by any of their usual names."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.models.catalogue import other_names
from lcm_video.pipeline import Pipeline
from lcm_video.plan import plan
from lcm_video.reader import load

SHIPPED = {
    "checkpoints/dreamshaper_8.safetensors": "DreamShaper_8_pruned.safetensors",
    "vae/vae-ft-ema-560000-ema-pruned.ckpt": "vae-ft-ema-560000-ema-pruned.ckpt",
    "loras/lcm-lora-sdv1-5.safetensors": "lcm_lora_sd15.safetensors",
    "motion/mm_sd_v15_v2.ckpt": "mm_sd_v15_v2.ckpt",
    "embeddings/BadDream.pt": "BadDream.pt",
}
"""The generator's names, and those under which the files lie in this user's folder."""


@pytest.fixture(scope="module")
def storyboard(model_files, tmp_path_factory):
    """A user's storyboard beside a folder with the five files, and the sizes of these tiny ones."""
    root = tmp_path_factory.mktemp("preset")
    made = model_files(*SHIPPED, "checkpoints/diffusers_sd15/*")
    (root / "mine").mkdir()
    for source, name in SHIPPED.items():
        shutil.copy(made / source, root / "mine" / name)
    shutil.copytree(made / "checkpoints/diffusers_sd15", root / "sizes" / "diffusers_sd15")
    path = root / "story.yaml"
    path.write_text(
        "extends: dreamshaper-lcm\n"
        "prompts: {0: a fox in (snow:1.2), -1: a wolf}\n"
        "video: {frames: 4, width: 64, height: 64}\n"
        f"runtime: {{folders: ['{root / 'mine'}', '{root / 'sizes'}']}}\n"
    )
    return path


def test_the_files_are_dropped_into_a_folder_and_it_works(storyboard):
    board = load(storyboard, ["sampling.steps=2"])
    pipeline = Pipeline.load(board.model, board.runtime)
    notes = {file.role: " ".join(file.notes) for file in pipeline.files}
    assert "278 of 278 modules" in notes["lora:lcm"]
    assert "vectors" in notes["embedding:BadDream"]
    assert "card animatediff-v2" in notes["motion"]
    assert [frame.shape for frame in pipeline.frames(board)] == [(64, 64, 3)] * 4


def test_the_noise_schedule_lies_between_the_modules_and_the_loras(storyboard):
    board = load(storyboard)
    (planned,) = plan(board).shots
    first = planned.course.levels[0].alpha
    alphas = [load(storyboard, [f"sampling.betas.schedule={name}"]) for name in ("linear", "scaled_linear")]
    linear, scaled = (plan(other).shots[0].course.levels[0].alpha for other in alphas)
    assert linear < scaled or scaled < linear
    assert first == pytest.approx((linear + scaled) / 2)


def test_plan_tells_what_this_setting_is_known_for(storyboard):
    told = " ".join(plan(load(storyboard)).warnings)
    assert "few steps come out soft; animatediff-v3" in told
    assert "not found" not in told
    at_one = " ".join(plan(load(storyboard, ["sampling.guidance=1"])).warnings)
    assert "negative prompt does nothing at guidance 1" in at_one
    sharper = " ".join(plan(load(storyboard, ["model.motion=animatediff-v3"])).warnings)
    assert "soft" not in sharper


def test_the_reference_storyboard_is_checked_from_the_command_line(storyboard):
    result = CliRunner().invoke(app, ["check", str(storyboard)])
    assert result.exit_code == 0, result.output
    (Path(storyboard).parent / "mine" / "BadDream.pt").rename(Path(storyboard).parent / "mine" / "BadDraem.pt")
    result = CliRunner().invoke(app, ["check", str(storyboard)])
    (Path(storyboard).parent / "mine" / "BadDraem.pt").rename(Path(storyboard).parent / "mine" / "BadDream.pt")
    assert result.exit_code == 4
    assert "did you mean BadDraem.pt?" in result.output


@pytest.mark.parametrize("name", ["lcm_lora_sd15", "LCM-LoRA-sdv1-5.safetensors", "loras/lcm-lora-sd15"])
def test_one_model_has_several_usual_names(name):
    assert {"lcm_lora_sd15", "lcm-lora-sdv1-5"} & set(other_names(name))


def test_a_file_of_ones_own_has_no_other_name():
    assert other_names("my_lora") == ()
