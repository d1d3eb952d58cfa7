"""A job draws what is not drawn yet, once, and tells whoever watches. Parts of one's own stand in where calls count."""

import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from job_parts import FILM, Heard, Simple, same

import lcm_video as lv
from lcm_video.errors import CheckpointError, Interrupted, NumbersError, ResourceError
from lcm_video.job import Job, Pipelines, Watches
from lcm_video.job.files import input_files, model_files
from lcm_video.pipeline import Pipeline
from lcm_video.plan import plan
from lcm_video.work import Store


@pytest.fixture
def parts():
    return Simple()


@pytest.fixture
def job(parts, tmp_path):
    """Makes jobs that draw with ``parts`` and share a store."""

    def make(*changes, **options):
        board = lv.load("embedded", [*FILM, *changes])
        return Job(plan(board), **{"load": lambda: parts.pipeline, "store": Store(tmp_path / "work"), **options})

    return make


def never():
    pytest.fail("the model was loaded")


def test_a_job_draws_the_frames_that_the_pipeline_does(job, parts):
    plain = [*parts.pipeline.frames(lv.load("embedded", FILM))]
    assert same(plain, [*job(store=None).frames()])
    assert same(plain, [*job().frames()])
    assert same(plain, [*job(load=never).frames()])


def test_a_job_loads_the_model_that_its_storyboard_names(tmp_path):
    board = lv.load(
        "embedded", ["prompts=a red circle", "video={frames: 2, width: 64, height: 64}", "sampling.steps=1"]
    )
    plain = [*Pipeline.load(board.model).frames(board)]
    assert same(plain, [*Job(plan(board), store=Store(tmp_path)).frames()])
    assert same(plain, [*Job(plan(board), store=Store(tmp_path), load=never).frames()])


def test_what_is_stored_is_read_and_no_model_is_loaded(job, parts):
    drawn, heard = [*job().frames()], Heard()
    again = job(load=never, watch=heard)
    assert again.left() == 0
    assert same(drawn, [*again.frames()])
    assert (again.tally.reused, again.tally.drawn, again.tally.windows) == (48, 0, 0)
    assert heard.stages == [("a: read", 5), ("b: read", 40), ("c: read", 3)]


@pytest.mark.parametrize("change", ["video.fps=12", "output.quality=30", "output.path=other.gif", "output.formats=gif"])
def test_how_a_film_is_written_changes_nothing_that_is_stored(job, change):
    drawn = [*job().frames()]
    assert same(drawn, [*job(change, load=never).frames()])


def test_a_changed_prompt_draws_its_shot_alone(job, parts):
    drawn, calls = [*job().frames()], parts.calls
    edited = job("shots.b.prompts={0: a blue star, 39: a green heart}")
    assert edited.left() == 40
    frames = [*edited.frames()]
    assert same(drawn[:5], frames[:5])
    assert same(drawn[45:], frames[45:])
    assert not same(drawn[5:45], frames[5:45])
    of_b = edited.planned.shots[1].calls()
    assert parts.calls - calls == of_b
    assert edited.tally.windows == of_b


def test_a_longer_shot_in_front_moves_the_others_without_drawing_them(job, parts):
    [*job().frames()]
    calls = parts.calls
    longer = job("shots.a.frames=6")
    frames = [*longer.frames()]
    assert len(frames) == 49
    assert parts.calls - calls == longer.planned.shots[0].calls()


def test_a_damaged_chunk_is_drawn_again_alone(job, parts, tmp_path):
    drawn, all_calls = [*job().frames()], parts.calls
    for file in sorted(tmp_path.rglob("frames-000016-16")):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    heard = Heard()
    mended = job(watch=heard)
    assert same(drawn, [*mended.frames()])
    assert (mended.tally.reused, mended.tally.drawn) == (32, 16)
    assert parts.calls - all_calls < mended.planned.shots[1].calls()
    assert any("frames 16 to 31" in note and "damaged" in note for note in heard.notes)
    assert same(drawn, [*job(load=never).frames()])


def test_a_chunk_that_is_gone_is_drawn_again_alone(job, parts, tmp_path):
    drawn = [*job().frames()]
    for file in tmp_path.rglob("frames-000032-8"):
        file.unlink()
    heard = Heard()
    mended = job(watch=heard)
    assert mended.left() == 8
    assert same(drawn, [*mended.frames()])
    assert (mended.tally.reused, mended.tally.drawn) == (40, 8)
    assert "b: resumed: 32 of 40 frames were already drawn" in heard.notes


