"""The layout is a promise: each module imports only from the layers below its own."""

import ast
from pathlib import Path

import pytest

import lcm_video

LAYERS = """
errors resources
types scratch chunks
timeline
windows samplers noise denoiser conditioning start freeinit decoder media prompts models picture
wave seams
storyboard
reader course importers
report work plan
timeline_picture pipeline
preview job
cli
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.split("\n")) for name in line.split()}
# The text encoder is one of the parts that models.load puts together.
ALLOWED = {("models", "prompts")}
ROOT = Path(lcm_video.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            yield from [name.name for name in node.names]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports(ast.parse(path.read_text())):
        if name.startswith("lcm_video."):
            other = name.split(".")[1]
            if other != own and (own, other) not in ALLOWED:
                assert RANK[other] < RANK[own], f"{own} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_models_and_the_text_encoder_know_diffusers(path):
    if path.relative_to(ROOT).parts[0] not in ("models", "prompts"):
        roots = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
        assert not roots & {"diffusers", "transformers"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_media_knows_the_encoders(path):
    if path.relative_to(ROOT).parts[0] != "media":
        roots = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
        assert not roots & {"av", "imageio"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 250
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{node.name} is too long"
            # A command line's options are its parameters.
            options = 99 if path.name == "commands.py" else 7
            assert len(node.args.args) + len(node.args.kwonlyargs) <= options, f"{node.name} takes too much"


def test_nothing_is_called_util():
    forbidden = {"util", "utils", "helpers", "common", "manager", "base"}
    assert not forbidden & {path.stem for path in MODULES}
