"""Deforum's settings become storyboards: prompts that hold, schedules as curves, the camera told as missing."""

import json
import math

import pytest
from foreign_files import converted, survives
from hypothesis import given, settings, strategies as st

from lcm_video.errors import StoryboardError
from lcm_video.importers import deforum
from lcm_video.importers.deforum.schedules import Unreadable, curve
from lcm_video.importers.document import document
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text
from lcm_video.timeline import Point, plan, values

SETTINGS = {
    "W": 512, "H": 768, "seed": 7, "sampler": "Euler a", "steps": 20, "seed_behavior": "iter", "max_frames": 100,
    "animation_mode": "3D", "fps": 20, "sd_model_name": "protogen.safetensors",
    "prompts": {"0": "a bunny", "30": "a cat --neg photo", "max_f/2+10.5": "a durian"},
    "animation_prompts_positive": "best", "animation_prompts_negative": "nsfw",
    "cfg_scale_schedule": "0: (7), 40: (9)", "strength_schedule": "0: (0.65)",
    "zoom": "0:(1)", "angle": "0: (0)", "translation_z": "0: (0), 10: (1.75)",
}  # fmt: skip


def imported(data, *, faithful=False):
    found = document(json.dumps(data), name="x.txt")
    assert deforum.recognises(found)
    return deforum.convert(found, faithful=faithful)


def board(data):
    return load_text(to_yaml(imported(data)), name="x.yaml")


def fates(result):
    return {finding.field: finding.fate for finding in result.findings}


def numbers(text, frames):
    """A schedule's value in every frame, through our curve."""
    found, _ = curve(text, frames=frames, low=-100, high=100)
    points = found if isinstance(found, dict) else {"0": found}
    track = {at: Point(**point) if isinstance(point, dict) else Point(point) for at, point in points.items()}
    return values(track, fps=8, frames=frames)


def test_a_whole_file_says_here_what_it_says_there():
    found = board(SETTINGS)
    assert [(at, key.text, key.ease) for at, key in found.prompts.items()] == [
        ("0", "best a bunny", "hold"), ("30", "best a cat", "hold"), ("60", "best a durian", "linear"),
    ]  # fmt: skip
    assert isinstance(found.negative, dict)
    assert {at: key.text for at, key in found.negative.items()} == {"0": "nsfw", "30": "photo nsfw", "60": "nsfw"}
    assert (found.video.width, found.video.height, found.video.frames, found.video.fps) == (512, 768, 100, 20)
    sampling = found.sampling
    assert (sampling.sampler, sampling.timesteps, sampling.steps, sampling.seed) == ("euler_a", "a1111", 20, 7)
    assert values(sampling.guidance, fps=20, frames=100)[20] == 8
    assert found.model.checkpoint == "protogen.safetensors"


def test_each_prompt_holds_until_the_next():
    found = board(SETTINGS)
    timeline = plan(found.prompts, fps=20, frames=100)
    assert [blend.mix for blend in timeline.frames] == [0] * 100
    assert [timeline.prompts[blend.left] for blend in timeline.frames][29:31] == ["best a bunny", "best a cat"]


def test_in_interpolation_mode_prompts_travel():
    assert board({**SETTINGS, "animation_mode": "Interpolation"}).prompts["0"].ease == "linear"


def test_a_prompt_may_be_json_in_a_text():
    data = {**SETTINGS, "animation_prompts": json.dumps({"0": "x"})}
    del data["prompts"]
    assert board(data).prompts["0"].text == "best x"


def test_the_camera_is_told_where_it_moves_and_only_there():
    told = fates(imported(SETTINGS))
    assert (told["zoom"], told["angle"], told["translation_z"]) == ("exact", "exact", "ignored")
    assert told["strength_schedule"] == told["animation_mode"] == "ignored"


