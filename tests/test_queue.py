"""Many films in one command: what they share is done once, and what is wrong with one does not stop the others."""

import json
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import lcm_video as lv
from lcm_video.cli.commands import app
from lcm_video.cli.queued import told_apart
from lcm_video.errors import Interrupted, ResourceError
from lcm_video.media import about, read_frames
from lcm_video.pipeline import Pipeline
from lcm_video.prompts.remembering import Remembering
from lcm_video.prompts.text import Text
from lcm_video.reader import load_text

FOX = """\
extends: embedded
video: {frames: 4, width: 64, height: 64}
sampling: {steps: 1}
prompts: {0: a red circle, -1: a blue circle}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, and an empty store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / ".work"))
    (tmp_path / "fox.yaml").write_text(FOX)
    return tmp_path


@pytest.fixture
def counted(monkeypatch):
    """How often models were loaded, and what the text encoder was asked for."""
    calls = {"loads": 0, "prompts": []}
    load, encode = Pipeline.load, Text.__call__

    def loading(*arguments):
        calls["loads"] += 1
        return load(*arguments)

    def encoding(self, prompts, /):
        calls["prompts"] += prompts
        return encode(self, prompts)

    monkeypatch.setattr(Pipeline, "load", loading)
    monkeypatch.setattr(Text, "__call__", encoding)
    return calls


def render(*arguments):
    return CliRunner().invoke(app, ["render", *map(str, arguments)])


def written(folder, ending="mp4"):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob(f"*.{ending}") if ".work" not in file.parts)


def test_a_sweep_of_2_by_3_writes_six_films_and_one_sheet_and_encodes_each_prompt_once(folder, counted):
    (folder / "fox.yaml").write_text(FOX + "sweep: {prompts.0: [a red circle, a star], sampling.seed: [1, 2, 3]}\n")
    done = render("fox.yaml")
    assert done.exit_code == 0, done.output
    films = written(folder)
    assert films == sorted(
        f"out/fox.prompts-0-{word}.seed-{seed}.mp4" for word in ("a-red-circle", "a-star") for seed in (1, 2, 3)
    )
    assert written(folder, "png") == ["out/fox.sweep.png"]
    assert counted["loads"] == 1
    assert sorted(counted["prompts"]) == ["a blue circle", "a red circle", "a star"]
    assert len({(folder / film).read_bytes() for film in films}) == 6


def test_a_film_of_a_sweep_carries_its_own_storyboard_and_is_what_that_alone_gives(folder):
    assert render("fox.yaml", "--sweep", "sampling.seed=1,2", "output.path=out/fox.png").exit_code == 0
    film = folder / "out" / "fox.seed-2"
    text = json.loads(about(film))["storyboard"]
    assert "sweep" not in text
    assert load_text(text, name="film").sampling.seed == 2
    assert render("fox.yaml", "sampling.seed=2", "--fresh", "-o", "alone.png").exit_code == 0
    pairs = zip(read_frames(film), read_frames(folder / "alone"), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    again = render(film, "--fresh", "-o", "again.png")
    assert again.exit_code == 0, again.output
    assert all(np.array_equal(a, b) for a, b in zip(read_frames(film), read_frames(folder / "again"), strict=True))


def test_a_sweep_over_a_loras_scale_merges_anew_for_each(folder, counted):
    done = render("fox.yaml", "--sweep", "model.loras.lcm.scale=1,0.2", "output.path=fox.png")
    assert done.exit_code == 0, done.output
    assert counted["loads"] == 2
    assert render("fox.yaml", "model.loras.lcm.scale=0.2", "--fresh", "-o", "alone.png").exit_code == 0
    swept, alone, full = (list(read_frames(folder / name)) for name in ("fox.scale-0.2", "alone", "fox.scale-1"))
    assert np.array_equal(swept, alone)
    assert not np.array_equal(swept, full)


def test_several_sources_share_the_model_and_overrides_hold_for_all(folder, counted):
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(FOX)
    (folder / "c.yaml").write_text(FOX.replace("{frames: 4,", "{frames: 5,") + "runtime: {decode_batch: 1}\n")
    done = render("a.yaml", "c.yaml", "video.fps=7", "b.yaml", "sampling.seed=4")
    assert done.exit_code == 0, done.output
    assert written(folder) == ["out/a.mp4", "out/b.mp4", "out/c.mp4"]
    boards = [load_text(json.loads(about(folder / film))["storyboard"], name=film) for film in written(folder)]
    assert [(board.video.fps, board.sampling.seed, board.video.frames) for board in boards] == [
        (7, 4, 4), (7, 4, 4), (7, 4, 5),
    ]  # fmt: skip
    assert counted["loads"] == 2, "those of one model and runtime one after the other: a, b, then c"


def test_a_folder_means_its_storyboards_and_says_what_it_skips(folder):
    inside = folder / "boards"
    inside.mkdir()
    for name in ("b.yaml", "a.yml"):
        (inside / name).write_text(FOX)
    (inside / "base.yaml").write_text("extends: embedded\nvideo: {fps: 9}\n")
    (inside / "list.yaml").write_text("- one\n- two\n")
    (inside / "other.yaml").write_text("name: a recipe\n")
    (inside / "notes.txt").write_text("nothing")
    done = render("boards", "-o", "films/")
    assert done.exit_code == 0, done.output
    assert written(folder) == ["films/a.mp4", "films/b.mp4"]
    assert "boards/base.yaml is skipped: it has no prompts" in done.stderr
    assert "boards/list.yaml is skipped: it has no section of a storyboard" in done.stderr
    assert "boards/other.yaml is skipped: it has no section of a storyboard" in done.stderr
    assert done.stderr.index("films/a.mp4") < done.stderr.index("films/b.mp4")


def test_a_folder_without_storyboards_is_refused(folder):
    (folder / "empty").mkdir()
    assert render("empty").exit_code == 3
    (folder / "empty" / "x.yaml").write_text("video: {fps: 3}\n")
    done = render("empty")
    assert (done.exit_code, "x.yaml: it has no prompts" in done.stderr) == (3, True)


def test_a_storyboard_with_mistakes_is_told_at_once_and_does_not_stop_the_others(folder):
    (folder / "bad.yaml").write_text(FOX + "windows: {lenght: 3}\n")
    (folder / "none.yaml").write_text("extends: embedded\nprompts: a fox\nmodel: {checkpoint: nowhere}\n")
    done = render("bad.yaml", "fox.yaml", "none.yaml")
    assert done.exit_code == 3, "that of the first failure"
    assert written(folder) == ["out/fox.mp4"]
    assert "bad.yaml:5:11: windows.lenght" in done.stderr
    assert done.stderr.index("bad.yaml:5:11") < done.stderr.index("nowhere") < done.stderr.index("draw")
    rows = [re.split(r"  +", line) for line in done.stderr.splitlines()[-3:]]
    assert [row[:2] for row in rows] == [["bad.yaml", "failed"], ["none.yaml", "failed"], ["out/fox.mp4", "done"]]
    assert "nowhere" in rows[1][2]


def test_a_single_storyboards_mistake_is_told_as_ever(folder):
    (folder / "bad.yaml").write_text(FOX + "windows: {lenght: 3}\n")
    done = render("bad.yaml")
    assert done.exit_code == 3
    assert done.stderr.startswith("error: bad.yaml:5:11: windows.lenght")
    assert "failed" not in done.stderr


@pytest.fixture
def failing(monkeypatch):
    """Lets the film of a name fail with an error while it is drawn."""
    from lcm_video.cli.rendering import Render

    run = Render.run

    def fail(name, error):
        def running(self):
            if name in self.board.output.path:
                raise error
            return run(self)

        monkeypatch.setattr(Render, "run", running)

    return fail


def test_a_failure_while_rendering_does_not_stop_the_queue_and_is_told_at_the_end(folder, failing):
    failing("seed-2", ResourceError("the disk is full", remedy="make room"))
    done = render("fox.yaml", "--sweep", "sampling.seed=1,2,3")
    assert done.exit_code == 5
    assert written(folder) == ["out/fox.seed-1.mp4", "out/fox.seed-3.mp4"]
    assert (folder / "out" / "fox.sweep.png").exists()
    assert "error: out/fox.seed-2.mp4: the disk is full\n  → make room" in done.stderr
    assert re.search(r"out/fox\.seed-2\.mp4 +failed +the disk is full\n", done.stderr)
    assert len(re.findall(r"mp4 +done", done.stderr)) == 2


def test_a_bug_in_one_film_does_not_stop_the_queue_either(folder, failing):
    failing("seed-1", KeyError("oops"))
    done = render("fox.yaml", "--sweep", "sampling.seed=1,2")
    assert done.exit_code == 1
    assert written(folder) == ["out/fox.seed-2.mp4"]


@pytest.mark.parametrize("code", [130, 143])
def test_an_interruption_stops_the_queue(folder, failing, code):
    failing("seed-2", Interrupted("interrupted", exit_code=code))
    done = render("fox.yaml", "--sweep", "sampling.seed=1,2,3")
    assert done.exit_code == code
    assert written(folder) == ["out/fox.seed-1.mp4"]
    assert re.search(r"seed-2\.mp4 +interrupted", done.stderr)
    assert re.search(r"seed-3\.mp4 +not begun", done.stderr)


def test_two_films_to_one_file_are_refused_before_anything_is_drawn(folder, counted):
    (folder / "hare.yaml").write_text(FOX + "output: {path: out/fox.mp4}\n")
    done = render("fox.yaml", "hare.yaml")
    assert done.exit_code == 3
    assert "fox.yaml and hare.yaml would both be written to out/fox.mp4" in done.stderr
    assert (written(folder), counted["loads"]) == ([], 0)
    done = render("fox.yaml", "fox.yaml")
    assert (done.exit_code, written(folder)) == (3, [])


def test_films_that_exist_are_refused_before_anything_is_drawn(folder, counted):
    (folder / "out").mkdir()
    (folder / "out" / "fox.seed-3.mp4").write_text("mine")
    done = render("fox.yaml", "--sweep", "sampling.seed=1,2,3")
    assert (done.exit_code, counted["loads"]) == (3, 0)
    assert "out/fox.seed-3.mp4 exists" in done.stderr
    assert render("fox.yaml", "--sweep", "sampling.seed=2,3", "--overwrite").exit_code == 0


def test_one_file_for_several_films_is_refused_a_folder_is_not(folder):
    (folder / "hare.yaml").write_text(FOX)
    done = render("fox.yaml", "hare.yaml", "-o", "film.mp4")
    assert (done.exit_code, "2 films cannot all be written to film.mp4" in done.stderr) == (3, True)
    (folder / "there").mkdir()
    assert render("fox.yaml", "hare.yaml", "-o", "there").exit_code == 0
    assert written(folder) == ["there/fox.mp4", "there/hare.mp4"]
    assert render("fox.yaml", "-o", "one/").exit_code == 0
    assert "one/fox.mp4" in written(folder)


def test_events_say_which_film_they_belong_to_and_what_became_of_all(folder, failing):
    failing("seed-2", ResourceError("the disk is full"))
    done = render("fox.yaml", "--sweep", "sampling.seed=1,2", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    of_films = [event for event in events if event["event"] in ("stage", "progress", "film", "failed", "written")]
    assert [(event["film"], event["films"]) for event in of_films[:-1]] == [(1, 2)] * (len(of_films) - 2) + [(2, 2)]
    assert of_films[-1]["path"] == "out/fox.sweep.png"
    assert events[-1] == {
        "event": "queue",
        "results": [
            {"name": "out/fox.seed-1.mp4", "state": "done", "why": ""},
            {"name": "out/fox.seed-2.mp4", "state": "failed", "why": "the disk is full"},
        ],
    }
    assert [event["message"] for event in events if event["event"] == "failed"] == ["the disk is full"]


def test_stages_say_which_film_they_belong_to(folder):
    assert "film 2 of 2 · draw …" in render("fox.yaml", "--sweep", "sampling.seed=1,2").stderr
    assert "film " not in render("fox.yaml", "--fresh").stderr.replace("film.", "")


def test_sources_and_changes_are_told_apart(folder):
    (folder / "a=b.yaml").write_text(FOX)
    arguments = ["fox.yaml", "a=b.yaml", "prompts.1.5s.text=x=y", "embedded", '"a.b"=c', "out/no=such.mp4"]
    assert told_apart(arguments) == (
        ["fox.yaml", "a=b.yaml", "embedded", "out/no=such.mp4"],
        ["prompts.1.5s.text=x=y", '"a.b"=c'],
    )
    assert render("video.fps=3").exit_code == 3


@pytest.fixture(scope="module")
def text():
    return lv.Pipeline.load(lv.load("embedded", ["prompts=a"]).model).text


def test_what_is_remembered_is_what_the_encoder_gives_bit_for_bit(text):
    remembering = Remembering(text)
    long = "a large red circle, " * 40
    for prompts in (["a red circle", long, "", "a (red:1.3) circle"], ["a red circle"], [long, "a star"], [long]):
        plain, remembered = text(prompts), remembering(prompts)
        assert plain.keys() == remembered.keys()
        assert all(torch.equal(plain[name], remembered[name]) for name in plain)
    assert remembering.loras == text.loras


def test_loras_act_on_what_prompts_are_filled_up_with(text):
    """Prompts under different LoRAs are other prompts, and so is the nothing that follows them."""
    asked = []

    def shouting(prompts, /):
        asked.extend(prompts)
        return {"tokens": torch.stack([torch.full((2 if "long" in p else 1, 3), float(len(p))) for p in prompts])}

    remembering = Remembering(shouting)
    tokens = remembering(["a <lora:x:0.5:0>", "long"])["tokens"]
    assert asked == ["a <lora:x:0.5:0>", "long", "<lora:x:0.5:0>"]
    assert tokens[0, :, 0].tolist() == [len("a <lora:x:0.5:0>"), len("<lora:x:0.5:0>")]


def test_no_more_is_remembered_than_its_capacity():
    asked = []

    def encode(prompts, /):
        asked.extend(prompts)
        return {"tokens": torch.zeros(len(prompts), 1, 1)}

    remembering = Remembering(encode, capacity=2)
    for prompt in ("a", "b", "a", "c", "a", "b"):
        remembering([prompt])
    assert asked == ["a", "b", "c", "b"], "the one asked for longest ago is forgotten"
    assert len(remembering.known) == 2
