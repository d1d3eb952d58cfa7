"""What a killed process leaves of a film: a hidden one that plays; and how the next one clears it away."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction

import imageio.v3 as iio
import numpy as np
import pytest

from lcm_video.media import Output, read_frames, write
from lcm_video.media.film import Film
from lcm_video.media.leftovers import leftovers

FPS = Fraction(8)
VIDEOS = [
    ("mp4", "h264"), ("mp4", "h265"), ("mp4", "av1"), ("mov", "prores"), ("mkv", "h264"), ("mkv", "av1"),
    ("webm", "vp9"),
]  # fmt: skip
LOOK_AHEAD = {"h264": 18, "h265": 32, "av1": 84, "vp9": 25, "prores": 1}
"""Frames that are missing after a kill at 8 frames a second: measured, and what docs may promise."""


REORDERED = 5
"""Frames that H.265 lets go out of order, at most."""


def moving(count, height=64, width=128):
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        yield np.stack([(x * 2 + i * 9) % 256, (y * 3 + i * 5) % 256, (x + y + i * 20) % 256], -1).astype(np.uint8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


FEED = """
import os, sys
from fractions import Fraction
from lcm_video.media import Output, write
from test_media_kills import moving
def frames(count):
    yield from moving(count)
    from lcm_video.media.encoder_thread import AHEAD
    for _ in range(AHEAD + 1):  # when these are taken, all others are encoded
        yield next(moving(1))
    os.kill(os.getpid(), 9)
write(frames(int(sys.argv[3])), Output(path=sys.argv[1], codec=sys.argv[2], gif=sys.argv[4]), fps=Fraction(8))
"""


def killed(path, codec="", count=120, gif="quality"):
    """Feeds so many frames to a film in another process, which is then killed; gives what it leaves."""
    here = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    arguments = [sys.executable, "-c", FEED, str(path), codec, str(count), gif]
    run = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": here}, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr[-800:]
    return next(path.parent.glob(".film.*.part.*"))


@pytest.mark.parametrize(("ending", "codec"), VIDEOS)
def test_a_killed_film_plays_but_for_what_its_encoder_had_not_let_go(tmp_path, ending, codec):
    partial = killed(tmp_path / f"film.{ending}", codec)
    shown = [*read_frames(partial)]
    assert len(shown) >= 120 - LOOK_AHEAD[codec]
    # At the very end a frame may stand there before those that are shown before it, which were still to come.
    for frame, original in zip(shown[:-REORDERED], moving(120), strict=False):
        assert np.abs(frame.astype(int) - original).mean() < 12
    assert partial.exists()
    assert [*leftovers(tmp_path / f"film.{ending}")] == [partial]
    assert names(tmp_path) == sorted([partial.name, f".film.{ending}.lock"])


@pytest.mark.parametrize("ending", ["webp", "apng", "png", "jpg"])
def test_a_killed_animation_or_folder_lacks_no_frame(tmp_path, ending):
    partial = killed(tmp_path / f"film.{ending}", count=20)
    shown = [*read_frames(partial)]
    assert 20 <= len(shown) <= 25
    assert np.abs(shown[19].astype(int) - [*moving(20)][19]).mean() < 12
    if partial.is_file():
        others = [*iio.imiter(partial, plugin="pillow", mode="RGB")]
        assert len(others) == len(shown)


def test_a_killed_gif_lacks_what_waits_for_its_delay(tmp_path):
    """FFmpeg holds a frame back until the next one tells how long it lasts."""
    partial = killed(tmp_path / "film.gif", count=20)
    assert 19 <= len([*read_frames(partial)]) <= 25


def test_a_picture_that_is_being_written_is_none_of_the_folder(tmp_path, monkeypatch):
    from lcm_video.media import stills

    def cut_off(path, *_, **__):
        path.write_bytes(b"\x89PNG\r\n\x1a\nhalf")
        raise ZeroDivisionError

    sink = stills.FramesSink(tmp_path / "film.png", Film(128, 64, FPS, Output(path="film.png")))
    for number, frame in enumerate(moving(4)):
        if number == 3:
            monkeypatch.setattr(stills.iio, "imwrite", cut_off)
            with pytest.raises(ZeroDivisionError):
                sink.add(frame)
        else:
            sink.add(frame)
    assert len(names(tmp_path / "film.png")) == 4
    assert len([*read_frames(tmp_path / "film.png")]) == 3


def test_what_is_killed_is_swept_by_the_next_film_of_that_name(tmp_path):
    for ending, codec in (("mp4", "h264"), ("png", "")):
        killed(tmp_path / ending / f"film.{ending}", codec, count=20)
    (tmp_path / "png" / "film.mp4").write_bytes(b"another film of that name")
    write(moving(3), Output(path=str(tmp_path / "mp4" / "film.webp")), fps=FPS)
    assert names(tmp_path / "mp4") == [".film.mp4.lock", "film.webp"], "whatever its ending; a lock is for who locks"
    write(moving(3), Output(path=str(tmp_path / "png" / "film.png")), fps=FPS)
    assert names(tmp_path / "png") == ["film", "film.mp4"]


def test_what_runs_on_another_host_is_not_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for ending in ("mp4", "webm"):
        (tmp_path / f".film.{gone.pid}.part.{ending}").write_bytes(b"x")
    (tmp_path / ".film.webm.lock").write_text(json.dumps({"pid": gone.pid, "host": "elsewhere", "since": "today"}))
    write(moving(3), Output(path=str(tmp_path / "film.gif")), fps=FPS)
    assert names(tmp_path) == [f".film.{gone.pid}.part.webm", ".film.webm.lock", "film.gif"]


def test_a_folder_of_frames_that_had_stepped_aside_when_the_process_died_comes_back(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def broken():
        yield from moving(2)
        raise ZeroDivisionError

    output = Output(path=str(tmp_path / "film.png"))
    (old,) = write(moving(2), output, fps=FPS)
    old.rename(tmp_path / f".film.{gone.pid}.old.png")
    with pytest.raises(ZeroDivisionError):
        write(broken(), output, fps=FPS)
    assert names(tmp_path) == ["film"]
    assert len(names(old)) == 2
