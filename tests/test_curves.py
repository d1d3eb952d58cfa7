"""Curves in all their forms, and what they are in every frame of a shot."""

import math

import pytest
from hypothesis import given, strategies as st
from pydantic import TypeAdapter, ValidationError

from lcm_video.errors import StoryboardError
from lcm_video.samplers import Sampling
from lcm_video.storyboard import Shot, Storyboard, Video, shots
from lcm_video.timeline import ALONE, Curve, Film, Keyframe, Point, SeedPoint, Tempo, seeds, used, values, within

FOX = {"0": Keyframe("a fox")}
curve = TypeAdapter(Curve).validate_python


def test_an_expression_is_evaluated_in_every_frame():
    numbers = values(curve("sin(2*pi*t/24)*0.5 + 1"), fps=12, frames=48)
    assert numbers == tuple(math.sin(2 * math.pi * t / 24) * 0.5 + 1 for t in range(48))
    assert values(curve("s*100 + n + fps"), fps=25, frames=3) == (28, 32, 36)


def test_an_expression_without_variables_is_the_number_it_comes_to():
    assert curve("1/4 + 2*pi") == 0.25 + 2 * math.pi
    assert curve({"0": "3/2"}) == {"0": Point(1.5)}
    assert curve("1.5") == curve(1.5) == 1.5


@pytest.mark.parametrize("value", ["", "  ", None, [1], "abc", {"x": 1}, {"0": {"value": "nan"}}, {"audio": ""}])
def test_what_is_no_curve_is_refused(value):
    with pytest.raises(ValidationError):
        curve(value)


def test_an_expression_at_a_moment_goes_on_until_the_next():
    """Held, as Deforum does; otherwise it blends into the next, which may be an expression as well."""
    held = curve({"0": {"value": "t", "ease": "hold"}, "4": 100})
    assert values(held, fps=8, frames=6) == (0, 1, 2, 3, 100, 100)
    blended = curve({"0": "t", "4": "100 + t"})
    assert values(blended, fps=8, frames=6) == (0, 26, 52, 78, 104, 105)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=20))
def test_a_curve_written_out_frame_by_frame_is_the_same_curve(numbers):
    points = {str(frame): Point(number) for frame, number in enumerate(numbers)}
    film = Film(curves={"wave": points})
    assert values(curve("@wave"), fps=8, frames=len(numbers), film=film) == tuple(numbers)
    assert values(curve("-@wave"), fps=8, frames=len(numbers), film=film) == tuple(-number for number in numbers)


def test_named_curves_may_use_those_above_them():
    film = Film(curves={"a": curve({"0": 0, "4": 4}), "b": curve("@a * 2"), "c": curve("@a + @b"), "d": 7.0})
    assert values(curve("@c"), fps=8, frames=5, film=film) == (0, 3, 6, 9, 12)
    assert used(curve("@c + @c"), film) == ["a", "b", "c"]
    assert used(curve({"0": "@d"}), film) == ["d"]


def test_named_curves_cannot_go_in_circles():
    film = Film(curves={"a": curve("@b"), "b": curve("@a"), "c": curve("@c")})
    for name in "abc":
        with pytest.raises(StoryboardError, match=r"there is no curve '.' above this one"):
            values(curve(f"@{name}"), fps=8, frames=2, film=film)


def test_named_curves_that_double_take_no_longer():
    curves = {"c0": 1.0} | {f"c{i}": curve(f"@c{i - 1} + @c{i - 1}") for i in range(1, 200)}
    assert values(curve("@c199"), fps=8, frames=2, film=Film(curves=curves)) == (2.0**199, 2.0**199)


def test_unknown_curves_are_told_with_near_names():
    with pytest.raises(StoryboardError, match="there is no curve 'smlie'") as error:
        values(curve("1 + @smlie"), fps=8, frames=2, film=Film(curves={"smile": 1.0, "wave": 2.0}))
    assert "did you mean 'smile'" in error.value.remedy
    with pytest.raises(StoryboardError, match="there is no curve 'x'"):
        values(curve("@x"), fps=8, frames=2, film=ALONE)


def test_a_range_holds_in_every_frame():
    """Numbers at once; expressions and overshooting easings once the film is known, with their frame."""
    check = within(0, 2)
    for good in (1.0, curve("t"), curve({"0": 0, "4": 2})):
        assert check.check(good) is good
    for bad in (3.0, curve({"0": 0, "4": -1}), {}):
        with pytest.raises(StoryboardError):
            check.check(bad)
    with pytest.raises(ValidationError, match="31 at frame 31 is not between 0 and 30"):
        Storyboard(prompts=FOX, video=Video(frames=40), sampling=Sampling(guidance="t"))
    assert Storyboard(prompts=FOX, video=Video(frames=31), sampling=Sampling(guidance="t"))
    dipping = {"0": Point(0, "ease_in_back"), "8": Point(1)}
    with pytest.raises(ValidationError, match=r"at frame . is not between 0 and 30"):
        Storyboard(prompts=FOX, video=Video(frames=9), sampling=Sampling(guidance=dipping))


def test_time_in_a_curve_is_the_shots_and_beats_are_the_films():
    board = Storyboard(
        prompts=FOX,
        video=Video(fps=8, tempo=Tempo(120)),
        sampling=Sampling(guidance="t/10"),
        curves={"pulse": {"0": Point(0, "hold"), "1b": Point(1)}},
        shots={"a": Shot(frames=6), "b": Shot(frames=6)},
    )
    first, second = shots(board)
    assert first.values(first.sampling.guidance) == second.values(second.sampling.guidance)
    assert first.values("@pulse") == (0, 0, 0, 0, 1, 1)
    # The second shot begins at 0.75 s; the next beats are at 1 s and 1.5 s: its frames 2 and 6.
    assert second.values("@pulse") == (0, 0, 0, 0, 0, 0)
    assert shots(board)[1].values({"0": Point(0, "hold"), "0.5b": Point(1)}) == (0, 0, 0, 0, 1, 1)


def test_seeds_hold_until_the_next_unless_they_travel():
    held = seeds({"0": SeedPoint(1), "2": SeedPoint(7)}, fps=8, frames=4)
    assert [blend[:] for blend in held] == [(1, 1, 0), (1, 1, 0), (7, 7, 0), (7, 7, 0)]
    travelling = seeds({"0": SeedPoint(1, "linear"), "4": SeedPoint(7)}, fps=8, frames=6)
    assert [blend[:] for blend in travelling[:3]] == [(1, 1, 0), (1, 7, 0.25), (1, 7, 0.5)]
    assert travelling[4] == travelling[5] == (7, 7, 0)
    assert seeds(5, fps=8, frames=2) == ((5, 5, 0), (5, 5, 0))


def test_a_seed_may_be_keyframed_in_a_shot_too():
    board = Storyboard(
        prompts=FOX, video=Video(frames=4), shots={"a": Shot(seed={"0": 3, "2": SeedPoint(9)}), "b": Shot()}
    )
    first, second = shots(board)
    assert [first.seed_at(frame) for frame in range(4)] == [3, 3, 9, 9]
    assert (first.seed, second.seed) == (3, 0)


@pytest.mark.parametrize(
    "seed", [{}, {"0": -1}, {"0": 2**63}, {"0": 1.5}, "t", {"0": {"value": 1, "ease": "ease_in_back"}}]
)
def test_what_are_no_seeds_is_refused(seed):
    with pytest.raises(ValidationError):
        Sampling(seed=seed)
