"""What a film leaves that is stopped: a hidden one that plays; and nothing when anything else goes wrong."""

import os
from fractions import Fraction

import numpy as np
import pytest

from lcm_video.errors import Interrupted, LcmVideoError
from lcm_video.media import Output, about, facts, read_frames, write

FPS = Fraction(8)
VIDEOS = [
    ("mp4", "h264"), ("mp4", "h265"), ("mp4", "av1"), ("mov", "prores"), ("mkv", "h264"), ("mkv", "av1"),
    ("webm", "vp9"),
]  # fmt: skip
IMAGES = ["gif", "webp", "apng", "png", "jpg"]


def moving(count, height=64, width=128):
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        yield np.stack([(x * 2 + i * 9) % 256, (y * 3 + i * 5) % 256, (x + y + i * 20) % 256], -1).astype(np.uint8)


def then(error, count=13):
    yield from moving(count)
    raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def only_hidden(folder):
    (path,) = folder.glob(".film.*.part.*")
    return path


@pytest.mark.parametrize("error", [Interrupted(exit_code=143), KeyboardInterrupt()], ids=["interrupted", "ctrl-c"])
@pytest.mark.parametrize(("ending", "codec"), [*VIDEOS, *((ending, "") for ending in IMAGES)])
def test_a_film_that_is_stopped_plays_with_all_its_frames(tmp_path, ending, codec, error):
    output = Output(path=str(tmp_path / f"film.{ending}"), codec=codec)
    (path,) = write(moving(3), output, fps=FPS)
    before = [p.read_bytes() for p in sorted(path.iterdir())] if path.is_dir() else path.read_bytes()
    with pytest.raises(type(error)) as caught:
        write(then(error), output, fps=FPS)
    assert caught.value is error
    partial = only_hidden(tmp_path)
    assert partial.name == f".film.{os.getpid()}.part.{ending}"
    assert str(partial) in error.__notes__[-1]
    found = facts(partial)
    assert (found.frames, found.width, found.height) == (13, 128, 64)
    for frame, original in zip(read_frames(partial), moving(13), strict=True):
        assert np.abs(frame.astype(int) - original).mean() < (12 if ending != "gif" else 20)
    assert names(tmp_path) == [partial.name, path.name], "the older film stays, and nothing else"
    after = [p.read_bytes() for p in sorted(path.iterdir())] if path.is_dir() else path.read_bytes()
    assert after == before


def test_of_several_formats_all_are_kept(tmp_path):
    error = Interrupted()
    with pytest.raises(Interrupted):
        write(then(error), Output(path=str(tmp_path / "film.mp4"), formats=("gif", "webp", "png")), fps=FPS)
    partials = sorted(tmp_path.iterdir())
    assert [path.suffix for path in partials] == [".gif", ".mp4", ".png", ".webp"]
    assert {facts(path).frames for path in partials} == {13}
    assert all(str(path) in str(error) for path in partials), "the message names them"


@pytest.mark.parametrize("gif", ["small", "fast"])
def test_a_gif_that_waits_for_its_palette_plays_when_it_is_stopped(tmp_path, gif):
    with pytest.raises(Interrupted):
        write(then(Interrupted()), Output(path=str(tmp_path / "film.gif"), gif=gif), fps=FPS)
    found = facts(only_hidden(tmp_path))
    assert (found.frames, found.duration) == (13, Fraction(162, 100))


def test_a_stop_before_the_first_frame_leaves_nothing(tmp_path):
    with pytest.raises(Interrupted):
        write(then(Interrupted(), count=0), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert names(tmp_path) == []


def test_a_stop_after_one_frame_leaves_it(tmp_path):
    with pytest.raises(Interrupted):
        write(then(Interrupted(), count=1), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert facts(only_hidden(tmp_path)).frames == 1


def test_the_next_run_sweeps_what_a_stop_left_and_the_film_is_the_same(tmp_path):
    output = Output(path=str(tmp_path / "film.mp4"), formats=("png",))
    (expected, _) = write(moving(13), Output(path=str(tmp_path / "a" / "film.mp4"), formats=("png",)), fps=FPS)
    for _ in range(3):
        with pytest.raises(Interrupted):
            write(then(Interrupted()), output, fps=FPS)
        assert len(names(tmp_path)) == 3, "one of each, not three"
    write(moving(13), output, fps=FPS)
    assert names(tmp_path) == ["a", "film", "film.mp4"]
    assert (tmp_path / "film.mp4").read_bytes() == expected.read_bytes()


def test_a_stop_that_cannot_be_finished_leaves_nothing_and_is_still_the_stop(tmp_path, monkeypatch):
    from lcm_video.media.encoders import ENCODERS
    from lcm_video.media.video import VideoSink

    def full(sink):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(ENCODERS, "mp4", type("Full", (VideoSink,), {"stop": full}))
    error = Interrupted()
    with pytest.raises(Interrupted):
        write(then(error), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert not hasattr(error, "__notes__")
    assert names(tmp_path) == []


def test_a_second_stop_while_the_first_is_finished_keeps_what_there_is(tmp_path, monkeypatch):
    from lcm_video.media.encoders import ENCODERS
    from lcm_video.media.video import VideoSink

    def again(sink):
        raise KeyboardInterrupt

    monkeypatch.setitem(ENCODERS, "mp4", type("Again", (VideoSink,), {"stop": again}))
    with pytest.raises(KeyboardInterrupt):
        write(then(Interrupted(), count=60), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert facts(only_hidden(tmp_path)).frames >= 40, "all but the encoder's look-ahead"


def test_a_stop_while_the_finished_film_is_checked_keeps_it(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lcm_video.media.writing.verify", stopped)
    for ending in ("mp4", "webp", "gif"):
        with pytest.raises(KeyboardInterrupt):
            write(moving(9), Output(path=str(tmp_path / ending / f"film.{ending}")), fps=FPS, about="a fox")
        partial = only_hidden(tmp_path / ending)
        assert names(tmp_path / ending) == [partial.name]
        assert (facts(partial).frames, about(partial)) == (9, "a fox")


def test_other_errors_keep_nothing(tmp_path):
    for error in (LcmVideoError("no"), ZeroDivisionError(), SystemExit()):
        with pytest.raises(type(error)):
            write(then(error), Output(path=str(tmp_path / "film.mp4"), formats=("gif",)), fps=FPS)
        assert names(tmp_path) == []
