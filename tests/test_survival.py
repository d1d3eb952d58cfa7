"""Renders that are killed, interrupted and terminated at random moments, as processes of their own.

fault 38  SIGINT once, twice        test_an_interrupt_…, test_a_second_interrupt_…
fault 39  SIGTERM                   test_a_termination_…
fault 40  SIGKILL at any moment     test_a_hundred_kills_…
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lcm_video.media import read_frames

BOARD = """\
extends: embedded
video: {fps: 2, width: 64, height: 64}
sampling: {steps: 1, seed: 5}
windows: {length: 8, overlap: 2}
shots:
  a: {frames: 10, prompts: a red circle on a blue background}
  b: {frames: 40, prompts: {0: a green star on a white background, 39: a blue square on a white background}}
  c: {frames: 10, prompts: a yellow heart on a black background}
"""
KILLS = int(os.environ.get("LCM_VIDEO_KILLS", "100"))
"""Fewer for a first look."""
OLD = b"an older film"
GROUP = 4
"""Two seconds."""
HELD_BACK = 6
"""Frames that x264 looks ahead: two seconds and two frames."""
WAITING = 5
"""Frames that were handed on and may still wait for the encoder."""


class Nursery:
    """Runs commands in forked processes; see nursery.py."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "board.yaml").write_text(BOARD)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LCM_VIDEO_WORK": str(folder / "work")}
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("nursery.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def start(self, *args):
        asked = {"args": args, "folder": str(self.folder)}
        asked |= {name: str(self.folder / f"{name}.txt") for name in ("says", "complains")}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        assert child > 1
        return child

    def end(self):
        return int(self.process.stdout.readline())

    def render(self):
        child = self.start("render", "board.yaml", "-o", "film.mp4", "--overwrite", "--json")
        return child, time.monotonic()

    def clear(self):
        for path in [*self.folder.glob(".film*"), *self.folder.glob("film*")]:
            path.unlink()
        for path in (self.folder / "work").rglob("*"):
            if path.is_file():
                path.unlink()
        (self.folder / "film.mp4").write_bytes(OLD)

    @property
    def film(self):
        return (self.folder / "film.mp4").read_bytes()

    @property
    def events(self):
        lines = (self.folder / "says.txt").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def complaints(self):
        return (self.folder / "complains.txt").read_text()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    nursery = Nursery(tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.process.stdin.close()
    nursery.process.wait()


@pytest.fixture(scope="module")
def clean(nursery):
    """The film of a render that nobody disturbed, and how long it takes."""
    seconds = []
    for _ in range(3):
        nursery.clear()
        _, began = nursery.render()
        assert nursery.end() == 0, nursery.complaints
        seconds.append(time.monotonic() - began)
    return nursery.film, sorted(seconds)[1]


def check_partial(nursery, count):
    """What is left of a film of which ``count`` frames were handed on plays, but for what the encoder held back."""
    least = count - WAITING - GROUP - HELD_BACK
    partials = [*nursery.folder.glob(".film*.part.mp4")]
    if least > 0:
        assert len(partials) == 1
        assert len([*read_frames(partials[0])]) >= least
    return least > 0


def go_on(nursery, film):
    """The same command again gives the same film."""
    nursery.render()
    assert nursery.end() == 0, nursery.complaints
    assert nursery.film == film
    assert [*nursery.folder.glob(".film*")] == []


@pytest.mark.slow
def test_a_hundred_kills_leave_films_that_play_and_go_on_to_the_same_bytes(nursery, clean):
    film, seconds = clean
    chance, killed, played = random.Random(40), 0, 0
    for trial in range(KILLS):
        nursery.clear()
        child, began = nursery.render()
        time.sleep(max(0.0, began + chance.uniform(0, seconds) - time.monotonic()))
        with suppress(ProcessLookupError):  # it was faster
            os.kill(child, signal.SIGKILL)
        code = nursery.end()
        assert code in (-signal.SIGKILL, 0), nursery.complaints
        killed += code != 0
        assert nursery.film in (OLD, film), trial
        if nursery.film == OLD and code:
            handed_on = sum(event["event"] == "frame" for event in nursery.events)
            if "verify" not in [event.get("stage") for event in nursery.events]:
                played += check_partial(nursery, handed_on)
        go_on(nursery, film)
    assert killed > 0.7 * KILLS
    assert played > 0.1 * KILLS


def interrupted(nursery, clean, numbers, moment):
    """A render that got these signals, the first after a share of its time: exit code and seconds until it was gone."""
    nursery.clear()
    child, began = nursery.render()
    time.sleep(max(0.0, began + moment * clean[1] - time.monotonic()))
    first = time.monotonic()
    for number in numbers:
        with suppress(ProcessLookupError):  # it was faster
            os.kill(child, number)
        time.sleep(0.02 if len(numbers) > 1 else 0)
    code = nursery.end()
    return code, time.monotonic() - first


def moments(seed):
    chance = random.Random(seed)
    return [chance.uniform(0.05, 0.98) for _ in range(KILLS // 5)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_or_a_termination_ends_in_order_and_goes_on(nursery, clean, number):
    stopped = played = 0
    window = clean[1] / 5  # of eleven windows, with what is decoded and stored after one
    for moment in moments(number):
        code, seconds = interrupted(nursery, clean, [number], moment)
        assert seconds < (2 + window if number == signal.SIGINT else 10), moment
        if code == 0:
            assert nursery.film == clean[0]
            continue
        stopped += 1
        assert code == 128 + number, nursery.complaints
        assert "run the same command again" in nursery.complaints
        assert nursery.film == OLD
        handed_on = sum(event["event"] == "frame" for event in nursery.events)
        for partial in nursery.folder.glob(".film*.part.mp4"):
            played += 1
            assert str(partial.name) in nursery.complaints
            assert len([*read_frames(partial)]) >= handed_on
        go_on(nursery, clean[0])
    assert stopped > KILLS / 10
    assert played > KILLS / 40


@pytest.mark.slow
def test_a_second_interrupt_ends_it_at_once_and_it_still_goes_on(nursery, clean):
    for moment in moments(2):
        code, seconds = interrupted(nursery, clean, [signal.SIGINT] * 2, moment)
        assert seconds < 1 + clean[1] / 10, moment
        assert code == 130 or (code == 0 and nursery.film == clean[0]), nursery.complaints
        assert nursery.film in (OLD, clean[0])
        go_on(nursery, clean[0])
