"""FizzNodes' and AnimateDiff-Evolved's schedules against what these programs do themselves (tests/golden/importers)."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from lcm_video.errors import LcmVideoError, StoryboardError
from lcm_video.importers import ade, fizz, importing
from lcm_video.importers.document import document
from lcm_video.importers.keys import board_prompts, filled
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text
from lcm_video.timeline import Keyframe, plan
from lcm_video.timeline.arithmetic import Now
from lcm_video.timeline.expressions import parse

GOLDEN = Path(__file__).parent / "golden" / "importers"
FIZZ = json.loads((GOLDEN / "fizz_schedule.json").read_text())
ADE = json.loads((GOLDEN / "ade_schedule.json").read_text())

DROPPED_ZERO, TEXT_CHANGES, REFUSED = ("case15",), ("case03", "case12"), ("case16", "case17")
"""Cases where FizzNodes is wrong, where a text changes with the frame, and that it cannot read."""


def weights(prompts, frames):
    """The share of every text in each frame, as a storyboard with these prompts blends them."""
    keys = {at: Keyframe(**key) if isinstance(key, dict) else Keyframe(key) for at, key in prompts.items()}
    timeline = plan(keys, fps=8, frames=frames)
    shares = []
    for left, right, mix in timeline.frames:
        share = {timeline.prompts[left]: 1 - mix}
        share[timeline.prompts[right]] = share.get(timeline.prompts[right], 0.0) + mix
        shares.append({text: weight for text, weight in share.items() if weight > 0})
    return shares


def blend(*parts):
    found = {}
    for text, weight in parts:
        if weight > 0:
            found[text] = found.get(text, 0.0) + weight
    return found


def fizz_of(case):
    given = {name: case[name] for name in ("pw_a", "pw_b") if name in case}
    before, after = case.get("pre_text", ""), case.get("app_text", "")
    return fizz.schedule(case["text"], frames=case["max_frames"], before=before, after=after, weights=given)


@pytest.mark.parametrize(
    "case",
    [case for case in FIZZ["cases"] if case["case"] not in (*DROPPED_ZERO, *TEXT_CHANGES, *REFUSED)],
    ids=lambda case: case["case"],
)
def test_fizznodes_schedules_blend_the_same_texts_in_the_same_shares(case):
    found, said = fizz_of(case), case["end_frame_max"]
    for role, keys in (("pos", found.positive), ("neg", found.negative)):
        shares = weights(board_prompts(keys), case["max_frames"])
        for frame, share in enumerate(said["current_weight"]):
            texts = said[f"{role}_current"][frame], said[f"{role}_next"][frame]
            assert shares[frame] == pytest.approx(blend((texts[0], share), (texts[1], 1 - share)), abs=1e-12)


def test_weights_that_change_become_curves_with_the_same_numbers():
    case = next(case for case in FIZZ["cases"] if case["case"] == "case03")
    found = fizz_of(case)
    assert found.positive[0].text == "a (b:@weight_1)"
    board = load_text(
        json.dumps({"prompts": board_prompts(found.positive), "video": {"frames": 16}, "curves": dict(found.curves)}),
        name="test",
    )
    assert [*board.curves] == ["weight_1"]
    weight = parse(found.curves["weight_1"])
    for frame, text in enumerate(case["end_frame_max"]["pos_current"][:15]):
        number = float(re.search(r"b:([0-9.]+)", text)[1])
        assert weight.at(Now(frame, frame / 8, 16, 8, {})) == pytest.approx(number, abs=1e-12)


def test_fizznodes_defects_are_told_and_not_repeated():
    found = fizz.schedule('"0": "year 1990"', frames=8)
    assert found.positive[0].text == "year 1990"
    assert "drops the 0" in found.notes[0]
    # its textual replacement makes sqr7(...) of this
    assert fizz.schedule('"0": "a (b:`sqrt(t/max_f)`)"', frames=16).curves == {"weight_1": "sqrt(t/15)"}
    assert filled("tan(t)*pw_a", {"t": 2.0, "pw_a": -1.0}) == "tan(2)*(-1)"


@pytest.mark.parametrize("said", [v for v in FIZZ["value_schedules"] if "values" in v], ids=lambda v: v["text"])
def test_fizznodes_numbers_are_those_of_fizznodes(said):
    points = fizz.number_schedule(said["text"], frames=said["max_frames"])
    assert numbers(points, said["max_frames"]) == pytest.approx(said["values"], abs=1e-9)


def numbers(points, frames):
    """A storyboard's numbers at every frame: straight lines between points."""
    keys = sorted((int(at), value) for at, value in points.items())
    return [interpolated(keys, frame) for frame in range(frames)]


def interpolated(keys, frame):
    before = [key for key in keys if key[0] <= frame] or keys[:1]
    after = [key for key in keys if key[0] > frame] or before[-1:]
    (low, first), (high, last) = before[-1], after[0]
    return first if high == low else first + (last - first) * max(frame - low, 0) / (high - low)


