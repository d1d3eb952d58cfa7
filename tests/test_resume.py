"""Stopped anywhere, by anything, a film goes on: the same bytes, and nothing is drawn twice that was kept."""

import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from job_parts import Simple, same
from typer.testing import CliRunner

import lcm_video as lv
from lcm_video.cli.commands import app
from lcm_video.errors import Interrupted
from lcm_video.job import Job
from lcm_video.media import read_frames
from lcm_video.pipeline import Pipeline
from lcm_video.plan import plan
from lcm_video.work import Store

SMALL = [
    "video={width: 64, height: 64}",
    "sampling={steps: 2, seed: 3}",
    "windows={length: 8, overlap: 3}",
    "shots.a={frames: 2, prompts: a red circle}",
    "shots.b={frames: 20, prompts: {0: a blue star, 19: a green star}}",
    "shots.c={frames: 3, prompts: a yellow heart}",
]


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it, so nothing is done that a killed process would not do."""


class After(Event):
    """Is set once it was looked at so many times."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def is_set(self):
        self.looks -= 1
        return self.looks < 0


@pytest.fixture
def parts():
    return Simple()


@pytest.fixture
def job(parts, tmp_path):
    planned = plan(lv.load("embedded", SMALL))
    return lambda name, **options: Job(
        planned, load=lambda: parts.pipeline, store=Store(tmp_path / str(name)), **options
    )


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_job_stopped_at_any_possible_moment_goes_on_and_draws_nothing_twice(job, parts, every):
    plain, clean = [*job("plain").frames()], parts.calls
    for looks in range(0, 1000, every):
        parts.calls, drawn = 0, []
        try:
            for frame in job(looks, stop=After(looks)).frames():
                drawn.append(frame)
        except Interrupted:
            pass
        else:
            break
        assert same(plain[: len(drawn)], drawn)
        assert same(plain, [*job(looks).frames()]), looks
        assert parts.calls == clean, looks
    assert clean + len(plain) < looks < 1000


def test_a_job_stopped_again_and_again_arrives(job, parts):
    plain, clean = [*job("plain").frames()], parts.calls
    parts.calls = runs = 0
    frames = []
    while not frames:
        assert runs <= clean
        stop, runs = Event(), runs + 1
        parts.before = lambda stop=stop, due=parts.calls + 3: stop.set() if parts.calls == due else None
        with suppress(Interrupted):
            frames = [*job("again", stop=stop).frames()]
    assert same(plain, frames)
    assert parts.calls == clean
    assert runs > clean / 3


@pytest.mark.parametrize("seconds", [0.0, pytest.param(1000.0, marks=pytest.mark.slow)])
def test_a_job_killed_in_any_window_or_while_decoding_goes_on(job, parts, seconds):
    """With a checkpoint after each turn little is drawn twice; without any, no more than the chunk at hand."""
    plain, clean = [*job("plain").frames()], parts.calls
    turns = 4 if seconds == 0 else clean
    for call in range(1, clean + 1):
        parts.calls, parts.fail_at, parts.error = 0, call, Killed()
        with pytest.raises(Killed):
            [*job(call, checkpoint_seconds=seconds).frames()]
        parts.fail_at = None
        assert same(plain, [*job(call).frames()])
        assert clean <= parts.calls <= clean + turns
    usual = parts.decode
    for batch in range(7):
        left = iter(range(batch))

        def decode(latents, left=left):
            if next(left, None) is None:
                raise Killed
            return usual(latents)

        parts.decode = decode
        with pytest.raises(Killed):
            [*job(f"decode{batch}", checkpoint_seconds=seconds).frames()]
        parts.decode = usual
        assert same(plain, [*job(f"decode{batch}").frames()])


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "gone", "other", "foreign"])
def test_a_damaged_checkpoint_costs_time_and_no_more(job, parts, tmp_path, harm):
    plain = [*job("plain").frames()]
    with pytest.raises(Interrupted):
        [*job("harmed", stop=After(16)).frames()]
    for file in [*(tmp_path / "harmed").rglob("live"), *(tmp_path / "harmed").rglob("frames-*")]:
        content = file.read_bytes()
        flipped = (
            content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 4]) + content[len(content) // 2 + 1 :]
        )
        other = next(each.read_bytes() for each in (tmp_path / "plain").rglob("frames-*"))
        harmed = {"flip": flipped, "cut": content[:-7], "empty": b"", "gone": None, "other": other, "foreign": b"hello"}
        file.unlink() if harmed[harm] is None else file.write_bytes(harmed[harm])
    assert same(plain, [*job("harmed").frames()])


# Through the command line, with the model that is shipped.

BOARD = """\
extends: embedded
video: {fps: 8, width: 64, height: 64}
sampling: {steps: 2, seed: 5}
windows: {length: 8, overlap: 2}
output: {formats: [gif]}
shots:
  a: {frames: 2, prompts: a red circle on a blue background}
  b: {frames: 18, prompts: {0: a green star on a white background, 17: a blue square on a white background}}
  c: {frames: 2, prompts: a yellow heart on a black background}
"""


@pytest.fixture(scope="module")
def embedded():
    return Pipeline.load(lv.load("embedded", ["prompts=x"]).model)


