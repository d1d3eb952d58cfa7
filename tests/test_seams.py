"""A seam's score is the change across it over the usual change; a loop closes so well that no eye finds its seam."""

import json

import numpy as np
import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

import lcm_video as lv
from lcm_video.cli.commands import app
from lcm_video.plan import plan
from lcm_video.seams import Seams, borders, change, scores

CIRCLE = (
    "prompts={0: a large red circle on a blue background, "
    "33%: {text: a large yellow circle on a purple background, ease: smooth}, "
    "66%: {text: a large green circle on a white background, ease: smooth}}"
)
"""The prompts of examples/loop.yaml."""


def grey(level):
    return np.full((4, 6, 3), level, np.uint8)


def seen(levels, *, loop=True):
    seams = Seams(loop)
    for level in levels:
        seams.add(grey(level))
    return seams


def test_the_change_is_the_root_mean_square_over_all_pixels():
    before, after = grey(10), grey(10)
    after[0, 0, 0] = 46
    assert change(before, after) == pytest.approx((36**2 / (4 * 6 * 3)) ** 0.5)
    assert change(grey(0), grey(255)) == change(grey(255), grey(0)) == 255


def test_the_loop_score_is_the_last_change_over_the_usual_one():
    assert seen([0, 10, 20, 30, 10]).loop_score() == pytest.approx(1.0)  # changes 10 10 10 20, and 10 back
    assert seen([0, 10, 20, 30, 40]).loop_score() == pytest.approx(4.0)
    assert seen([0, 2, 0, 100, 98, 100, 0]).loop_score() == 0.0


def test_what_cannot_be_told_is_none():
    assert seen([0, 10, 20], loop=False).loop_score() is None
    assert seen([]).loop_score() is seen([1]).loop_score() is seen([1, 9]).loop_score() is None
    assert seen([7, 7, 7, 7]).loop_score() is None
    assert seen([0, 1, 2, 3]).window_score([]) is None
    assert seen([0, 1, 2, 3]).window_score(range(4)) is None
    assert seen([]).window_score([0, 3]) is None


def test_the_window_score_compares_what_is_across_borders_with_what_is_not():
    open_ = seen([0, 10, 20, 50, 60, 70, 100, 110], loop=False)
    assert open_.window_score([3, 6]) == pytest.approx(3.0)
    assert open_.window_score([3, 7]) == pytest.approx(2.0)  # the mean of 30 and 10
    assert open_.window_score([0, 3]) == pytest.approx(3.0)  # nothing lies before the first frame
    assert seen([0, 10, 20, 50, 60, 70, 100, 110]).window_score([0]) == pytest.approx(11.0)


@given(levels=st.lists(st.integers(0, 127), min_size=3, max_size=40))
def test_scores_do_not_depend_on_how_strong_changes_are(levels):
    faint, strong = seen(levels), seen([level * 2 for level in levels])
    assert strong.loop_score() == pytest.approx(faint.loop_score())
    assert strong.window_score([2]) == pytest.approx(faint.window_score([2]))


def test_two_frames_are_kept_whatever_the_length():
    seams = Seams(True)
    for number in range(1000):
        seams.add(grey(number % 251))
    held = [value for value in vars(seams).values() if isinstance(value, np.ndarray)]
    assert len(held) == 2
    assert len(seams.changes) == 999


def test_borders_are_where_windows_begin_and_end():
    assert borders([range(16)], frames=16, loop=False) == []
    assert borders([range(16), range(12, 28)], frames=28, loop=False) == [12, 16]
    assert borders([(9, 10, 11, *range(9))], frames=12, loop=True) == [9]
    assert borders([(14, 15, 0, 1)], frames=16, loop=True) == [2, 14]
    assert borders([range(0, 16, 2), range(1, 16, 2)], frames=16, loop=False) == [], "ends everywhere"


def test_a_film_of_several_shots_has_the_worst_scores_of_them():
    shots = [seen([0, 10, 20, 30], loop=False), seen([0, 10, 20, 60, 70], loop=False), seen([5, 5, 5], loop=False)]
    assert scores(shots, [[2], [3], []]) == {"windows": 4.0}
    assert scores([seen([0, 10, 20, 30, 10])], [[]]) == {"loop": 1.0}


@pytest.fixture(scope="module")
def embedded():
    board = lv.load("embedded", ["prompts=a red circle"])
    return lv.Pipeline.load(board.model)


@pytest.fixture
def film(embedded):
    """The seams of an embedded film with these changes; the loop score is told of films that are no loop, too."""

    def drawn(*changes):
        board = lv.load("embedded", [CIRCLE, "video.width=64", "video.height=64", "video.loop=true", *changes])
        seams = Seams(True)
        for frame in embedded.frames(board):
            seams.add(frame)
        return seams, plan(board).shots[0]

    return drawn


LOOPS = {
    "one window": ["video.frames=12"],
    "a window's length": ["video.frames=16"],
    "windows across the seam": ["video.frames=24", "windows.overlap=8"],
    "noise that windows share": ["video.frames=32", "windows.noise=shuffle"],
    "static windows": ["video.frames=24", "windows.schedule=static"],
    "curves and keyframed seeds": [
        *("video.frames=20", "negative=embedded_negative", "sampling.guidance={0: 1, 50%: 1.6}"),
        "sampling.seed={0: 1, 50%: {value: 2, ease: smooth}}",
    ],
}


@pytest.mark.parametrize("changes", LOOPS.values(), ids=LOOPS)
def test_a_loop_closes_and_the_same_film_without_loop_does_not(film, changes):
    looped, _ = film(*changes)
    open_, _ = film(*changes, "video.loop=false")
    assert looped.loop_score() <= 1.5
    assert open_.loop_score() > max(2.5, 2 * looped.loop_score())


def test_windows_leave_no_seam_in_the_embedded_film(film):
    seams, planned = film("video.frames=24", "windows.overlap=8")
    marked = borders(planned.windows[-1], frames=24, loop=True)
    assert len(marked) >= 3
    assert seams.window_score(marked) < 1.5


def test_the_score_is_printed_with_the_film_and_in_its_report(embedded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["video.width=64", "video.height=64", "video.frames=12", "video.loop=true", "sampling.steps=2"]
    done = CliRunner().invoke(app, ["render", "embedded", CIRCLE, *small, "output.path=loop.gif"])
    assert done.exit_code == 0, done.output
    report = json.loads(next(tmp_path.glob("loop*.lcm.json")).read_text())
    score = report["seams"]["loop"]
    assert f"loop seam {score:.2f}" in done.stdout
    seams = Seams(True)
    for frame in embedded.frames(lv.load("embedded", [CIRCLE, *small])):
        seams.add(frame)
    assert score == pytest.approx(seams.loop_score(), abs=1e-3)
