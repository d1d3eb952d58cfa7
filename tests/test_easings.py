"""How the way between moments is paced; Bézier curves against 50 digits."""

from decimal import Decimal, getcontext

import pytest
from hypothesis import example, given, strategies as st
from pydantic import ValidationError

from lcm_video.errors import StoryboardError
from lcm_video.timeline import EASINGS, Keyframe, Point, values
from lcm_video.timeline.easings import FAMILIES, pace

shares = st.floats(0, 1)


def exact(corners, x):
    """The y of a Bézier curve by halving in 50 digits."""
    getcontext().prec = 50
    x1, y1, x2, y2 = map(Decimal, corners)
    along = lambda u, one, two: 3 * (1 - u) ** 2 * u * one + 3 * (1 - u) * u**2 * two + u**3
    low, high = Decimal(0), Decimal(1)
    for _ in range(120):
        middle = (low + high) / 2
        low, high = (middle, high) if along(middle, x1, x2) < Decimal(x) else (low, middle)
    return float(along((low + high) / 2, y1, y2))


@given(shares, st.floats(-3, 3), shares, st.floats(-3, 3), shares)
@example(1.0, 0.0, 0.0, 1.0, 0.5 + 1e-9)  # upright in the middle
@example(1.0, 0.0, 0.0, 1.0, 0.5 + 1e-15)
@example(0.0, 3.0, 0.0, -3.0, 1e-12)
@example(1.0, 1.0, 1.0, 1.0, 1 - 1e-12)
@example(0.42, 0.0, 0.58, 1.0, 0.25)
def test_a_bezier_is_exact_to_a_billionth(x1, y1, x2, y2, x):
    corners = [round(corner, 9) for corner in (x1, y1, x2, y2)]
    paced = pace(f"bezier({', '.join(f'{corner:.9f}' for corner in corners)})")
    assert paced(x) == pytest.approx(exact([f"{corner:.9f}" for corner in corners], x), abs=1e-9)
    assert (paced(0.0), paced(1.0)) == (0.0, 1.0)


def test_css_paces_as_browsers_do():
    """ease-in-out and ease of CSS at a quarter: values that browsers show."""
    assert pace("bezier(0.42, 0, 0.58, 1)")(0.25) == pytest.approx(0.12916, abs=1e-5)
    assert pace("bezier(0.25, 0.1, 0.25, 1)")(0.25) == pytest.approx(0.40851, abs=1e-5)
    assert pace("bezier(0, 0, 1, 1)")(0.3) == pytest.approx(0.3, abs=1e-12)


@given(shares, shares, shares, shares, shares, shares)
def test_a_bezier_within_its_box_never_turns_back(x1, y1, x2, y2, one, other):
    low, high = sorted((round(y1, 9), round(y2, 9)))
    paced = pace(f"bezier({x1:.9f}, {low:.9f}, {x2:.9f}, {high:.9f})")
    early, late = sorted((one, other))
    assert paced(early) <= paced(late) + 1e-9


@pytest.mark.parametrize(
    ("ease", "said"),
    [
        ("bezier(1.1, 0, 0.5, 1)", "not between 0 and 1"),
        ("bezier(0, 0, -0.1, 1)", "not between 0 and 1"),
        ("bezier(0, 11, 1, 1)", "beyond 10"),
        ("bezier(0, 0, 1)", "not a Bézier"),
        ("bezier(nan, 0, 1, 1)", "not a Bézier"),
        ("bezier(0, 0, 1, 1e9)", "beyond 10"),
        ("bezier", "not a Bézier"),
        ("smoth", "unknown easing"),
        ("", "unknown easing"),
    ],
)
def test_what_is_no_easing_is_refused(ease, said):
    with pytest.raises(StoryboardError, match=said) as error:
        pace(ease)
    assert error.value.remedy


def test_four_numbers_in_a_list_are_a_bezier():
    assert Point(1, ease=["0.42", "0", "0.58", "1"]) == Point(1, ease="bezier(0.42, 0, 0.58, 1)")
    assert Point(1, ease=[0.42, 0.0, 0.58, 1.0]).ease == "bezier(0.42, 0, 0.58, 1)"
    with pytest.raises(ValidationError, match="not a Bézier"):
        Point(1, ease=["0", "1"])


@pytest.mark.parametrize("ease", ["ease_in_back", "ease_out_elastic", "bezier(0.3, -0.2, 0.5, 1)"])
def test_numbers_may_overshoot_but_prompts_may_not(ease):
    numbers = values({"0": Point(0, ease), "100": Point(1)}, fps=8, frames=101)
    assert min(numbers) < 0 or max(numbers) > 1
    with pytest.raises(ValidationError, match="goes beyond its end"):
        Keyframe("a", ease)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_three_of_a_family_mirror_each_other(family):
    into, out, both = (EASINGS[f"ease_{way}{family}"] for way in ("in", "out", "in_out"))
    for x in (0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0):
        assert out(x) == pytest.approx(1 - into(1 - x))
        assert both(x) == pytest.approx(1 - both(1 - x))
        assert both(x / 2) == pytest.approx(into(x) / 2)
    assert (into(0.0), out(1.0), both(0.5)) == pytest.approx((0, 1, 0.5))


def test_families_are_penners():
    """At a quarter and at a half, from his formulas worked out by hand."""
    at = {name: (EASINGS[f"ease_in{name}"](0.25), EASINGS[f"ease_in{name}"](0.5)) for name in FAMILIES}
    assert at["_sine"] == pytest.approx((0.0761205, 0.2928932))
    assert at["_cubic"] == pytest.approx((0.015625, 0.125))
    assert at["_circ"] == pytest.approx((0.03175416, 0.1339746))
    assert at["_back"] == pytest.approx((-0.0641366, -0.0876975))
    assert at["_bounce"] == pytest.approx((0.02734375, 0.234375))
    assert at["_elastic"][1] == pytest.approx(-0.015625)
    assert at["_expo"] == pytest.approx(((2**2.5 - 1) / 1023, 31 / 1023))
