"""Prompts that change over steps, LoRAs whose strength does."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from lcm_video.prompts.editing import by_step, edited

CASES = json.loads((Path(__file__).parent / "golden/prompts/a1111_prompt_editing.json").read_text(encoding="utf-8"))
LETTERS = st.text(st.sampled_from("ab [](){}:|\\0.5<>@,"), max_size=60)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['text']!r} in {case['steps']}")
def test_editing_equals_a1111s(case):
    theirs, done = [], 0
    for until, text in case["schedule"]:
        theirs += [text] * (until - done)
        done = until
    assert [*by_step(case["text"], case["steps"])] == theirs


@pytest.mark.parametrize(
    ("prompt", "four_steps"),
    [
        ("[a::2]b", ["ab", "ab", "b", "b"]),
        ("[:a:2]b", ["b", "b", "ab", "ab"]),
        ("[a|b|c]", ["a", "b", "c", "a"]),
        (r"\[a:b:2\]", [r"\[a:b:2\]"] * 4),
        (r"[a\:b:c:2]", [r"a\:b", r"a\:b", "c", "c"]),
        ("[(a:1.2):b:2]", ["(a:1.2)", "(a:1.2)", "b", "b"]),
        ("a | [b:c:2]", ["a | b", "a | b", "a | c", "a | c"]),
        ("x[<lora:fox:1>:0.5]", ["x", "x", "x<lora:fox:1>", "x<lora:fox:1>"]),
        ("[a:b:99]", ["a"] * 4),
        ("[a:b:1e99]", ["a"] * 4),
    ],
)
def test_a_prompt_at_each_step(prompt, four_steps):
    assert [*by_step(prompt, 4)] == four_steps


@given(LETTERS)
def test_any_text_has_a_text_at_every_step(text):
    texts = by_step(text, 5)
    assert len(texts) == 5
    assert edited(text) or set(texts) == {text}


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(st.text(max_size=200) | LETTERS)
def test_any_text_at_all_has_a_text_at_every_step(text):
    assert len(by_step(text, 3)) == 3


@pytest.mark.parametrize("hard", ["[", "[]((((", "[(", "[:", "[a:", "[(]", "[|"])
def test_long_texts_take_time_by_their_length(hard):
    """Counted in calls, not in seconds: a text twice as long makes twice as many."""
    assert calls(hard * 500) < 2.5 * calls(hard * 250)


def calls(text):
    import sys

    from lcm_video.prompts.editing import _parsed

    _parsed.cache_clear()
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += 1

    sys.setprofile(counted)
    try:
        by_step(text, 1)
    finally:
        sys.setprofile(None)
    return count
