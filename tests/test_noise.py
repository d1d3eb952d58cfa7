import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lcm_video.noise import frame_noise
from lcm_video.timeline import SeedPoint, seeds


def test_noise_belongs_to_the_frame_not_to_the_batch():
    noise = frame_noise(1, (4, 2, 2))
    whole = noise(0, range(64))
    assert torch.equal(noise(0, range(16)), whole[:16])
    assert torch.equal(noise(0, [7, 2]), whole[[7, 2]])


KEYS = st.tuples(
    st.integers(0, 2**63 - 1) | st.sampled_from([0, 1, 2**32, 2**32 + 1]),
    st.text(max_size=3),
    st.integers(0, 2),
    st.integers(0, 2),
)


@given(KEYS, KEYS)
def test_different_seeds_shots_steps_and_frames_have_different_noise(one, other):
    drawn = [frame_noise(seed, (1, 1, 4), shot=shot)(step, [frame]) for seed, shot, step, frame in (one, other)]
    assert torch.equal(*drawn) == (one == other)


def test_films_stay_reproducible():
    """Changing any of these numbers changes every film that was ever made."""
    first = frame_noise(0, (1, 1, 4))(0, [0]).flatten().tolist()
    other = frame_noise(2**63 - 1, (1, 1, 4), shot="meadow")(3, [999_999]).flatten().tolist()
    assert first == pytest.approx(FIRST, abs=0)
    assert other == pytest.approx(OTHER, abs=0)


FIRST = [0.6979723572731018, -1.2890112400054932, 0.629054605960846, 0.534083902835846]
OTHER = [1.0278639793395996, -0.13792824745178223, -0.09748873859643936, -0.9780995845794678]


def test_noise_is_standard_normal_and_independent_from_frame_to_frame():
    drawn = frame_noise(3, (4, 64, 64))(1, range(8))
    assert drawn.dtype == torch.float32
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    between = torch.corrcoef(drawn.flatten(1)) - torch.eye(8)
    assert between.abs().max() < 0.04
    assert np.isclose((drawn.abs() < 1).float().mean().item(), 0.6827, atol=0.005)


def test_noise_is_drawn_in_float32_whatever_the_type():
    exact = frame_noise(5, (4, 8, 8))(0, [3])
    assert torch.equal(frame_noise(5, (4, 8, 8), dtype=torch.float16)(0, [3]), exact.half())


def test_the_noise_of_a_keyframed_seed_is_its_seeds_wherever_it_holds():
    keyed = frame_noise(seeds({"0": SeedPoint(5), "4": SeedPoint(9)}, fps=8, frames=8), (4, 2, 2), shot="a")
    five, nine = (frame_noise(seed, (4, 2, 2), shot="a") for seed in (5, 9))
    for step in (0, 3):
        assert torch.equal(keyed(step, range(4)), five(step, range(4)))
        assert torch.equal(keyed(step, range(4, 8)), nine(step, range(4, 8)))
    path = seeds({"2": SeedPoint(5, "linear"), "6": SeedPoint(9)}, fps=8, frames=8)
    travelling = frame_noise(path, (4, 2, 2), shot="a")
    assert torch.equal(travelling(0, range(3)), five(0, range(3)))
    assert torch.equal(travelling(0, [6, 7]), nine(0, [6, 7]))
    assert not torch.equal(travelling(0, [4]), five(0, [4]))


def test_noise_that_travels_keeps_its_strength_all_the_way():
    """Half-way it is as near to one as to the other, and as strong as each."""
    path = seeds({"0": SeedPoint(5, "linear"), "4": SeedPoint(9)}, fps=8, frames=5)
    drawn = frame_noise(path, (4, 64, 64))(1, range(5))
    for noise in drawn:
        assert abs(noise.std() - 1) < 0.02
        assert abs(noise.mean()) < 0.03
    one, other = (frame_noise(seed, (4, 64, 64))(1, [2])[0] for seed in (5, 9))
    torch.testing.assert_close(drawn[2], (one + other) / 2**0.5)
    likeness = [torch.corrcoef(torch.stack([drawn[2].flatten(), whole.flatten()]))[0, 1] for whole in (one, other)]
    assert abs(likeness[0] - likeness[1]) < 0.02
    assert abs(likeness[0] - 0.5**0.5) < 0.02


def test_noise_that_travels_still_belongs_to_the_frame():
    noise = frame_noise(seeds({"0": SeedPoint(1, "smooth"), "8": SeedPoint(2)}, fps=8, frames=9), (4, 2, 2))
    whole = noise(2, range(9))
    assert torch.equal(noise(2, [7, 3]), whole[[7, 3]])
