"""Faults while a film is rendered, end to end through the command line (research/reliability.md C6, by number).

28  a model file changes                 test_a_model_that_changes_…
36  memory runs out                      test_the_vae_goes_on_with_less_…, test_memory_that_does_not_suffice_…
37  not a number                         test_what_is_not_a_number_…
44  damage in the work folder            tests/test_resume.py, tests/test_render_machine.py
45  work of another version              test_work_of_another_version_…
46  two renders to one target            test_a_second_render_to_one_target_…
48  clocks that jump                     test_times_of_files_mean_nothing
50  a lost GPU                           test_a_lost_gpu_…
51  closed output, odd terminals         test_nobody_reads_…, test_any_terminal_will_do
38, 39, 40 are in tests/test_survival.py; 41, 42, 43, 47, 49 in tests of media and of the work store.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from job_parts import Simple
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.media import read_frames
from lcm_video.media.locking import locked
from lcm_video.media.output import Output
from lcm_video.pipeline import Pipeline

BOARD = """\
extends: embedded
video: {fps: 8, width: 64, height: 64, frames: 6}
sampling: {steps: 1, seed: 5}
prompts: a red circle on a blue background
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / "work"))
    (tmp_path / "board.yaml").write_text(BOARD)
    return tmp_path


@pytest.fixture
def parts(folder, monkeypatch):
    """A model of a few operations in place of the one that is named."""
    parts = Simple()
    monkeypatch.setattr(Pipeline, "load", lambda model, runtime: parts.pipeline)
    return parts


def render(*arguments):
    return CliRunner().invoke(app, ["render", "board.yaml", "-o", "film.mp4", *arguments])


def test_a_model_that_changes_while_a_film_is_drawn_ends_it_without_a_film(parts):
    shipped = Path(__file__).parents[1] / "configs" / "embedded" / "embedded.safetensors"
    Path("mine.safetensors").write_bytes(shipped.read_bytes())
    parts.before = lambda: os.utime("mine.safetensors")
    done = render("model.checkpoint=mine.safetensors")
    assert done.exit_code == 4
    assert "mine.safetensors has changed" in done.stderr
    assert not Path("film.mp4").exists()
    assert [*Path("work").rglob("frames-*")] == []


def test_the_vae_goes_on_with_less_at_once_and_says_so(folder, monkeypatch):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    usual = AutoencoderKL.decode

    def small(self, latents, *args, **named):
        if latents.shape[-1] > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(self, latents, *args, **named)

    monkeypatch.setattr(AutoencoderKL, "decode", small)
    changes = ["runtime.kernels=plain", "video={frames: 2, width: 192, height: 192}"]
    done = render(*changes)
    assert done.exit_code == 0, done.output
    assert len([*read_frames("film.mp4")]) == 2
    (told,) = json.loads(Path("film.mp4.lcm.json").read_text())["fallbacks"]
    assert "the VAE ran out of memory with a single frame" in told
    assert told in done.stderr
    strict = render(*changes, "--strict", "--overwrite", "--fresh")
    assert strict.exit_code == 5
    assert "strict" in strict.stderr


def test_memory_that_does_not_suffice_at_all_is_told_with_what_would_help(parts):
    parts.fail_at, parts.error = 1, torch.OutOfMemoryError("CUDA out of memory")
    done = render()
    assert done.exit_code == 5
    assert "windows.length" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_what_is_not_a_number_ends_it_without_a_film(parts, part):
    usual = parts.decode
    if part == "vae":
        parts.decode = lambda latents: usual(latents) * float("nan")
    else:
        parts.text = lambda prompts: {"tokens": torch.full((len(prompts), 2, 3), float("inf"))}
    done = render()
    assert done.exit_code == 6, done.output
    assert not Path("film.mp4").exists()
    assert [*Path("work").rglob("frames-*")] == []


def test_a_blank_film_is_told_and_forbidden_if_strict(parts):
    usual = parts.decode
    parts.decode = lambda latents: usual(latents) * 0 - 1
    done = render()
    assert done.exit_code == 0
    assert "6 of 6 frames are black" in done.stderr
    assert render("--strict", "--overwrite").exit_code == 6


def test_work_of_another_version_is_left_alone_and_told(parts):
    Path("work/v999/key").mkdir(parents=True)
    done = render()
    assert done.exit_code == 0
    assert "another version" in done.stderr
    assert Path("work/v999/key").is_dir()


def test_a_second_render_to_one_target_is_refused(parts):
    with locked(Output("film.mp4")):
        code = "from lcm_video.cli import main; main()"
        asked = [sys.executable, "-c", code, "render", "board.yaml", "-o", "film.mp4"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert str(os.getpid()) in done.stderr
    assert render().exit_code == 0


def test_times_of_files_mean_nothing(parts):
    assert render("sampling.steps=2").exit_code == 0
    film, calls = Path("film.mp4").read_bytes(), parts.calls
    for path in Path("work").rglob("*"):
        os.utime(path, (2**33, 2**33))
    for path in Path("work").rglob("frames-*"):
        os.utime(path, (-5, -5))
    assert render("sampling.steps=2", "--overwrite").exit_code == 0
    assert (Path("film.mp4").read_bytes(), parts.calls) == (film, calls)


def test_a_lost_gpu_is_told_as_that_and_the_next_process_goes_on(parts):
    parts.fail_at, parts.error = 2, torch.AcceleratorError("CUDA error: unspecified launch failure")
    done = render("video.frames=40")
    assert done.exit_code == 5
    assert "run the same command again" in done.stderr
    parts.fail_at = None
    assert render("video.frames=40").exit_code == 0


ALONE = """\
import sys
sys.path.insert(0, {tests!r})
from job_parts import Simple
from lcm_video.pipeline import Pipeline
Pipeline.load = lambda model, runtime: Simple().pipeline
from lcm_video.cli import main
sys.argv = ["lcm-video", "render", "board.yaml", "-o", "film.mp4", *sys.argv[1:]]
main()
"""


def alone(*arguments, shell="", **environment):
    """A render in a process of its own, with parts of a few operations; ``shell`` is what follows it."""
    code = ALONE.format(tests=str(Path(__file__).parent))
    Path("alone.py").write_text(code)
    command = f"{sys.executable} alone.py {' '.join(arguments)} {shell}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **environment}
    environment.pop("PYTHONUNBUFFERED", None)  # with it nothing is left to be written at the end, where that may fail
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize("shell", ["| head -1", "2>&1 | head -1", ">&-", "2>&-", ">/dev/full"])
def test_nobody_reads_and_the_film_is_rendered_all_the_same(folder, shell):
    done = alone("--json", shell=shell)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len([*read_frames("film.mp4")]) == 6


@pytest.mark.parametrize(
    "environment",
    [
        {"TERM": "dumb"},
        {"NO_COLOR": "1", "COLUMNS": "20"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    ],
)
def test_any_terminal_will_do(folder, environment):
    done = alone(shell="", **environment)
    assert done.returncode == 0, done.stderr
    shown = alone("--overwrite", shell="", FORCE_COLOR="1", **environment)  # with bars
    assert shown.returncode == 0, shown.stderr
    assert "Traceback" not in done.stderr + shown.stderr


def test_a_signal_while_a_model_loads_is_not_taken_for_a_damaged_file(folder, monkeypatch):
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    usual = UNet2DConditionModel.__init__

    def interrupted(self, *args, **named):
        signal.raise_signal(signal.SIGTERM)
        usual(self, *args, **named)

    monkeypatch.setattr(UNet2DConditionModel, "__init__", interrupted)
    done = render()
    assert done.exit_code == 143, done.output
    assert "interrupted" in done.stderr
