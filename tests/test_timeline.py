from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from lcm_video.errors import StoryboardError
from lcm_video.timeline import (
    EASINGS,
    Blend,
    Film,
    Keyframe,
    Point,
    Tempo,
    natural_length,
    parse_moment,
    plan,
    positions,
    values,
)

TRAVELS = [name for name in EASINGS if not name.endswith(("_back", "_elastic"))]
frames_and_moments = st.integers(1, 60).flatmap(
    lambda frames: st.tuples(
        st.just(frames),
        st.dictionaries(
            st.integers(0, frames - 1).map(str),
            st.builds(Keyframe, st.sampled_from("abc"), st.sampled_from(TRAVELS)),
            min_size=1,
            max_size=6,
        ),
    )
)


def shares(timeline, frame):
    """How much of each prompt is in a frame."""
    left, right, mix = timeline.frames[frame]
    found = dict.fromkeys(timeline.prompts, 0.0)
    found[timeline.prompts[left]] += 1 - mix
    found[timeline.prompts[right]] += mix
    return found


@pytest.mark.parametrize(
    ("moment", "position"),
    [
        ("1:30", 1080),
        ("-0:01", 36),
        ("12", 12),
        ("1.5s", 18),
        ("25%", 12),
        ("-1", 47),
        ("-48", 0),
        ("-0", 0),
        ("100%", 48),
        ("-25%", 36),
        (".5s", 6),
    ],
)
def test_a_moment_is_a_frame_seconds_a_share_or_counted_from_the_end(moment, position):
    assert parse_moment(moment, fps=12, frames=48) == position


def test_seconds_at_a_television_rate_are_exact():
    assert parse_moment("1001s", fps=Fraction(24000, 1001), frames=1) == 24000


@pytest.mark.parametrize(
    "moment",
    ["abc", "1:60", "1:2:3", "beat4", "4 b", "bar", "nan", "inf", "1e400", "", "1 s", "١", "1_0", "+1", "1m", "--1"],
)
def test_what_is_no_moment_is_refused(moment):
    with pytest.raises(StoryboardError, match="is not a moment") as error:
        parse_moment(moment, fps=8, frames=16)
    assert error.value.remedy


@pytest.mark.parametrize("moment", ["10000001", "9999999s", "999999999%", "-17", "-100.5%"])
def test_moments_too_far_or_before_the_first_frame_are_refused(moment):
    with pytest.raises(StoryboardError, match=r"is frame|is before"):
        parse_moment(moment, fps=8, frames=16)


@given(frames_and_moments, st.booleans())
def test_at_a_keyframe_its_prompt_is_alone(made, loop):
    frames, prompts = made
    timeline = plan(prompts, fps=8, frames=frames, loop=loop)
    for moment, key in prompts.items():
        blend = timeline.frames[int(moment)]
        assert blend.mix == 0.0
        assert blend.left == blend.right
        assert timeline.prompts[blend.left] == key.text


@given(frames_and_moments)
def test_outside_the_keyframes_the_nearest_prompt_holds(made):
    frames, prompts = made
    timeline = plan(prompts, fps=8, frames=frames)
    first, last = min(map(int, prompts)), max(map(int, prompts))
    for frame in [*range(first), *range(last, frames)]:
        nearest = prompts[str(first if frame < first else last)].text
        assert timeline.prompts[timeline.frames[frame].left] == nearest
        assert timeline.frames[frame].mix == 0


@given(frames_and_moments, st.integers(0, 59))
def test_a_loop_has_no_seam(made, shift):
    """Turning a loop by some frames and turning the keyframes back gives the same film."""
    frames, prompts = made
    turned = {str((int(moment) + shift) % frames): key for moment, key in prompts.items()}
    film, other = plan(prompts, fps=8, frames=frames, loop=True), plan(turned, fps=8, frames=frames, loop=True)
    for frame in range(frames):
        assert shares(film, frame) == pytest.approx(shares(other, (frame + shift) % frames))


