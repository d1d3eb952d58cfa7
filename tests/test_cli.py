"""The command line as a user meets it, in processes of its own where start-up matters."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lcm_video.cli.commands import app

BOARD = """\
extends: embedded
video: {fps: 8, width: 64, height: 64}
sampling: {steps: 1}
prompts:
  0: a red circle on a blue background
  3: a green circle on a white background
"""

ALONE = """\
import sys, time
sys.argv = ["lcm-video", *sys.argv[1:]]
from lcm_video.cli import main
try:
    main()
finally:
    heavy = {"torch", "diffusers", "transformers", "av", "imageio"} & sys.modules.keys()
    print("LOADED", sorted(heavy), file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / "work"))
    (tmp_path / "board.yaml").write_text(BOARD)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def alone(*arguments):
    """Runs a command in a process of its own: what it said, and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def best_of(times, *arguments):
    """The fastest of some runs: what the program needs, whatever else the machine is doing."""
    runs = [alone(*arguments) for _ in range(times)]
    return runs[0][0], min(seconds for _, seconds in runs)


def test_help_answers_at_once_and_loads_nothing_heavy():
    done, seconds = best_of(4, "--help")
    assert done.returncode == 0
    assert "render" in done.stdout
    assert "LOADED []" in done.stderr
    assert seconds < 0.5


def test_plan_answers_within_a_second_and_loads_nothing_heavy(folder):
    done, seconds = best_of(4, "plan", "board.yaml", "--plot", "plan.svg")
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stderr
    assert seconds < 1
    assert (folder / "plan.svg").read_text().startswith("<svg")


def test_check_loads_nothing_heavy_either(folder):
    done, _ = alone("check", "board.yaml")
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stderr


def test_plan_shows_prompts_windows_and_cost(folder):
    shown = run("plan", "board.yaml", "video.frames=20", "sampling.steps=2").stdout
    assert "20 frames, 2.50 s at 8 fps, 64x64" in shown
    assert (
        "   1    0.12s   67% a red circle on a blue background  +   33% a green circle on a white background" in shown
    )
    assert "steps    lcm: 999 499" in shown
    assert "windows  step 1: 0-15 4-19   each frame in 1 to 2" in shown
    assert "cost     5 UNet calls" in shown


def test_plan_as_data_adds_up(folder):
    data = json.loads(run("plan", "board.yaml", "video.frames=20", "sampling.guidance={0: 1, 10: 2}", "--json").stdout)
    (shot,) = data["shots"]
    assert [sum(shares.values()) for shares in shot["weights"]] == pytest.approx([1.0] * 20)
    assert all({frame for window in step for frame in window} == set(range(20)) for step in shot["windows"])
    assert shot["guidance"][5] == 1.5
    assert data["unet_calls"] == shot["unet_calls"] == 4  # two windows, each with frames that need the negative


def test_plan_warns_of_what_will_disappoint(folder):
    shown = run("plan", "board.yaml", "negative=blurry", "model.motion=", "video.frames=8").stdout
    assert "warning  the negative prompt does nothing at guidance 1" in shown
    assert "warning  no motion module" in shown


def test_all_mistakes_are_told_at_once_with_their_places(folder):
    (folder / "bad.yaml").write_text("extends: embedded\nvideo: {frame: 9}\nprompts:\n  0: {text: fox, ease: smoth}\n")
    done = run("check", "bad.yaml")
    assert done.exit_code == 3
    assert "bad.yaml:2:9: video.frame" in done.stderr
    assert "bad.yaml:4:24: prompts.0.ease: unknown easing 'smoth'" in done.stderr
    assert "Traceback" not in done.output
    problems = json.loads(run("check", "bad.yaml", "--json").stdout)["problems"]
    assert [(problem["line"], problem["column"]) for problem in problems] == [(2, 9), (4, 24)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["render"], 2),
        (["rendr", "board.yaml"], 2),
        (["render", "nowhere.yaml"], 3),
        (["render", "board.yaml", "sampling.stepz=3"], 3),
        (["render", "board.yaml", "model.checkpoint=dreamshaper_9"], 4),
        (["render", "board.yaml", "output.audio.source=none.mp3"], 4),
        (["info", "nothing.mp4"], 4),
        (["render", "board.yaml", "-o", "film.xyz"], 3),
        (["init", "board.yaml"], 3),
        (["init", "other.yaml", "-t", "musik"], 3),
    ],
)
def test_exit_codes(folder, arguments, code):
    done = run(*arguments)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output


def test_everything_wrong_with_the_models_is_told_at_once_and_before_torch_loads(folder):
    (folder / "page.safetensors").write_text("<html>")
    checkpoint = Path(__file__).parents[1] / "configs" / "embedded" / "embedded.safetensors"
    changes = ["model.vae=page.safetensors", f"model.motion={checkpoint}", "model.loras.lcm=embeded_lcm_lora"]
    done, _ = alone("render", "board.yaml", *changes)
    assert done.returncode == 4
    assert "page.safetensors is a web page" in done.stderr
    assert "embedded.safetensors is an SD 1.5 checkpoint, not a motion module" in done.stderr
    assert "did you mean embedded_lcm_lora" in done.stderr
    assert "torch" not in done.stderr
    assert "warning  model.vae: page.safetensors is a web page" in run("plan", "board.yaml", *changes).stdout


def test_render_writes_film_report_and_sheet(folder):
    done = run("render", "board.yaml", "--sheet")
    assert done.exit_code == 0, done.output
    assert "out/board.mp4  4 frames, 0.50 s at 8 fps, 64x64" in done.stdout
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "board.mp4",
        "board.mp4.lcm.json",
        "board.sheet.png",
    ]
    report = json.loads((folder / "out" / "board.mp4.lcm.json").read_text())
    assert report["frames"] == 4
    assert report["films"].keys() == {"board.mp4"}
    assert {"load model", "denoise", "decode"} <= report["seconds"].keys()
    assert str(folder) not in json.dumps(report)


def test_the_report_of_a_folder_of_frames_replaces_no_file_of_the_users(folder):
    (folder / "fox.json").write_text("mine")
    assert run("render", "board.yaml", "-o", "fox.png", "--sheet").exit_code == 0
    assert (folder / "fox.json").read_text() == "mine"
    assert (folder / "fox.lcm.json").exists()  # of the folder fox
    assert (folder / "fox.sheet.png").exists()


def test_render_does_not_replace_a_film_unless_told(folder):
    (folder / "out").mkdir()
    (folder / "out" / "board.mp4").write_text("a film I love")
    done = run("render", "board.yaml")
    assert done.exit_code == 3
    assert "--overwrite" in done.stderr
    assert (folder / "out" / "board.mp4").read_text() == "a film I love"


def test_machines_get_one_json_object_a_line_and_quiet_is_quiet(folder):
    done = run("render", "board.yaml", "--json", "-o", "a.gif")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["stage"] for event in events if event["event"] == "stage"] == [
        "load model",
        "draw",
        "verify",
    ]
    assert {event["path"] for event in events if event["event"] == "written"} == {"a.gif", "a.gif.lcm.json"}
    failed = run("render", "board.yaml", "model.checkpoint=none", "--json", "-o", "b.gif")
    assert json.loads(failed.stdout.splitlines()[-1])["exit_code"] == failed.exit_code == 4
    assert run("render", "board.yaml", "-q", "-o", "c.gif").output == ""


def test_an_interrupted_render_says_so_and_leaves_no_film_under_its_name(folder):
    code = "from lcm_video.cli import main; main()"
    asked = [sys.executable, "-c", code, "render", "board.yaml", "sampling.steps=50", "video.frames=64"]
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True) as render:
        assert any(line.startswith("draw") for line in render.stderr)
        render.send_signal(signal.SIGINT)
        said = render.stderr.read()
        assert render.wait(timeout=60) == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert [path for path in folder.rglob("out/*") if not path.name.startswith(".")] == []


def test_too_little_memory_is_told_as_that(folder, monkeypatch):
    from lcm_video.pipeline import Pipeline

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Pipeline, "load", full)
    done = run("render", "board.yaml")
    assert done.exit_code == 5
    assert "windows.length" in done.stderr


@pytest.mark.parametrize("template", ["minimal", "story", "shots", "loop", "music"])
def test_every_template_is_a_storyboard_that_plans(folder, template):
    assert run("init", f"{template}.yaml", "-t", template).exit_code == 0
    done = run("check", f"{template}.yaml")
    assert (done.exit_code, done.stdout) == (0, f"{template}.yaml: no problems\n"), done.output


def test_info_tells_what_a_model_file_is():
    checkpoint = Path(__file__).parents[1] / "configs" / "embedded" / "embedded.safetensors"
    shown = run("info", checkpoint).stdout
    assert "SD 1.5 checkpoint" in shown
    assert "Traceback" not in shown


def test_shells_can_complete_commands():
    code = "from lcm_video.cli import main; main()"
    completing = {"_LCM_VIDEO_COMPLETE": "complete_bash", "COMP_WORDS": "lcm-video pl", "COMP_CWORD": "1"}
    asked = [sys.executable, "-c", code]
    done = subprocess.run(asked, capture_output=True, text=True, env={**os.environ, **completing}, check=False)
    assert done.stdout.split() == ["plan"]


def test_the_schema_is_printed():
    assert "prompts" in json.loads(run("schema").stdout)["properties"]


def test_a_closed_pipe_is_no_error(folder):
    command = f"{sys.executable} -c 'from lcm_video.cli import main; main()' plan board.yaml | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("film")