def test_fresh_draws_everything_again_and_replaces_what_was_stored(job, parts, tmp_path):
    drawn, calls = [*job().frames()], parts.calls
    (file,) = tmp_path.rglob("frames-000016-16")
    os.utime(file, (0, 0))
    anew = job(fresh=True)
    assert anew.left() == 48
    assert same(drawn, [*anew.frames()])
    assert parts.calls == 2 * calls
    assert file.stat().st_mtime > 0


def test_a_render_that_is_done_leaves_no_state_behind(job, tmp_path):
    [*job(checkpoint_seconds=0.0).frames()]
    assert [*tmp_path.rglob("live")] == []


def test_checkpoints_are_kept_no_more_often_than_asked_for(job, tmp_path, monkeypatch):
    from lcm_video.work import ShotWork

    kept = []
    monkeypatch.setattr(ShotWork, "keep_live", lambda self, live: kept.append(len(live)))
    [*job(checkpoint_seconds=1000.0).frames()]
    assert kept == []
    heard = Heard()
    [*job(fresh=True, checkpoint_seconds=0.0, watch=heard).frames()]
    assert len(kept) == heard.turns


def test_pinned_work_is_marked(job, tmp_path):
    [*job(pin=True).frames()]
    assert [entry.pinned for entry in Store(tmp_path / "work").entries()] == [True] * 3


def test_a_watch_hears_of_stages_windows_turns_and_every_frame(job):
    heard = Heard()
    drawing = job(watch=Watches(heard, object()))
    [*drawing.frames()]
    calls = [shot.calls() for shot in drawing.planned.shots]
    assert heard.stages == [("load model", 1), ("a: draw", calls[0]), ("b: draw", calls[1]), ("c: draw", calls[2])]
    for name, total in heard.stages[1:]:
        counts = [count for stage, count in heard.counts if stage == name]
        assert counts == sorted(counts)
        assert counts[-1] == total
    assert heard.numbers == [*range(48)]
    assert drawing.tally.windows == sum(calls)
    assert {"load model", "denoise", "decode", "store"} <= drawing.tally.seconds.keys()


def test_windows_on_threads_give_the_same_frames(job):
    drawn = [*job().frames()]
    assert same(drawn, [*job("runtime.parallel_windows=3", fresh=True).frames()])


def test_a_job_stops_between_windows_and_says_with_which_exit_code(job, parts):
    stop = Event()
    stop.exit_code = 143
    heard = Heard()
    heard.done = lambda count: stop.set() if count == 3 else None
    drawing = job(stop=stop, watch=heard)
    with pytest.raises(Interrupted) as stopped:
        [*drawing.frames()]
    assert stopped.value.exit_code == 143
    assert parts.calls == drawing.planned.shots[0].calls() + 3


def test_a_job_that_is_closed_goes_on_where_it_was(job, parts):
    drawn = [*job().frames()]
    clean, parts.calls = parts.calls, 0
    first = job(fresh=True)
    frames = first.frames()
    for _ in range(20):
        next(frames)
    frames.close()
    assert same(drawn, [*job().frames()])
    assert parts.calls == clean


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "a new process goes on"),
        (RuntimeError("CUDNN_STATUS_EXECUTION_FAILED"), "a new process goes on"),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), "a new process goes on"),
        (torch.OutOfMemoryError("CUDA out of memory"), "a smaller windows.length"),
        (MemoryError(), "a smaller windows.length"),
    ],
)
def test_a_lost_gpu_is_told_as_that_and_nothing_done_is_lost(job, parts, error, told):
    drawn = [*job().frames()]
    clean, parts.calls = parts.calls, 0
    parts.error, parts.fail_at = error, clean // 2
    with pytest.raises(ResourceError, match="while drawing") as raised:
        [*job(fresh=True).frames()]
    assert told in raised.value.remedy
    assert same(drawn, [*job().frames()])
    assert parts.calls == clean + 1


def test_other_errors_pass_unchanged(job, parts):
    parts.error, parts.fail_at = RuntimeError("shapes do not fit"), 3
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        [*job().frames()]


def test_what_is_not_a_number_stops_the_job_and_is_not_kept(job, parts, tmp_path):
    usual = parts.decode
    parts.decode = lambda latents: usual(latents) * float("nan")
    with pytest.raises(NumbersError) as raised:
        [*job().frames()]
    assert raised.value.exit_code == 6
    assert [*tmp_path.rglob("frames-*")] == []
    parts.decode = usual
    assert len([*job().frames()]) == 48


