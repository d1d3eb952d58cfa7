"""``lcm-video import``, and other tools' files where a storyboard is expected, end to end."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.cli.import_command import import_  # noqa: F401 (adds the command)
from lcm_video.errors import StoryboardError
from lcm_video.importers import Finding, Imported, importing
from lcm_video.importers.writing import mapped, to_yaml
from lcm_video.media import about
from lcm_video.reader import load_text

EXAMPLES = Path(__file__).parent.parent / "examples" / "import"
TUTORIAL = str(EXAMPLES / "tutorial.json")
TO_EMBEDDED = [
    "dreamshaper_8=embedded", "mm_sd_v15_v2=embedded", "lcm_lora_sd15=embedded_lcm_lora", "BadDream=embedded_negative",
    "vae-ft-ema-560000-ema-pruned=",
]  # fmt: skip
SMALL = ["video.width=64", "video.height=64", "video.frames=16", "sampling.steps=2"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def maps():
    return [word for pair in TO_EMBEDDED for word in ("--map", pair)]


def test_import_prints_a_storyboard_and_reports_on_the_side(here):
    done = run("import", TUTORIAL)
    assert done.exit_code == 0, done.output
    assert load_text(done.stdout, name="printed").model.checkpoint == "dreamshaper_8.safetensors"
    assert "# Imported from tutorial.json (ComfyUI workflow)." in done.stdout
    assert "KSampler 9: seed" in done.stderr


def test_import_writes_a_file_and_replaces_none(here):
    assert run("import", TUTORIAL, "-o", "made/board.yaml").exit_code == 0
    written = (here / "made" / "board.yaml").read_text()
    assert yaml.safe_load(written)["sampling"]["seed"] == 4
    refused = run("import", TUTORIAL, "-o", "made/board.yaml")
    assert refused.exit_code == 3
    assert "exists" in refused.stderr
    assert run("import", TUTORIAL, "-o", "made/board.yaml", "--overwrite").exit_code == 0


def test_the_tutorials_workflow_renders_on_the_embedded_model(here):
    assert run("import", TUTORIAL, "-o", "board.yaml", *maps()).exit_code == 0
    assert run("check", "board.yaml").exit_code == 0
    done = run("render", "board.yaml", *SMALL, "-q")
    assert done.exit_code == 0, done.output
    carried = json.loads(about(here / "out" / "AnimateDiff.gif"))
    assert "a green star on a black background" in carried["storyboard"]
    assert "embedded_lcm_lora.safetensors" in json.dumps(carried["models"])


def test_plan_takes_another_tools_file_and_tells_shortly(here):
    done = run("plan", TUTORIAL, "video.fps=12", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)
    assert done.stderr.startswith("ComfyUI workflow: ")
    assert "lcm-video import" in done.stderr


def test_check_takes_it_too_and_tells_of_missing_models(here):
    done = run("check", TUTORIAL)
    assert done.exit_code in (0, 4)  # 4: its model files are not here
    assert "dreamshaper_8.safetensors" in done.output + done.stderr


def test_a_workflow_is_known_by_its_content_whatever_its_name(here):
    for name in ("film.mp4", "board.yaml", "notes.txt", "bare"):
        (here / name).write_text(Path(TUTORIAL).read_text())
        assert run("plan", name).exit_code == 0, name


def test_a_storyboard_of_ours_stays_one(here):
    (here / "board.yaml").write_text("extends: embedded\nprompts: {0: a red circle, 8: a star}\n")
    done = run("plan", "board.yaml")
    assert done.exit_code == 0
    assert "ComfyUI" not in done.stderr
    refused = run("import", "board.yaml")
    assert refused.exit_code == 3
    assert "is a storyboard already" in refused.stderr


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [("hello there", 3, "no tool's file"), ("{}", 3, "an empty map"), ("", 3, "nothing"),
     ('{"1": {"class_type": "LoadImage", "inputs": {}}}', 3, "no node in it draws")],
)  # fmt: skip
def test_refusals_name_the_reason(text, code, said, here):
    (here / "file.json").write_text(text)
    done = run("import", "file.json")
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "→" in done.stderr


def test_a_missing_file_is_an_input_error(here):
    done = run("import", "none.json")
    assert done.exit_code == 4
    assert "cannot open none.json" in done.stderr


@pytest.mark.parametrize(("pair", "said"), [("nothing", "is not old=new"), ("absent=x", "names no model file")])
def test_a_map_that_maps_nothing_is_refused(pair, said, here):
    done = run("import", TUTORIAL, "--map", pair)
    assert done.exit_code == 3
    assert said in done.stderr


def test_mapping_renames_files_and_the_embeddings_that_prompts_call():
    board = mapped(importing(TUTORIAL).board, TO_EMBEDDED)
    assert board["model"]["checkpoint"] == board["model"]["motion"] == "embedded"
    assert board["model"]["loras"] == {"lcm_lora_sd15": "embedded_lcm_lora"}
    assert board["model"]["embeddings"] == ["embedded_negative"]
    assert board["negative"] == "embedding:embedded_negative, blurry"
    assert "vae" not in board["model"]


def test_mapping_to_nothing_takes_a_lora_away():
    board = {"model": {"loras": {"a": {"path": "x/A.safetensors", "scale": 0.5}, "b": "b.ckpt"}}}
    assert mapped(board, ["a="])["model"]["loras"] == {"b": "b.ckpt"}


def test_written_storyboards_read_back_whatever_texts_hold():
    texts = ["yes", "1:30", "a: b # c", "${vars.x}", "a\nb", "- x", "é\u2028\x07", '"q"', "back\\slash \\${y}", ""]
    board = {"prompts": {str(8 * i): text for i, text in enumerate(texts)}, "negative": "null"}
    findings = (Finding("a\nb", "ignored", "be\x07cause"),)
    read = load_text(to_yaml(Imported("Tool", board, findings, {"negative": "two\nlines"})), name="test")
    assert [key.text for key in read.prompts.values()] == [text.replace("\x07", "") for text in texts]
    assert read.negative == "null"


def test_values_of_wrong_types_are_errors_not_crashes(here):
    with pytest.raises(StoryboardError):
        mapped({"model": {}}, ["a=b"])