def test_a_loop_travels_back_over_the_seam():
    timeline = plan({"2": Keyframe("a"), "6": Keyframe("b")}, fps=8, frames=8, loop=True)
    assert timeline.prompts == ("a", "b")
    assert timeline.frames[7] == Blend(1, 0, 0.25)
    assert timeline.frames[0] == Blend(1, 0, 0.5)
    assert timeline.frames[4] == Blend(0, 1, 0.5)


def test_equal_prompts_are_encoded_once_and_never_mixed():
    timeline = plan({"0": Keyframe("a"), "4": Keyframe("a"), "8": Keyframe("b")}, fps=8, frames=9)
    assert timeline.prompts == ("a", "b")
    assert timeline.frames[2] == Blend(0, 0, 0.0)


def test_keyframes_may_be_written_in_any_order():
    prompts = {"8": Keyframe("b"), "0": Keyframe("a"), "0.5s": Keyframe("c")}
    assert plan(prompts, fps=8, frames=9) == plan(dict(sorted(prompts.items())), fps=8, frames=9)
    assert list(positions(prompts, fps=8, frames=9)) == [0, 4, 8]


@pytest.mark.parametrize("moments", [("8", "1s"), ("0", "0%"), ("-1", "15"), ("0.1", "0.3")])
def test_two_moments_on_one_frame_are_refused_by_name(moments):
    with pytest.raises(StoryboardError, match="are both frame") as error:
        plan({moment: Keyframe(moment) for moment in moments}, fps=8, frames=16)
    assert all(repr(moment) in error.value.message for moment in moments)


def test_in_a_loop_the_end_is_the_beginning():
    keys = {"0": Keyframe("a"), "100%": Keyframe("b")}
    assert plan(keys, fps=8, frames=16).frames[15] == Blend(0, 1, 15 / 16)
    with pytest.raises(StoryboardError, match="are both frame 0"):
        plan(keys, fps=8, frames=16, loop=True)
    with pytest.raises(StoryboardError, match="beyond a loop"):
        plan({"17": Keyframe("a")}, fps=8, frames=16, loop=True)


def test_a_keyframe_sits_on_the_nearest_frame():
    film = plan({"0": Keyframe("a"), "2s": Keyframe("b")}, fps=Fraction(24000, 1001), frames=60)
    assert film.frames[48] == Blend(1, 1, 0.0)
    assert film.frames[47].mix == 47 / 48
    assert list(positions(["1.5", "2.5"], fps=8, frames=8)) == [2, 3]


@given(st.sampled_from([name for name in TRAVELS if "bounce" not in name]), st.floats(0, 1), st.floats(0, 1))
def test_easings_begin_at_one_end_never_turn_back_and_arrive(name, one, other):
    ease, (early, late) = EASINGS[name], sorted((one, other))
    assert ease(0) == 0
    assert ease(1) == pytest.approx(0 if name == "hold" else 1)
    assert ease(early) <= ease(late) + 1e-12


def test_easings_pace_as_their_names_say():
    names = ("linear", "smooth", "hold", "ease_in", "ease_out", "ease_in_out")
    assert {name: round(EASINGS[name](0.25), 4) for name in names} == {
        "linear": 0.25,
        "smooth": 0.1464,
        "hold": 0,
        "ease_in": 0.0625,
        "ease_out": 0.4375,
        "ease_in_out": 0.125,
    }


@given(st.floats(-1e6, 1e6), st.integers(1, 50))
def test_a_plain_number_is_the_same_in_every_frame(number, frames):
    assert values(number, fps=8, frames=frames) == (number,) * frames


@given(frames_and_moments, st.booleans(), st.data())
def test_a_curve_follows_the_same_rules_as_prompts(made, loop, data):
    frames, prompts = made
    numbers = {moment: data.draw(st.floats(-100, 100)) for moment in prompts}
    curve = {moment: Point(numbers[moment], key.ease) for moment, key in prompts.items()}
    named = {moment: Keyframe(moment, key.ease) for moment, key in prompts.items()}
    timeline = plan(named, fps=8, frames=frames, loop=loop)
    for frame, value in enumerate(values(curve, fps=8, frames=frames, loop=loop)):
        mixed = sum(numbers[moment] * share for moment, share in shares(timeline, frame).items())
        assert value == pytest.approx(mixed, abs=1e-9)
        if str(frame) in curve:
            assert value == numbers[str(frame)]


