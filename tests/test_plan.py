import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import lcm_video as lv
from lcm_video.course import course_of
from lcm_video.freeinit import FreeInit
from lcm_video.models import card_for
from lcm_video.picture import Area, Line, Words
from lcm_video.plan import as_data, plan
from lcm_video.reader import load
from lcm_video.samplers import Betas
from lcm_video.storyboard import shots
from lcm_video.timeline_picture import COLOURS, draw
from lcm_video.windows import Windows

SHOTS = """
extends: embedded
video: {fps: 8}
sampling: {guidance: {0: 1, 5: 2}}
negative: blurry
shots:
  day: {frames: 20, prompts: {0: a sun, 10: a cloud}}
  night: {frames: 6, prompts: {0: a moon}, sampling: {steps: 2}}
"""


@pytest.fixture
def board(tmp_path):
    (tmp_path / "board.yaml").write_text(SHOTS)
    return lv.load(tmp_path / "board.yaml")


def test_every_frame_lies_in_a_window_of_every_step(board):
    for shot in plan(board).shots:
        for step in range(len(shot.windows)):
            low, high = shot.coverage(step)
            assert 1 <= low <= high


def test_calls_count_the_negative_only_where_guidance_needs_it(board):
    day, night = plan(board).shots
    # Every window of the day holds frames of guidance above 1; the night's one window does too.
    assert day.calls() == 2 * sum(map(len, day.windows))
    assert night.calls() == 2 * 2
    plain = plan(
        replace(board, sampling=replace(board.sampling, guidance=1.0), shots={}, prompts={"0": "x", "20": "y"})
    )
    assert plain.shots[0].calls() == sum(map(len, plain.shots[0].windows))


def test_weights_add_up_and_keyframes_stand_alone(board):
    day, _ = plan(board).shots
    assert all(sum(day.weights(frame).values()) == pytest.approx(1) for frame in range(20))
    assert day.weights(0) == {"a sun": 1.0}
    assert day.weights(10) == {"a cloud": 1.0}
    assert day.weights(5) == {"a sun": 0.5, "a cloud": 0.5}


def test_the_film_is_as_long_as_its_shots(board):
    whole = plan(board)
    assert (whole.frames, whole.seconds) == (26, 3.25)
    assert [shot.shot.first for shot in whole.shots] == [0, 20]
    assert [len(shot["timesteps"]) for shot in as_data(whole)["shots"]] == [4, 2]


def test_a_window_longer_than_the_module_sees_is_an_error_before_anything_loads(board):
    video, windows = replace(board.video, frames=64), replace(board.windows, length=40)
    with pytest.raises(lv.LcmVideoError, match="sees 32 frames, not 40") as caught:
        plan(replace(board, windows=windows, video=video, shots={}, prompts={"0": "x"}))
    assert caught.value.exit_code == 3
    short = replace(board, windows=windows, shots={}, prompts={"0": "x", "20": "y"})
    assert len(plan(short).shots[0].windows[0]) == 1  # a film shorter than its windows has one of its own length


def test_windows_are_as_long_as_the_card_says_and_the_plan_tells_so(board, monkeypatch):
    from lcm_video.cli.planning import lines

    made = replace(board, video=replace(board.video, frames=40), shots={}, prompts={"0": "x"})
    told = [line for line in lines(plan(made)) if line.startswith("windows  of")]
    assert told == ["windows  of 16 frames, which embedded draws best, 4 of them shared with the next"]
    card = card_for(made.model.motion, folders=())
    monkeypatch.setattr("lcm_video.plan.card_for", lambda *_, **__: replace(card, window=24))
    data = as_data(plan(made))["shots"][0]
    assert (data["window_length"], data["window_overlap"]) == (24, 6)
    assert {len(window) for step in data["windows"] for window in step} == {24}
    given = replace(made, windows=Windows(length=12))
    assert "windows  of 12 frames, 3 of them shared with the next" in [*lines(plan(given))]


def test_rounds_of_freeinit_cost_as_much_as_the_film_each(board):
    twice = plan(replace(board, freeinit=FreeInit(2)))
    assert [shot.calls() for shot in twice.shots] == [3 * shot.calls() for shot in plan(board).shots]