PRINTED = re.compile(r'\d+ = \((?P<a>[0-9.]+)\)"(?P<one>.*?)" -> \((?P<b>[0-9.]+)\)"(?P<two>.*?)"$', re.DOTALL)


def printed(line):
    """The shares that AnimateDiff-Evolved prints for a frame, to two places."""
    if found := PRINTED.match(line):
        return blend((found["one"], float(found["a"])), (found["two"], float(found["b"])))
    return {re.match(r'\d+ = "(.*)"$', line, re.DOTALL)[1]: 1.0}


UNUSUAL_ADE = ("case10", "case14", "case15")
"""Values in backticks come from another node; two texts are no schedules there either."""


@pytest.mark.parametrize(
    "case", [case for case in ADE["cases"] if case["case"] not in UNUSUAL_ADE], ids=lambda case: case["case"]
)
def test_animatediff_evolveds_schedules_have_the_weights_it_prints(case):
    keys = ade.schedule(
        case["text"], frames=case["length"], before=case.get("prepend_text", ""), after=case.get("append_text", "")
    )
    lines = case["printed_schedule"]
    for share, line in zip(weights(board_prompts(keys), len(lines)), lines, strict=True):
        assert {text: weight for text, weight in share.items() if weight > 0.005} == pytest.approx(
            {text: weight for text, weight in printed(line).items() if weight > 0.005}, abs=0.0051
        )


def test_shares_of_a_film_are_cut_to_whole_frames_as_there():
    keys = ade.schedule('0. = "a", .33 = "b", .66 = "c", 1. = "d", -0.5: = "e"', frames=32)
    assert [*keys] == [0, 10, 16, 21, 31]
    assert keys[16].hold


def test_what_is_no_schedule_there_is_none_here():
    for case in ADE["cases"]:
        if case["case"] in ("case14", "case15"):
            with pytest.raises(StoryboardError, match="no prompt schedule"):
                ade.schedule(case["text"], frames=8)


@pytest.mark.parametrize(
    ("text", "tool", "prompts"),
    [
        ('"0": "a fox",\n"8": "a hare --neg blurry"', "FizzNodes schedule", {"0": "a fox", "8": "a hare"}),
        ('{"0": "a fox", "8": "a hare",}', "FizzNodes schedule", {"0": "a fox", "8": "a hare"}),
        ("“0”: “a fox”\n“8”: “a hare”", "FizzNodes schedule", {"0": "a fox", "8": "a hare"}),
        ('0 = "a fox", 8: = "a hare", 12 = "a bear"', "AnimateDiff-Evolved prompt schedule",
         {"0": "a fox", "8": {"text": "a hare", "ease": "hold"}, "12": "a bear"}),
        ('"0.0": "a fox", "1.0": "a hare"', "AnimateDiff-Evolved prompt schedule", {"0": "a fox", "15": "a hare"}),
    ],
)  # fmt: skip
def test_a_schedule_is_a_document_of_its_own(text, tool, prompts, tmp_path):
    (tmp_path / "a.mp4").write_text(text)  # whatever it is called
    imported = importing(tmp_path / "a.mp4")
    assert imported.tool == tool
    assert imported.board["prompts"] == prompts
    assert load_text(to_yaml(imported), name="test").prompts


def test_a_schedule_of_numbers_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "values.txt").write_text("0:(0.5), 8:(1.0)")
    with pytest.raises(StoryboardError, match="schedule of numbers") as refused:
        importing(tmp_path / "values.txt")
    assert "sampling: {guidance: {0: 0.5, 8: 1.0}}" in refused.value.remedy


def test_usual_mistakes_are_mended_and_told():
    found = fizz.schedule("{0: 'a fox' '8': 'a hare',,}", frames=16)
    assert [key.text for key in found.positive.values()] == ["a fox", "a hare"]
    assert "missing commas" in found.notes[0]


LETTERS = st.text(alphabet="0189\".:=-+,{}()`t max_f\\\n“”'aéneg@$", max_size=80)


@settings(deadline=None, max_examples=300)
@given(LETTERS, st.integers(1, 200))
def test_any_text_is_a_schedule_or_an_error(text, frames):
    check_any(text, frames)


@pytest.mark.slow
@settings(deadline=None, max_examples=20_000)
@given(LETTERS, st.integers(1, 200))
def test_any_of_many_texts_is_a_schedule_or_an_error(text, frames):
    check_any(text, frames)


def check_any(text, frames):
    found = document(text, name="test")
    for module in (fizz, ade):
        try:
            module.schedule(text, frames=frames)
            if module.recognises(found):
                to_yaml(module.convert(found))
        except LcmVideoError:
            continue
    fizz.number_schedule(text, frames=frames)
