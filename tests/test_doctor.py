"""doctor: looks at everything, renders, tells no private names, and does not die of what it finds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lcm_video.cli import doctor
from lcm_video.cli.commands import app


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_sound_installation_is_told_so_and_renders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0, told
    assert told["ok"]
    assert told["problems"] == []
    assert told["render"].startswith("2 frames in ")
    assert {
        "system",
        "python",
        "torch",
        "diffusers",
        "devices",
        "formats",
        "models",
        "disk here",
        "compiled layers",
    } <= told.keys()
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_the_block_holds_no_private_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCM_VIDEO_MODELS", str(tmp_path))
    monkeypatch.setattr(doctor, "smoke", lambda: iter([doctor.Finding("smoke", "x")]))
    told = run().stdout
    assert told.startswith("```\n")
    for private in (str(Path.home()), str(tmp_path), Path.cwd().name):
        assert private not in told


@pytest.mark.parametrize("name", ["smoke", "device", "disk"])
def test_what_fails_is_a_finding(tmp_path, monkeypatch, name):
    def broken():
        raise RuntimeError(f"cannot use {tmp_path}/file")

    broken.__name__ = name
    monkeypatch.chdir(tmp_path)
    for other in ("smoke", "device"):
        monkeypatch.setattr(doctor, other, lambda: iter([]))
    monkeypatch.setattr(doctor, name, broken)
    done = run()
    assert done.exit_code == 1
    assert f"BAD {name}" in done.stdout
    assert "RuntimeError: cannot use ./file" in done.stdout
    assert str(tmp_path) not in done.stdout
    assert "something is wrong" in done.stdout


def test_a_full_disk_is_bad(tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    assert not any(finding.good for finding in doctor.disk())
