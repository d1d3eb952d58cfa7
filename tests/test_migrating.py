"""docs/migrating.md is true: every file on its left becomes the storyboard on its right."""

import ast
import re
from pathlib import Path

import pytest

from lcm_video.importers import reading
from lcm_video.importers.document import document
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text

TEXT = (Path(__file__).parents[1] / "docs" / "migrating.md").read_text()
PAIR = re.compile(r"^```(\w+)\n(.*?)^```\n\nThe same film:\n\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAIRS = {language: (theirs, ours) for language, theirs, ours in PAIR.findall(TEXT)}


def test_every_tool_is_shown_side_by_side():
    assert [*PAIRS] == ["json", "jsonc", "text", "python"]
    assert TEXT.count("```yaml") == len(PAIRS)


@pytest.mark.parametrize("language", ["json", "jsonc", "text"])
def test_the_file_on_the_left_becomes_the_storyboard_on_the_right(language):
    theirs, ours = PAIRS[language]
    found = document(theirs, name="theirs")
    tool = reading(found)
    assert tool is not None
    imported = tool.convert(found)
    assert load_text(to_yaml(imported), name="imported") == load_text(ours, name="ours")
    assert {finding.fate for finding in imported.findings} >= {"exact", "approximated"}


def test_the_arguments_of_the_code_on_the_left_are_the_values_on_the_right():
    theirs, ours = PAIRS["python"]
    tree = ast.parse(theirs)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = {word.arg: word.value for call in calls for word in call.keywords}
    said = {name: node.value for name, node in named.items() if isinstance(node, ast.Constant)}
    prompts = next(ast.literal_eval(call.args[0]) for call in calls if call.args and isinstance(call.args[0], ast.Dict))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    numbers = {node.value for call in calls for node in call.args if isinstance(node, ast.Constant)}
    board = load_text(ours, name="ours")
    assert {int(at): key.text for at, key in board.prompts.items()} == prompts
    assert (board.negative, board.video.frames) == (said["negative_prompt"], said["num_frames"])
    assert (board.video.width, board.video.height, board.video.fps) == (said["width"], said["height"], said["fps"])
    assert (board.sampling.steps, board.sampling.guidance) == (said["num_inference_steps"], said["guidance_scale"])
    assert board.windows.length == said["context_length"]
    assert board.windows.length - board.windows.overlap == said["context_stride"]
    lora = board.model.loras[str(said["adapter_name"])]
    assert board.sampling.seed in numbers
    assert lora.scale in numbers
    assert {board.model.checkpoint, board.model.motion, lora.path, board.output.path} <= texts


def test_every_option_it_names_exists():
    from typer.testing import CliRunner

    from lcm_video.cli.commands import app

    told = CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    for option in ("--faithful", "--map"):
        assert option in TEXT
        assert option in told
