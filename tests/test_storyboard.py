import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard import Shot, Storyboard, Video, frame_rate, shots, warnings
from lcm_video.timeline import Keyframe, Point

FOX = {"0": Keyframe("a fox")}


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("12", Fraction(12)),
        (8, Fraction(8)),
        ("23.976", Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        ("47.952", Fraction(48000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        ("ntsc-film", Fraction(24000, 1001)),
        ("NTSC", Fraction(30000, 1001)),
        ("pal", Fraction(25)),
        ("film", Fraction(24)),
        ("12.5", Fraction(25, 2)),
        ("24.0", Fraction(24)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_frame_rates_are_exact(written, exact):
    assert Video(fps=written).fps == exact


@pytest.mark.parametrize("fps", ["nan", "inf", "0", "-8", "0.0", "241", "1/0", "0/5", "abc", "1e3", "", "0.0001"])
def test_what_is_no_frame_rate_is_refused(fps):
    with pytest.raises(ValidationError, match=r"frame rate|above 0"):
        Video(fps=fps)


@given(st.fractions(min_value=1, max_value=240, max_denominator=1001))
def test_a_frame_rate_survives_being_written(rate):
    assert frame_rate(str(rate)) == rate


@pytest.mark.parametrize("size", [0, -8, 56, 8200, 500, 513])
def test_sizes_are_multiples_of_8_from_64_to_8192(size):
    with pytest.raises(ValidationError):
        Video(width=size)
    with pytest.raises(ValidationError):
        Video(height=size)
    assert Video(width=64, height=8192).height == 8192


def test_one_shot_has_no_name_and_takes_everything_from_the_storyboard():
    board = Storyboard(prompts=FOX, negative="blurry", video=Video(frames=24), sampling=Sampling(seed=3))
    (scene,) = shots(board)
    assert (scene.name, scene.first, scene.frames) == ("", 0, 24)
    assert scene.prompts == FOX
    assert scene.negative == {"0": Keyframe("blurry")}
    assert (scene.sampling, scene.start) == (board.sampling, board.start)


def test_shots_follow_each_other_and_override_what_they_name():
    board = Storyboard(
        prompts=FOX,
        negative="blurry",
        video=Video(frames=10),
        sampling=Sampling(steps=4, seed=3),
        shots={
            "meadow": Shot(),
            "city": Shot(prompts={"0": Keyframe("a town"), "5": Keyframe("night")}, frames=20, seed=9, negative=""),
            "end": Shot(
                sampling=Sampling(steps=8), start=Start("fox.png", strength=0.5), negative={"0": Keyframe("x")}
            ),
        },
    )
    meadow, city, end = shots(board)
    assert [(scene.name, scene.first, scene.frames) for scene in (meadow, city, end)] == [
        ("meadow", 0, 10),
        ("city", 10, 20),
        ("end", 30, 10),
    ]
    assert meadow.prompts == end.prompts == FOX
    assert city.prompts["5"] == Keyframe("night")
    assert (meadow.sampling.seed, city.sampling.seed, end.sampling.seed) == (3, 9, 0)
    assert (meadow.sampling.steps, city.sampling.steps, end.sampling.steps) == (4, 4, 8)
    assert meadow.negative == {"0": Keyframe("blurry")}
    assert city.negative == {}
    assert end.negative == {"0": Keyframe("x")}
    assert (meadow.start.source, end.start.source) == ("", "fox.png")


def test_without_a_length_each_shot_ends_at_its_own_last_keyframe():
    board = Storyboard(prompts=FOX, shots={"a": Shot(prompts={"0": Keyframe("a"), "2s": Keyframe("b")}), "b": Shot()})
    assert [scene.frames for scene in shots(board)] == [17, 16]


@pytest.mark.parametrize(
    ("board", "field", "said"),
    [
        ({}, "", "there are no prompts"),
        ({"shots": {"a": {"prompts": {"0": "x"}}, "b": {}}}, "shots.b", "shot 'b' has no prompts"),
        ({"prompts": {"0": "x", "50%": "y"}}, "prompts.50%", "needs the film's length"),
        ({"prompts": {"0": "x", "0s": "y"}}, "prompts.0s", "both frame 0"),
        ({"prompts": FOX, "shots": {"a": {"prompts": {"-1": "y"}}}}, "shots.a.prompts.-1", "needs the film's length"),
        ({"prompts": FOX, "negative": {"8": "x", "1s": "y"}}, "negative.1s", "both frame 8"),
        ({"prompts": FOX, "sampling": {"guidance": {"8": 1, "1s": 2}}}, "sampling.guidance.1s", "both frame 8"),
        ({"prompts": FOX, "model": {"motion_scale": {"-99": 1}}}, "model.motion_scale.-99", "before the first"),
        (
            {"prompts": FOX, "model": {"loras": {"lcm": {"path": "x", "scale": {"0": 1, "0%": 1}}}}},
            "model.loras.lcm.scale.0%",
            "both frame 0",
        ),
        ({"prompts": {"0": "x" * 1_000_000}}, "prompts", "1000000 characters"),
        (
            {"prompts": FOX, "shots": {"a": {"frames": 600_000}, "b": {"frames": 400_001}}},
            "shots",
            "the film has 1000001 frames",
        ),
    ],
)
def test_a_storyboard_that_cannot_be_filmed_is_refused_at_its_field(board, field, said):
    with pytest.raises(ValidationError) as error:
        Storyboard(**board)
    cause = error.value.errors()[0]["ctx"]["error"]
    assert said in cause.message
    assert cause.field == field
    assert cause.remedy


def test_everything_that_is_wrong_across_sections_is_told_at_once():
    with pytest.raises(ValidationError) as error:
        Storyboard(
            prompts={"0": "x", "0s": "y", "1": "z", "8%": "u"},
            video=Video(frames=16),
            negative={"8": "x", "1s": "y"},
            sampling={"guidance": "@nothing", "seed": {"0": 1, "1b": 2}},
            model={"motion_scale": "1/t"},
            curves={"up": "@up", "wave": {"99": "t", "-99": 1}, "after": "@up"},
        )
    told = {fault.field: fault.message for fault in error.value.errors()[0]["ctx"]["error"].faults}
    assert told == {
        "curves.up": "there is no curve 'up' above this one",
        "curves.wave.-99": "moment '-99' is before the first of 16 frames",
        "prompts.0s": "moments '0' and '0s' are both frame 0",
        "prompts.8%": "moments '1' and '8%' are both frame 1",
        "negative.1s": "moments '8' and '1s' are both frame 8",
        "sampling.guidance": "there is no curve 'nothing'",
        "sampling.seed.1b": "moment '1b' needs the music's tempo",
        "model.motion_scale": "1/t divides by zero at frame 0",
    }


def test_a_curve_is_only_wrong_in_shots_that_use_it():
    """A shot's own curve has its own path; a shorter shot may stay within the range."""
    shots_ = {"a": Shot(frames=20), "b": Shot(frames=40), "c": {"frames": 40, "sampling": {"guidance": "t/9"}}}
    with pytest.raises(ValidationError) as error:
        Storyboard(prompts=FOX, sampling={"guidance": "t"}, shots=shots_)
    fault = error.value.errors()[0]["ctx"]["error"]
    assert (fault.field, fault.message) == ("sampling.guidance", "31 at frame 31 is not between 0 and 30")


@pytest.mark.parametrize(
    ("board", "said"),
    [
        ({"prompts": {"0": "a", "99": "b"}, "video": {"frames": 16}}, "keyframe at 99 lies beyond the end"),
        ({"prompts": {"0": "a", "4": " "}}, "prompt at 4 is empty"),
        ({"prompts": FOX, "negative": "bad", "sampling": {"guidance": 1}}, "does nothing at guidance 1"),
        ({"prompts": FOX, "sampling": {"guidance": 2.5}}, "guidance 2.5 is high"),
        ({"prompts": FOX, "video": {"frames": 5}, "sampling": {"guidance": "t"}}, "guidance 4 is high"),
        ({"prompts": {"0": "a", "9b": "b"}, "video": {"frames": 16, "tempo": 30}}, "at 9b lies beyond the end"),
        ({"prompts": FOX, "sampling": {"guidance": {"0": Point(1), "8": Point(3)}}}, "guidance 3 is high"),
        ({"prompts": FOX, "start": {"strength": 0.5}}, "does nothing without start.source"),
        ({"prompts": FOX, "shots": {"a": {"sampling": {"guidance": 9}}}}, "shot 'a': guidance 9 is high"),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(board, said):
    (warning,) = warnings(Storyboard(**board))
    assert said in warning


@pytest.mark.parametrize(
    "board",
    [
        {"prompts": {"0": "a", "15": "b", "100%": "c"}, "video": {"frames": 16}},
        {"prompts": FOX, "negative": "bad", "sampling": {"guidance": 1.5}},
        {"prompts": FOX, "sampling": {"guidance": 7.5, "sampler": "euler"}},
        {"prompts": FOX, "start": {"source": "x.png", "strength": 0.5}},
    ],
)
def test_what_is_sensible_is_not_warned_of(board):
    assert warnings(Storyboard(**board)) == []


def test_planning_does_not_load_torch():
    code = "import sys, lcm_video.reader; print(sorted({'torch', 'diffusers', 'transformers', 'av'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
