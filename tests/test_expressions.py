"""Arithmetic as a value: what it comes to, what is refused and where, and that nothing runs."""

import math
import time

import pytest
from hypothesis import example, given, settings, strategies as st

from lcm_video.errors import StoryboardError
from lcm_video.timeline import ExpressionError
from lcm_video.timeline.arithmetic import FUNCTIONS, VARIABLES, Now
from lcm_video.timeline.expressions import MAX_CHARACTERS, MAX_DEPTH, parse

NOW = Now(t=6, s=0.75, n=24, fps=8, curves={"wave": [0.0] * 6 + [0.25]})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2*3", 7),
        ("(1 + 2)*3", 9),
        ("-2**2", -4),
        ("2**-1", 0.5),
        ("2**3**2", 512),
        ("7 - 2 - 1", 4),
        ("8 / 4 / 2", 1),
        ("-7 % 3", 2),
        ("7 % -3", -2),
        ("2 * -3", -6),
        ("--2", 2),
        (".5 + 1. + 1e1", 11.5),
        ("sin(2*pi*t/24)*0.5+1", 1.5),
        ("t + s*n - frames/fps", 6 + 18 - 3),
        ("min(3, 1, 2) + max(t)", 7),
        ("abs(-2) + sqrt(9) + exp(0) + log(1) + cos(0) + tan(0)", 7),
        ("floor(-1.5) + ceil(1.2)", 0),
        ("round(0.5) + round(2.5) + round(-0.5)", 4),
        ("clamp(t, 0, 5) + lerp(10, 20, 0.25)", 17.5),
        ("smoothstep(0, 1, 0.25) + smoothstep(0, 1, 9)", 1.15625),
        ("@wave * 4", 1),
        ("  1  ", 1),
    ],
)
def test_expressions_come_to_what_a_calculator_says(text, value):
    assert parse(text).at(NOW) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("1 + foo", 4, "'foo' is not a number"),
        ("1 +", 3, "ends where a number"),
        ("", 0, "ends where a number"),
        ("1 2", 2, "an operator is expected"),
        ("2 ^ 3", 2, "an operator is expected"),
        ("(1 + 2", 6, "a closing bracket"),
        ("1 + 2)", 5, "an operator"),
        ("sin()", 4, "a number is expected"),
        ("sin(1, 2)", 0, "takes 1 value, not 2"),
        ("1 + clamp(1, 2)", 4, "takes 3 values, not 2"),
        ("foo(1)", 0, "no function 'foo'"),
        ("__import__('os')", 0, "no function '__import__'"),
        ("t.real", 1, "'.' stands where"),
        ("@", 0, "@ needs a curve's name"),
        ("@ wave", 0, "@ needs a curve's name"),
        ("1 + 1e999", 4, "too large"),
        ("lambda: 1", 0, "'lambda' is not a number"),
        ("t if t else 1", 2, "an operator"),
        ("[1]", 0, "a number is expected"),
        ("0x10", 1, "an operator"),
        ("1_000", 1, "an operator"),
        ("٣", 0, "a number is expected"),
        ("(" * 100 + "1", MAX_DEPTH + 1, "nested more than 32 deep"),
        ("2**" * 100 + "1", 3 * (MAX_DEPTH + 1), "nested more than 32 deep"),
        ("1+" * 501 + "1", 0, "1003 characters"),
    ],
)
def test_what_is_wrong_is_told_at_its_column(text, column, said):
    with pytest.raises(ExpressionError, match=said.replace("(", r"\(")) as error:
        parse(text)
    assert error.value.column == column
    assert error.value.remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/(t-6)", "divides by zero at frame 6"),
        ("5 % (t-6)", "divides by zero at frame 6"),
        ("(t-6)**-1", "divides by zero at frame 6"),
        ("10**(t*100)", "grows beyond all numbers at frame 6"),
        ("exp(t*200)", "grows beyond all numbers at frame 6"),
        ("1e308*t*t", "is inf at frame 6"),
        ("sqrt(-t)", "does not exist at frame 6"),
        ("(-t)**0.5", "does not exist at frame 6"),
        ("log(t-6)", "does not exist at frame 6"),
        ("1e308*t*10 - 1e308*t*10", "is nan at frame 6"),
        ("floor(1e308*t*10)", "grows beyond all numbers at frame 6"),
        ("1/0", "1/0 divides by zero"),
    ],
)
def test_what_is_no_finite_number_is_told_with_its_frame(text, said):
    with pytest.raises(StoryboardError) as error:
        parse(text).at(NOW)
    assert error.value.message.endswith(said)
    assert error.value.remedy


def test_a_long_sum_is_not_a_deep_one():
    assert parse("+".join(["1"] * 500)).at(NOW) == 500
    assert parse("-" * 999 + "1").at(NOW) == -1


def test_reading_takes_no_longer_than_the_text_is_long():
    texts = ["(" * (MAX_CHARACTERS - 1), "1" * MAX_CHARACTERS, "2**" * 333 + "1", " " * MAX_CHARACTERS, "@" * 1000]
    begun = time.process_time()
    for text in texts:
        for variant in range(20):
            with pytest.raises(StoryboardError):
                parse(text[variant:] + "$")
    assert time.process_time() - begun < 5


def test_an_expression_knows_whether_it_varies():
    assert not parse("2*pi").varies
    assert parse("t*0").varies
    assert parse("@a + @b*@a").curves == {"a": 0, "b": 5}


numbers = st.floats(0, 1e6).map(repr)
expressions = st.recursive(
    numbers | st.sampled_from(sorted(VARIABLES)),
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/%"), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda text: f"-{text}")
        | inner.map(lambda text: f"abs({text})")
        | st.tuples(inner, inner).map(lambda parts: f"max({parts[0]}, {parts[1]})")
    ),
    max_leaves=12,
)


@given(expressions)
def test_values_are_pythons_own(text):
    """Python itself as the other implementation, on expressions that we made."""
    names = {"t": 6.0, "s": 0.75, "n": 24.0, "frames": 24.0, "fps": 8.0, "pi": math.pi, "abs": abs, "max": max}
    try:
        expected = eval(text, {"__builtins__": {}}, names)
    except ZeroDivisionError:
        expected = math.nan
    if math.isfinite(expected):
        assert parse(text).at(NOW) == expected
    else:
        with pytest.raises(StoryboardError):
            parse(text).at(NOW)


pieces = st.sampled_from([*FUNCTIONS, *VARIABLES, "@", "a", *"+-*/%(),^.$ ", "**", "1", "0.5", "1e9", "\u00b2", "\n"])
texts = st.text(max_size=60) | st.lists(pieces, max_size=40).map("".join)


class Halves(dict):
    """Every curve there could be, 0.5 in each frame: which ones there are is told by the storyboard."""

    def __missing__(self, name):
        return [0.5] * 9


def survives(text):
    try:
        value = parse(text).at(Now(3.0, 0.5, 9.0, 6.0, Halves()))
    except StoryboardError as error:
        return bool(error.message and error.remedy)
    return isinstance(value, float) and math.isfinite(value)


@given(texts)
@example("max(t)")
@example("1" * 999)
@example("9" * 400)
def test_any_text_is_a_finite_number_or_an_error(text):
    assert survives(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=200)
@given(texts)
def test_twenty_thousand_texts_are_finite_numbers_or_errors(text):
    assert survives(text)