def test_blank_frames_are_told_and_forbidden_if_strict(job, parts):
    usual = parts.decode
    parts.decode = lambda latents: usual(latents) if len(latents) > 3 else usual(latents) * 0 - 1
    heard = Heard()
    [*job(watch=heard).frames()]
    assert "c: 3 of 3 frames are black, the first is 0" in heard.notes
    assert "a: frame 4 is black" in heard.notes
    with pytest.raises(NumbersError, match="a: frame 4 is black"):
        [*job("runtime.strict=true").frames()]


def test_a_frame_with_one_odd_pixel_is_not_blank():
    from lcm_video.job.faults import is_flat

    frame = np.full((64, 64, 3), 7, np.uint8)
    assert is_flat(frame)
    frame[33, 5, 1] = 8
    assert not is_flat(frame)


def copied_model(tmp_path):
    """The embedded checkpoint under another name, where it may be changed."""
    shipped = Path(__file__).parents[1] / "configs" / "embedded" / "embedded.safetensors"
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(shipped.read_bytes())
    return copy


def test_a_model_that_changes_while_it_draws_is_refused_and_nothing_of_it_is_kept(job, parts, tmp_path):
    mine = copied_model(tmp_path)
    heard = Heard()

    def change(shot, turn, pipeline):
        if shot.name == "b" and turn.step == 1:
            with mine.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\1")

    heard.turn = change
    with pytest.raises(CheckpointError, match=r"mine\.safetensors has changed"):
        [*job(f"model.checkpoint={mine}", watch=heard, checkpoint_seconds=0.0).frames()]
    of_b = [entry for entry in Store(tmp_path / "work").entries() if entry.about["shot"] == "b"]
    assert [entry.done for entry in of_b] == [0]
    again = job(f"model.checkpoint={mine}")
    assert again.left() == 48


def test_a_model_that_changes_between_hashing_and_loading_is_refused(job, parts, tmp_path):
    mine = copied_model(tmp_path)

    def load():
        os.utime(mine)
        return parts.pipeline

    with pytest.raises(CheckpointError, match="has changed"):
        [*job(f"model.checkpoint={mine}", load=load).frames()]


def test_pipelines_are_loaded_once_until_the_model_or_its_file_changes(monkeypatch, tmp_path):
    loads = Counter()
    monkeypatch.setattr(Pipeline, "load", lambda model, runtime: loads.update([model.checkpoint]) or object())
    mine, pipelines = copied_model(tmp_path), Pipelines()

    def wanted(*changes):
        planned = plan(lv.load("embedded", [*FILM, *changes]))
        return pipelines(planned.board, Job(planned).sources)

    assert wanted() is wanted("shots.a.prompts=a house", "sampling.seed=3")
    other = wanted(f"model.checkpoint={mine}")
    assert wanted(f"model.checkpoint={mine}", "video.fps=3") is other
    time.sleep(0.01)
    os.utime(mine)
    assert wanted(f"model.checkpoint={mine}") is not other
    assert loads == {"embedded": 1, str(mine): 2}


@pytest.mark.parametrize("changes", [[], ["model.motion=", "model.embeddings=[]"], ["model.loras={}"]])
def test_the_files_a_film_tells_of_are_those_that_loading_lists(changes):
    board = lv.load("embedded", ["prompts=x", *changes])
    loaded = Pipeline.load(board.model).files
    listed = [*model_files(board.model, board.runtime.folders)]
    assert [(file.role, file.path) for file in listed] == [(file.role, file.path) for file in loaded]


def test_the_report_lists_the_pictures_and_sounds_that_went_in(tmp_path):
    for name in ("a.png", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"x")
    changes = [f"shots.a.start.source={tmp_path}/a.png", f"output.audio.source={tmp_path}/b.wav"]
    board = lv.load("embedded", [*FILM, *changes, f"curves.beat={{audio: {tmp_path}/c.wav}}"])
    planned = replace(plan(lv.load("embedded", FILM)), board=board)
    shot = replace(planned.shots[0].course, shot=planned.shots[0].shot._replace(start=board.shots["a"].start))
    planned = replace(planned, shots=(replace(planned.shots[0], course=shot), *planned.shots[1:]))
    assert {field: path.name for field, path in input_files(planned)} == {
        "shots.a.start.source": "a.png",
        "output.audio.source": "b.wav",
        "curves.beat.audio": "c.wav",
    }