@pytest.mark.parametrize(
    ("moments", "frames"), [(["0"], 16), ([], 16), (["0", "2s"], 17), (["5", "0"], 6), (["2.1s"], 18)]
)
def test_a_shot_without_a_length_ends_at_its_last_keyframe(moments, frames):
    assert natural_length(moments, fps=8) == frames
    assert max(positions(moments, fps=8, frames=frames), default=0) < frames


@pytest.mark.parametrize("moment", ["50%", "-1"])
def test_a_length_is_needed_for_what_is_measured_from_it(moment):
    with pytest.raises(StoryboardError, match="needs the film's length"):
        natural_length(["0", moment], fps=8)


def test_many_keyframes_and_long_films_are_no_trouble():
    prompts = {str(frame * 5): Keyframe(str(frame)) for frame in range(20_000)}
    timeline = plan(prompts, fps=8, frames=100_000)
    assert timeline.frames[99_993] == Blend(19998, 19999, 0.6)
    assert len(timeline.prompts) == 20_000


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [("4b", 2.0), ("beat 4", 2.0), ("1beat", 0.5), ("2bar", 4.0), ("bar 1", 2.0), ("1.5b", 0.75), ("0b", 0.0)],
)
def test_beats_and_bars_are_counted_by_the_tempo(moment, seconds):
    assert parse_moment(moment, fps=24, frames=240, tempo=Tempo(120)) == seconds * 24
    assert parse_moment(moment, fps=24, frames=240, tempo=Tempo(120, offset=0.25)) == (seconds + 0.25) * 24


def test_beats_before_the_end_are_counted_back():
    assert parse_moment("-4b", fps=24, frames=240, tempo=Tempo(120, offset=0.3)) == 192
    assert parse_moment("-1bar", fps=24, frames=240, tempo=Tempo(120, beats=3)) == 204


def test_a_beat_that_is_no_round_number_of_seconds_is_exact():
    assert parse_moment("1b", fps=24, frames=100, tempo=Tempo(90)) == 16
    assert parse_moment("333b", fps=Fraction(24000, 1001), frames=1, tempo=Tempo(99.9)) == float(
        Fraction(333 * 600, 999) * Fraction(24000, 1001)
    )


def test_beats_without_a_tempo_are_refused():
    with pytest.raises(StoryboardError, match="needs the music's tempo") as error:
        parse_moment("4b", fps=8, frames=16)
    assert "video.tempo" in error.value.remedy


@given(st.integers(0, 500), st.sampled_from(["b", "bar"]), st.integers(20, 300), st.integers(0, 3), st.integers(1, 7))
def test_the_music_goes_on_through_a_cut(first, unit, bpm, offset, beats):
    """Wherever a shot begins, its beats are the film's: the first one in it is beat 0."""
    tempo = Tempo(bpm, offset, beats)
    here = first + parse_moment(f"0{unit}", fps=25, frames=1, tempo=tempo, first=first)
    length = 60 / bpm * 25 * (beats if unit == "bar" else 1)
    beat = round((here - offset * 25) / length)
    assert beat >= 0
    assert here == pytest.approx(parse_moment(f"{beat}{unit}", fps=25, frames=1, tempo=tempo))
    assert here - length < first - 1e-9 or beat == 0


def test_prompts_may_be_written_in_beats():
    prompts = {"0": Keyframe("a"), "4b": Keyframe("b"), "1bar": Keyframe("c", "hold")}
    with pytest.raises(StoryboardError, match="are both frame 16"):
        plan(prompts, fps=8, frames=32, film=Film(tempo=Tempo(120)))
    timeline = plan(prompts, fps=8, frames=32, film=Film(tempo=Tempo(120, beats=3)))
    assert timeline.frames[12] == Blend(1, 1, 0.0)
    assert timeline.prompts == ("a", "c", "b")