def test_switched_off_parts_lose_nothing():
    extra = {"hybrid_motion": "None", "hybrid_composite": "None", "hybrid_flow_method": "RAFT", "use_mask": False}
    extra |= {"mask_file": "x.png", "enable_steps_scheduling": False, "steps_schedule": "0: (25)"}
    assert {fates(imported({**SETTINGS, **extra}))[name] for name in extra} == {"exact"}
    on = {**extra, "hybrid_motion": "Optical Flow", "use_mask": True, "enable_steps_scheduling": True}
    told = fates(imported({**SETTINGS, **on}))
    assert {told[name] for name in extra if name != "hybrid_composite"} == {"ignored"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0: (0.65)", lambda t: 0.65),
        (0.5, lambda t: 0.5),
        ("0:(0), 10:(1)", lambda t: min(t / 10, 1)),
        ("0: (1.02+0.01*sin(2*3.14*t/30))", lambda t: 1.02 + 0.01 * math.sin(2 * 3.14 * t / 30)),
        ("0: (t), 5: (cos(t/3)), 12: (2)", lambda t: t if t < 5 else math.cos(t / 3) if t < 12 else 2),
        ("0: (max_f-t)", lambda t: 19 - t),
        ('0:(0), "max_f-1":(18)', lambda t: min(t, 18)),
        ("0: (min(t, max(3, 4)))\n,7:((2+3)*2),", lambda t: min(t, 4) if t < 7 else 10),
    ],
)
def test_schedules_are_curves_with_the_same_value_in_every_frame(text, expected):
    assert numbers(text, 20) == pytest.approx([expected(t) for t in range(20)])


@pytest.mark.parametrize(
    "text", ["", "0:", "0:1", "x: (1)", "0: (s)", "0: (where(t>3, 1, 2))", "0: (1/t)", "0: ((1)", None, []]
)
def test_what_is_no_schedule_is_told_not_guessed(text):
    found = imported({**SETTINGS, "cfg_scale_schedule": text})
    assert fates(found)["cfg_scale_schedule"] == "ignored"
    board({**SETTINGS, "cfg_scale_schedule": text})


def test_values_beyond_the_range_are_brought_into_it_and_told():
    found = board({**SETTINGS, "cfg_scale_schedule": "0: (99), 10: (40*sin(t))"})
    assert {0 <= value <= 30 for value in values(found.sampling.guidance, fps=20, frames=100)} == {True}
    assert fates(imported({**SETTINGS, "cfg_scale_schedule": "0: (99)"}))["cfg_scale_schedule"] == "approximated"


def test_computed_weights_in_prompts_become_named_curves():
    prompts = {"0": "(fog:`0.5+0.5*cos(t/10)`) (sun:`t/max_f`)", "9": "(fog:`0.5+0.5*cos(t/10)`)", "19": "`where(1)`"}
    found = imported({**SETTINGS, "prompts": prompts}).board
    assert found["curves"] == {"weight_1": "0.5+0.5*cos(t/10)", "weight_2": "t/99"}
    assert found["prompts"]["9"]["text"] == "best (fog:@weight_1)"
    board({**SETTINGS, "prompts": prompts})


@pytest.mark.parametrize(
    "data", [{}, {"prompts": {"0": "a"}}, {"max_frames": 3, "animation_mode": "2D"}, {"prompt_map": {"0": "a"}}, []]
)
def test_other_files_are_left_to_others(data):
    assert not deforum.recognises(document(json.dumps(data), name="x"))


def test_without_a_readable_prompt_it_is_refused():
    with pytest.raises(StoryboardError, match="no prompts"):
        imported({**SETTINGS, "prompts": {"x": "a", "500": "beyond"}})


def test_unreadable_schedules_say_where():
    with pytest.raises(Unreadable, match="where"):
        curve("0: (where(t, 1, 2))", frames=9, low=0, high=30)


words = st.text("abc ,.", max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
schedules = st.text("0123456789:(), .t+-*/sincomax_f", max_size=40) | st.lists(
    st.builds(
        "{}: ({})".format, st.integers(0, 50), st.sampled_from(["1", "t/9", "sin(t)", "-4", "99*t", "1/t", "max_f"])
    )
).map(", ".join)
files = st.fixed_dictionaries(
    {
        "prompts": st.dictionaries(st.integers(0, 40).map(str) | words, words | anything, max_size=4),
        "max_frames": st.integers(-3, 200) | scalars,
        "seed_behavior": anything,
    },
    optional={
        **dict.fromkeys(["W", "H", "fps", "seed", "sampler", "steps", "zoom", "use_init", "mystery"], anything),
        "cfg_scale_schedule": schedules | anything,
        "animation_mode": st.sampled_from(["2D", "Interpolation", "None"]) | anything,
        "animation_prompts_positive": words | anything,
        "animation_prompts_negative": words | anything,
    },
)


@settings(max_examples=60, deadline=None)
@given(files, st.booleans())
def test_any_file_becomes_a_valid_storyboard_or_a_typed_error(data, faithful):
    survives(deforum, json.dumps(data), faithful=faithful)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(files, st.booleans())
def test_twenty_thousand_files_become_storyboards_or_typed_errors(data, faithful):
    converted(deforum, json.dumps(data), faithful=faithful)
