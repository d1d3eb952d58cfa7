"""Curves on the whole path: however a number is written, the same number gives the same film, bit for bit."""

import math
import wave
from dataclasses import replace

import numpy as np
import pytest
import torch

import lcm_video as lv
from lcm_video.samplers import Sampling
from lcm_video.storyboard import Shot, shots
from lcm_video.timeline import Heard, Point, SeedPoint


@pytest.fixture(scope="module")
def embedded():
    board = lv.load("embedded", ["prompts=a red circle on a blue background"])
    return board, lv.Pipeline.load(board.model)


@pytest.fixture
def film(embedded):
    """The latents of a film of four frames with these sections."""

    def drawn(guidance=1.0, seed=3, **sections):
        board, pipeline = embedded
        made = replace(
            board,
            negative="a green square",
            video=replace(board.video, frames=4, width=64, height=64),
            sampling=Sampling(steps=1, guidance=guidance, seed=seed),
            **sections,
        )
        return torch.cat([step.latents for step in pipeline.steps(made)])

    return drawn


def written_out(numbers):
    return {str(frame): Point(number) for frame, number in enumerate(numbers)}


def test_guidance_by_expression_is_the_same_numbers_written_out(film):
    numbers = [math.sin(2 * math.pi * t / 24) * 0.5 + 1 for t in range(4)]
    whole = film("sin(2*pi*t/24)*0.5 + 1")
    assert torch.equal(whole, film(written_out(numbers)))
    assert torch.equal(whole, film("@swell + 1", curves={"wave": "sin(2*pi*t/24)", "swell": "@wave*0.5"}))
    assert not torch.allclose(whole, film(1.0), atol=1e-4)


def test_guidance_by_a_sound_is_the_same_numbers_written_out(film, tmp_path):
    with wave.open(str(tmp_path / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        t = np.arange(24_000) / 48_000
        file.writeframes((np.sin(2 * np.pi * 200 * t) * t * 60_000).astype("<i2").tobytes())
    heard = Heard(str(tmp_path / "tone.wav"), range=(1, 2))
    made = lv.load("embedded", ["prompts=x", "video.frames=4"])
    numbers = shots(made)[0].values(heard)
    assert len({*numbers}) == 4
    assert torch.equal(film(heard), film(written_out(numbers)))


def test_a_keyframed_seed_draws_each_seeds_own_film(film, embedded):
    """Without motion frames are drawn alone, so that each has the bits of the film of its seed."""
    board, _ = embedded
    still = lv.Pipeline.load(replace(board.model, motion=""))
    small = replace(board, video=replace(board.video, frames=4, width=64, height=64))

    def latents(seed):
        (step,) = still.steps(replace(small, sampling=Sampling(steps=1, seed=seed)))
        return step.latents

    three, nine = latents(3), latents(9)
    cut = latents({"0": SeedPoint(3), "2": SeedPoint(9)})
    assert torch.equal(cut, torch.cat([three[:2], nine[2:]]))
    travelling = latents({"0": SeedPoint(3, "linear"), "3": SeedPoint(9)})
    assert torch.equal(travelling[[0, 3]], torch.stack([three[0], nine[3]]))
    assert not torch.allclose(travelling[1], three[1], atol=1e-3)


def test_a_seed_of_one_moment_is_the_plain_seed(film):
    assert torch.equal(film(seed={"0": SeedPoint(3)}), film(seed=3))
    assert torch.equal(film(shots={"a": Shot(seed={"0": SeedPoint(3)})}), film(shots={"a": Shot(seed=3)}))
    assert not torch.equal(film(seed={"0": SeedPoint(4)}), film(seed=3))


def test_motion_by_expression_is_the_same_numbers_written_out(film, embedded):
    board, _ = embedded
    model = lambda scale: replace(board.model, motion_scale=scale)
    assert torch.equal(film(model=model("t/3")), film(model=model(written_out([t / 3 for t in range(4)]))))