@pytest.fixture
def folder(tmp_path, monkeypatch, embedded):
    """Where a storyboard is and a store of its own; the model is loaded once for all tests, and its calls counted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / "work"))
    (tmp_path / "board.yaml").write_text(BOARD)
    counted = Counted(embedded.unet)
    monkeypatch.setattr(Pipeline, "load", lambda model, runtime: counted.load(embedded))
    return counted


class Counted:
    """A UNet that counts its calls, and how often it was loaded."""

    def __init__(self, unet):
        self.unet, self.calls, self.loads = unet, 0, 0

    def __call__(self, *given, clip):
        self.calls += 1
        return self.unet(*given, clip=clip)

    def load(self, pipeline):
        self.loads += 1
        return replace(pipeline, unet=self)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rendered(*arguments):
    done = run("render", "board.yaml", *arguments)
    assert done.exit_code == 0, done.output
    return done


def stopped_after(monkeypatch, looks):
    """From here on a render is interrupted when it has looked so many times whether it should be."""
    left = After(looks)
    monkeypatch.setattr(Job, "look", lambda self: left.is_set() and stop())


def stop():
    raise Interrupted("interrupted")


def report(name="out/board.mp4"):
    return json.loads(Path(f"{name}.lcm.json").read_text())


def films():
    return {path.name: path.read_bytes() for path in Path("out").iterdir() if path.suffix in (".mp4", ".gif")}


@pytest.mark.parametrize("looks", [1, 9, 17, 31, 38])
def test_an_interrupted_render_leaves_a_film_that_plays_and_goes_on_to_the_same_bytes(folder, monkeypatch, looks):
    rendered("--fresh")
    clean, calls = films(), folder.calls
    assert run("cache", "gc", "--all").exit_code == 0
    for path in Path("out").iterdir():
        path.unlink()
    with monkeypatch.context() as patch:
        stopped_after(patch, looks)
        done = run("render", "board.yaml")
    assert done.exit_code == 130
    assert "interrupted" in done.stderr
    assert "run the same command again" in done.stderr
    assert "error" not in done.stderr
    if told := re.search(r"the film so far: (\S+mp4)", done.stderr):
        assert len([*read_frames(told[1])]) >= 1
    else:
        assert looks < 15
    assert films() == {} or all(name.startswith(".") for name in films())
    done = run("render", "board.yaml")
    assert done.exit_code == 0, done.output
    assert films() == clean
    assert folder.calls == 2 * calls
    counts = report()["counts"]
    assert counts["drawn"] + counts["reused"] == 22
    assert (f"{counts['reused']} of" in done.stderr) or counts["reused"] in (0, 2, 20)


def test_another_format_needs_no_model(folder):
    rendered("output.formats=[]")
    calls = folder.calls
    done = run("render", "board.yaml", "-o", "other.webp", "output.formats=[]")
    assert done.exit_code == 0, done.output
    assert (folder.loads, folder.calls) == (1, calls)
    assert report("other.webp")["counts"] == {"drawn": 0, "reused": 22, "windows": 0}
    assert report()["counts"]["drawn"] == 22
    assert report("other.webp")["models"] == report()["models"]
    assert len([*read_frames("other.webp")]) == 22


def test_a_film_of_stored_frames_is_the_same_file(folder):
    rendered()
    drawn = films()
    rendered("--overwrite")
    assert films() == drawn
    assert folder.loads == 1


def test_fresh_draws_again_and_kept_work_is_not_cleared_away(folder):
    rendered("--keep-work")
    calls = folder.calls
    rendered("--overwrite", "--fresh")
    assert folder.calls == 2 * calls
    assert [entry.pinned for entry in Store().entries()] == [True] * 3
    assert [entry.about["storyboard"] for entry in Store().entries()] == ["board.yaml"] * 3


def test_a_fresh_render_that_is_stopped_goes_on_without_fresh(folder, monkeypatch):
    rendered()
    drawn, calls, folder.calls = films(), folder.calls, 0
    with monkeypatch.context() as patch:
        stopped_after(patch, 25)
        done = run("render", "board.yaml", "--overwrite", "--fresh")
    assert done.exit_code == 130
    assert "without --fresh" in done.stderr
    assert films().keys() >= drawn.keys()
    rendered("--overwrite")
    assert (films(), folder.calls) == (drawn, calls)


def test_one_edited_shot_is_drawn_alone(folder):
    rendered()
    board = lv.load("board.yaml", ["shots.c.prompts=a blue heart on a black background"])
    folder.calls = 0
    done = run("render", "board.yaml", "shots.c.prompts=a blue heart on a black background", "-o", "edited.mp4")
    assert done.exit_code == 0, done.output
    assert folder.calls == plan(board).shots[2].calls()
    assert report("edited.mp4")["counts"]["reused"] == 20


def test_machines_are_told_of_every_frame_and_people_of_what_was_there(folder):
    done = run("render", "board.yaml", "--json", "output.formats=[]")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["number"] for event in events if event["event"] == "frame"] == [*range(22)]
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages == ["load model", "a: draw", "b: draw", "c: draw", "verify"]
