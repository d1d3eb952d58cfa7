import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lcm_video.conditioning import slerp, travel, varying
from lcm_video.timeline import Blend, Keyframe, Timeline, plan

PROMPTS = {"0": Keyframe("spring"), "4": Keyframe("summer", ease="smooth"), "10": Keyframe("winter")}
GOLDEN = Path(__file__).parent / "golden" / "prompts"


@pytest.fixture
def encoded():
    torch.manual_seed(0)
    return {"tokens": torch.randn(3, 154, 16), "pooled": torch.randn(3, 16)}


@pytest.mark.parametrize("blend", ["linear", "slerp"])
@pytest.mark.parametrize("loop", [False, True])
def test_at_a_keyframe_the_encoding_is_the_prompts_own_bit_for_bit(encoded, blend, loop):
    conditioning = travel(plan(PROMPTS, fps=8, frames=16, loop=loop), encoded, blend=blend)
    for frame, prompt in {0: 0, 4: 1, 10: 2}.items():
        for name in encoded:
            # Alone, and amid frames that are on their way: the batch must not matter.
            assert torch.equal(conditioning([frame])[name][0], encoded[name][prompt])
            assert torch.equal(conditioning(range(16))[name][frame], encoded[name][prompt])


def test_half_way_is_half_way(encoded):
    conditioning = travel(plan(PROMPTS, fps=8, frames=12), encoded)
    halves = (encoded["tokens"][0] + encoded["tokens"][1]) / 2
    torch.testing.assert_close(conditioning([2])["tokens"][0], halves)
    torch.testing.assert_close(conditioning([1])["tokens"][0], encoded["tokens"][0].lerp(encoded["tokens"][1], 0.25))


@given(st.lists(st.integers(0, 15), min_size=1, max_size=20))
def test_a_frames_encoding_does_not_depend_on_which_frames_are_asked_for(frames):
    torch.manual_seed(0)
    encoded = {"tokens": torch.randn(3, 7, 5)}
    for blend in ("linear", "slerp"):
        conditioning = travel(plan(PROMPTS, fps=8, frames=16), encoded, blend=blend)
        assert torch.equal(conditioning(frames)["tokens"], conditioning(range(16))["tokens"][frames])


def test_slerp_keeps_the_length_where_a_straight_line_would_cut_the_corner(encoded):
    left = encoded["tokens"][:1] / encoded["tokens"][:1].norm()
    right = encoded["tokens"][1:2] / encoded["tokens"][1:2].norm()
    half = torch.full((1, 1, 1), 0.5)
    assert slerp(left, right, half).norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.lerp(left, right, half).norm().item() < 0.8


def test_slerp_begins_and_ends_at_its_ends_bit_for_bit(encoded):
    left, right = encoded["tokens"][:1], encoded["tokens"][1:2]
    assert torch.equal(slerp(left, right, torch.zeros(1, 1, 1)), left)
    assert torch.equal(slerp(left, right, torch.ones(1, 1, 1)), right)


def test_slerp_of_opposite_or_equal_encodings_is_the_straight_line(encoded):
    left = encoded["tokens"][:1]
    third = torch.full((1, 1, 1), 1 / 3)
    for right in (left, -left, left * 1.0001):
        torch.testing.assert_close(slerp(left, right, third), left.lerp(right, third))


@pytest.mark.parametrize("blend", ["linear", "slerp"])
def test_travel_equals_animatediff_cli_prompt_travel(blend):
    """Its own interpolation of its own encodings at its own rates (the variant that its author describes)."""
    arrays = np.load(GOLDEN / "cli_travel.npz")
    compared = 0
    for case in json.loads((GOLDEN / "cli_travel.json").read_text())["cases"]:
        name, owner = case["case"], case["key_to_prompt_embedding_sorted"]
        encoded = torch.from_numpy(arrays[f"{name}_prompt_emb"])
        place = {text: i for i, text in enumerate(case["prompts"])}
        blends = [
            Blend(place[owner[str(left)]], place[owner[str(right)]], rate if left != right else 0.0)
            for left, right, rate in case["keys_sorted"]
        ]
        ours = travel(Timeline(tuple(case["prompts"]), tuple(blends)), {"tokens": encoded}, blend=blend)
        theirs = torch.from_numpy(arrays[f"{name}_sorted_{blend}"])
        torch.testing.assert_close(ours(range(len(blends)))["tokens"], theirs, atol=2e-5, rtol=0, check_dtype=False)
        compared += 1
    assert compared


def test_numbers_that_vary_travel_beside_the_prompts(encoded):
    conditioning = varying(
        travel(plan(PROMPTS, fps=8, frames=12), encoded), {"motion_scale": [i / 10 for i in range(12)]}
    )
    torch.testing.assert_close(conditioning([3, 1])["motion_scale"], torch.tensor([0.3, 0.1]))
    assert conditioning([3, 1])["tokens"].shape == (2, 154, 16)
