"""Every film carries its storyboard, and is made again from it, byte for byte."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.errors import InputError
from lcm_video.media import about
from lcm_video.models import ModelFile, find
from lcm_video.report import changed_models, origin

BOARD = """\
extends: embedded
video: {fps: 8, width: 64, height: 64}
sampling: {steps: 1, seed: 5}
prompts:
  0: a red "circle" on a blue background, 赤い丸 🙂
  2: a green circle on a white background
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "board.yaml").write_text(BOARD)
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done


def same(first, second):
    if first.is_dir():
        names = sorted(path.name for path in first.iterdir())
        assert names == sorted(path.name for path in second.iterdir())
        return all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    return first.read_bytes() == second.read_bytes()


def test_every_format_renders_again_from_itself_byte_for_byte(folder):
    endings = ["mp4", "mov", "mkv", "webm", "gif", "webp", "apng", "png"]
    run("render", "board.yaml", "-o", "old.mp4", f"output.formats=[{', '.join(endings[1:])}]")
    for ending in endings:
        old, new = (Path(name if ending == "png" else f"{name}.{ending}") for name in ("old", "old.again"))
        run("render", old)
        assert same(old, new), ending


def test_an_unchanged_storyboard_gives_the_same_bytes(folder):
    for name in ("one", "two"):
        run("render", "board.yaml", "-o", f"{name}.mp4", "output.formats=gif")
    assert same(Path("one.mp4"), Path("two.mp4"))
    assert same(Path("one.gif"), Path("two.gif"))


def test_a_film_may_be_changed_while_it_is_rendered_again(folder):
    run("render", "board.yaml", "-o", "old.gif")
    run("render", "old.gif", "-o", "new.gif", "sampling.seed=6")
    assert not same(Path("old.gif"), Path("new.gif"))
    assert "seed: 6" in run("info", "new.gif", "--extract").stdout


def test_an_extracted_storyboard_is_one(folder):
    run("render", "board.yaml", "-o", "old.webp")
    Path("taken.yaml").write_text(run("info", "old.webp", "--extract").stdout)
    run("render", "taken.yaml", "-o", "new.webp")
    assert same(Path("old.webp"), Path("new.webp"))


def test_what_a_film_carries_tells_nothing_of_the_machine(folder):
    run("render", str(folder / "board.yaml"), "-o", str(folder / "old.gif"), f"runtime.folders=[{folder}]")
    text = about(folder / "old.gif")
    assert str(folder) not in text
    assert str(Path.home()) not in text
    assert json.loads(text)["models"]["checkpoint"]["sha256"]


def test_a_film_without_metadata_says_why_it_cannot_be_rendered(folder):
    run("render", "board.yaml", "-o", "old.gif", "output.metadata=false")
    done = CliRunner().invoke(app, ["render", "old.gif"])
    assert done.exit_code == 4
    assert "carries no storyboard" in done.stderr


def test_a_film_whose_weights_have_changed_says_so(folder):
    run("render", "board.yaml", "-o", "old.gif")
    made = origin(about(folder / "old.gif"), name="old.gif")
    kinds = {"motion": "motion module"}
    files = [ModelFile(role, find(file["name"], kind=kinds.get(role, "model"))) for role, file in made.models.items()]
    assert changed_models(made, files) == []
    Path("other.safetensors").write_bytes(b"other weights")
    files[0] = replace(files[0], path=Path("other.safetensors"))
    (told,) = changed_models(made, files)
    assert files[0].name in told


@pytest.mark.parametrize("text", ["{}", "[1]", '{"storyboard": 3, "models": {}, "versions": {}}', "[" * 100_000])
def test_a_strangers_metadata_is_refused_without_a_traceback(folder, text):
    with pytest.raises(InputError, match="did not write"):
        origin(text, name="x.gif")
