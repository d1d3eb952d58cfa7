"""What the documents say is true: their commands run, their fields exist, their examples render."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import lcm_video as lv
from lcm_video.cli.commands import app
from lcm_video.plan import plan
from lcm_video.reader import load_films, presets, schema

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FIELDS = "<!-- fields: written by tests/test_docs.py --update-golden from the sections' own docstrings -->\n"


def blocks(text, language=""):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [body for name, body in fenced if name == language]


def commands(text):
    lines = (line.split("#")[0].strip() for block in blocks(text) for line in block.splitlines())
    return [shlex.split(line) for line in lines if line.startswith("lcm-video ")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", "examples")
    return tmp_path


def test_every_command_of_the_readme_runs_in_order(folder):
    assert len(commands(README)) >= 6
    shutil.copy("examples/import/tutorial.json", "workflow.json")
    Path("stories").mkdir()
    shutil.copy("examples/first.yaml", "stories/first.yaml")
    for _, *arguments in commands(README):
        if arguments[:2] == ["models", "get"]:  # the one that needs the network: tests/test_models_get.py
            continue
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, (arguments, done.output)
    assert Path("out/draft.gif").read_bytes() == Path("out/again.gif").read_bytes()
    assert Path("story.svg").exists()


def test_the_readmes_make_targets_exist():
    for target in re.findall(r"^make ([a-z-]+)", "\n".join(blocks(README)), re.MULTILINE):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_the_readmes_python_runs(folder, capsys):
    (program,) = blocks(README, "python")
    exec(compile(program, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["out/first.webm"]


def test_the_readmes_first_storyboard_is_the_example(folder):
    first, _ = blocks(README, "yaml")
    for text in (first, Path("examples/first.yaml").read_text()):
        Path("shown.yaml").write_text(text)
        assert lv.load("shown.yaml") == lv.load("examples/first.yaml")


def test_the_readmes_storyboard_for_models_of_ones_own_loads(folder):
    _, own = blocks(README, "yaml")
    Path("models").mkdir(exist_ok=True)
    (Path("models") / "add_detail.safetensors").touch()
    Path("own.yaml").write_text(own)
    board = lv.load("own.yaml")
    assert board.model.checkpoint == "dreamshaper_8"
    assert board.model.loras["add_detail"].called
    assert plan(board).frames == 25


def test_the_readmes_error_is_the_one_that_is_told(folder):
    Path("story.yaml").write_text("extends: embedded\nprompts:\n  1.5s: {text: a fox, ease: smoth}\n")
    told = CliRunner().invoke(app, ["check", "story.yaml"]).stderr.removeprefix("error: ")
    assert told in README


def test_the_pythons_documentation_compiles_and_its_names_exist():
    for program in blocks((ROOT / "docs" / "python.md").read_text(), "python"):
        compile(program, "docs/python.md", "exec")
        for name in re.findall(r"\blv\.(\w+)", program):
            assert name in lv.__all__


def rows(fields):
    for name, field in fields.items():
        default = field.get("default", "")
        plain = str(default).lower() if isinstance(default, bool) else str(default)
        shown = f" (`{plain}`)" if plain and not isinstance(default, dict | list | None) else ""
        yield f"| `{name}`{shown} | {field.get('description', '')} |"


def fields_table():
    """Every section's fields with their defaults and what their docstrings say."""
    whole = schema()
    sections = {"the storyboard": whole, **whole["definitions"]}
    for name, section in sections.items():
        if "properties" in section:
            yield "\n".join([f"\n### {name}\n", "| field (default) | |", "|---|---|", *rows(section["properties"])])


def test_the_storyboards_documentation_names_every_field(request):
    path = ROOT / "docs" / "storyboard.md"
    text = path.read_text()
    expected = text[: text.index(FIELDS)] + FIELDS + "\n".join(fields_table()) + "\n"
    if request.config.getoption("--update-golden"):
        path.write_text(expected)
    assert path.read_text() == expected, "run pytest tests/test_docs.py --update-golden"


def test_every_storyboard_of_the_documentation_is_one(folder):
    for text in blocks((ROOT / "docs" / "storyboard.md").read_text(), "yaml"):
        Path("shown.yaml").write_text(text)
        load_films("shown.yaml")


STILLS = ["sd15_still_lcm", "sdxl_still_lcm"]
"""Examples whose models are not shipped."""


@pytest.mark.parametrize("name", STILLS)
def test_examples_with_models_of_ones_own_are_planned_and_name_what_is_missing(folder, name):
    planned = CliRunner().invoke(app, ["plan", f"examples/{name}.yaml"])
    assert (planned.exit_code, "to out/car.png" in planned.stdout) == (0, True), planned.output
    for command in ("check", "render"):
        done = CliRunner().invoke(app, [command, f"examples/{name}.yaml"])
        assert done.exit_code == 4
        assert "was not found" in done.output


@pytest.mark.parametrize("name", sorted({path.stem for path in (ROOT / "examples").glob("*.yaml")} - {*STILLS}))
def test_every_example_renders(folder, name):
    """Small and quick here; only the size and the steps differ from what the file says."""
    changes = ["video.width=64", "video.height=64", "sampling.steps=1", "output.formats=[]", "-o", "film.mp4"]
    done = CliRunner().invoke(app, ["render", f"examples/{name}.yaml", *changes])
    assert done.exit_code == 0, done.output


@pytest.mark.slow
@pytest.mark.parametrize("program", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_every_program_runs(folder, program):
    subprocess.run([sys.executable, f"examples/{program}"], check=True, capture_output=True)


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_explained_and_loads(folder, name):
    assert presets()[name].read_text().startswith("# ")
    lv.load(name, ["prompts=a fox"])


@pytest.mark.slow
def test_a_clean_clone_needs_nothing_but_the_readmes_commands(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(["make", "demo"], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "out/first.mp4  25 frames, 3.12 s at 8 fps, 128x128" in done.stdout
    assert (clone / "out" / "first.sheet.png").exists()
