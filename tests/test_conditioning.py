import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lcm_video.conditioning import Travelled, arc, spread, travel, varying
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


def slerp(left, right, share):
    of_left, of_right = arc(left, right, share)
    return spread(of_left, left) * left + spread(of_right, right) * right


def test_slerp_keeps_the_length_where_a_straight_line_would_cut_the_corner(encoded):
    left = encoded["tokens"][:1] / encoded["tokens"][:1].norm()
    right = encoded["tokens"][1:2] / encoded["tokens"][1:2].norm()
    half = torch.tensor([0.5])
    assert slerp(left, right, half).norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.lerp(left, right, 0.5).norm().item() < 0.8


def test_slerp_begins_and_ends_at_its_ends_bit_for_bit(encoded):
    left, right = encoded["tokens"][:1], encoded["tokens"][1:2]
    assert torch.equal(slerp(left, right, torch.zeros(1)), left)
    assert torch.equal(slerp(left, right, torch.ones(1)), right)


def test_slerp_of_opposite_or_equal_encodings_is_the_straight_line(encoded):
    left = encoded["tokens"][:1]
    third = torch.tensor([1 / 3])
    for right in (left, -left, left * 1.0001):
        torch.testing.assert_close(slerp(left, right, third), left.lerp(right, 1 / 3))


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


@pytest.mark.parametrize("blend", ["linear", "slerp"])
def test_what_is_linear_in_the_tokens_may_be_mixed_after_it_was_worked_out(encoded, blend):
    """Keys of attention: those of two prompts, mixed as the prompts are, equal those of the mixed prompts."""
    found = travel(plan(PROMPTS, fps=8, frames=16), encoded, blend=blend)(range(16))
    project = torch.nn.Linear(16, 8, bias=False).requires_grad_(False)
    keys = project(encoded["tokens"])
    of_left, of_right = (spread(each, keys) for each in found.weights("tokens"))
    mixed = of_left * keys[list(found.left)] + of_right * keys[list(found.right)]
    torch.testing.assert_close(mixed, project(found["tokens"]), atol=2e-6, rtol=1e-5)


def test_some_frames_of_an_encoding_are_what_was_asked_for_them_alone(encoded):
    conditioning = varying(
        travel(plan(PROMPTS, fps=8, frames=16), encoded), {"motion_scale": [i / 16 for i in range(16)]}
    )
    some, asked = conditioning(range(16)).of(slice(3, 7)), conditioning(range(3, 7))
    assert isinstance(some, Travelled)
    assert dict.fromkeys(some) == dict.fromkeys(asked) == dict.fromkeys(["tokens", "pooled", "motion_scale"])
    assert len(some) == 3
    assert all(torch.equal(some[name], asked[name]) for name in asked)


def test_numbers_may_vary_beside_any_encoding():
    steady = lambda frames: {"tokens": torch.ones(len(frames), 7, 5)}
    found = varying(steady, {"motion_scale": [0.5] * 4})([1, 2])
    assert found["tokens"].shape == (2, 7, 5)
    assert found["motion_scale"].tolist() == [0.5, 0.5]