def test_betas_come_from_the_card_unless_the_storyboard_says_so(board):
    (shot, _) = shots(board)
    linear = Betas(schedule="linear")
    card, own = (
        course_of(board, s, linear) for s in (shot, shot._replace(sampling=replace(shot.sampling, betas=Betas())))
    )
    assert card.levels[0].alpha == linear.alphas()[999]
    assert own.levels[0].alpha == Betas().alphas()[999]


def test_weaker_frames_begin_later(board):
    (shot, _) = shots(board)
    begun = shot._replace(start=replace(shot.start, source="x.png", strength={"0": 0.0, "10": 0.5, "19": 1.0}))
    begins = course_of(board, begun, Betas()).begins
    assert begins[0] == len(course_of(board, begun, Betas()).levels) - 1  # strength 0: never
    assert begins[19] == 0
    assert [*begins] == sorted(begins, reverse=True)
    assert set(course_of(board, shot, Betas()).begins) == {0}


def test_the_picture_shows_prompts_curves_windows_and_cuts(board):
    picture = draw(plan(board))
    words = {shape.text for shape in picture.shapes if isinstance(shape, Words)}
    assert {"a sun", "a cloud", "a moon", "day", "night", "guidance", "step 1", "step 4", "prompts"} <= words
    assert any(isinstance(shape, Line) for shape in picture.shapes)
    for shape in picture.shapes:
        points = [shape.at] if isinstance(shape, Words) else shape.points
        assert all(0 <= x <= picture.width and 0 <= y <= picture.height for x, y in points)
    sun = next(shape for shape in picture.shapes if isinstance(shape, Area) and shape.colour == COLOURS[0])
    left, right = min(x for x, _ in sun.points), max(x for x, _ in sun.points)
    assert right - left == pytest.approx(10 / 26 * (1000 - 92 - 24) + 10 / 26 * (1000 - 92 - 24), abs=1)


def test_areas_and_curves_stand_where_their_shots_do_and_rise_upwards(board):
    picture = draw(plan(board))
    panel = next(shape for shape in picture.shapes if isinstance(shape, Area))  # the prompts' own
    moon = next(shape for shape in picture.shapes if isinstance(shape, Area) and shape.colour == COLOURS[2])
    inside = lambda points: ({x for x, _ in points}, {y for _, y in points})
    (columns, rows), (wide, high) = inside(moon.points), inside(panel.points)
    assert min(columns) == pytest.approx(min(wide) + 20 / 26 * (max(wide) - min(wide)))
    assert (min(rows), max(rows)) == (min(high), max(high))
    rising = next(shape for shape in picture.shapes if isinstance(shape, Line)).points
    assert rising[0][1] > rising[5][1]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_picture_is_written_as(board, ending, tmp_path):
    picture = draw(plan(replace(board, shots={}, prompts={"0": "<&> 'quotes' 日本", "9": "b"})))
    path = picture.write(tmp_path / f"plan.{ending}")
    if ending == "svg":
        texts = [element.text for element in ElementTree.fromstring(path.read_text()).iter() if element.text]
        assert any("<&> 'quotes' 日本" in text for text in texts)
    else:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.shape[1] == 2000
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_very_long_film_is_still_drawn(board):
    video = replace(board.video, frames=20_000)
    picture = draw(plan(replace(board, shots={}, prompts={"0": "a", "-1": "b"}, video=video)))
    assert len(picture.shapes) < 6000


def test_a_picture_of_another_kind_is_refused(board, tmp_path):
    with pytest.raises(lv.LcmVideoError, match=r"plan\.pdf"):
        draw(plan(board)).write(tmp_path / "plan.pdf")


def test_early_steps_say_what_they_save_and_that_they_are_approximate():
    def said(early, frames=64):
        made = load("embedded", ["prompts=x", f"video.frames={frames}", f"windows.early={early}"])
        return [text for text in plan(made).warnings if "early" in text]

    assert said(early=0) == said(early=2, frames=16) == []
    (only,) = said(early=2)
    assert only.startswith("windows.early: 18 UNet calls instead of 21; frames resemble")
    assert said(early=9)[1:] == ["windows.early: no step is left that blends the windows, so their borders will show"]
