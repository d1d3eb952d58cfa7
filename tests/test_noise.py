import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from lcm_video.noise import frame_noise, shared
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


@pytest.mark.parametrize("kind", ["repeat", "shuffle"])
@settings(deadline=None)
@given(frames=st.integers(1, 90), length=st.integers(1, 20), data=st.data())
def test_shared_noise_is_that_of_the_first_window(kind, frames, length, data):
    """And no window of the static schedule, nor of the repeats, begins with the same noise twice."""
    stride = data.draw(st.integers(1, length))
    whose = shared(kind, length=length, stride=stride, seed=data.draw(st.integers(0, 9)))
    noise = [whose(frame) for frame in range(frames)]
    assert noise[:length] == [*range(min(length, frames))]
    assert {*noise} == {*range(min(length, frames))}
    step = stride if kind == "shuffle" else 1
    for first in range(0, frames - length + 1, step):
        assert len({*noise[first : first + length]}) == length


def test_shared_noise_is_laid_out_as_in_diffusers(monkeypatch):
    """Which frame has whose noise, for the same shuffles: frames are told apart by latents that hold their number."""
    from types import SimpleNamespace

    from diffusers.pipelines import free_noise_utils

    length, stride, frames = 16, 12, 75
    whose = shared("shuffle", length=length, stride=stride, seed=3)
    # A shuffle of theirs, for the stretch that begins at i, as ours has it: worked out from whole stretches.
    numbers = torch.arange(float(frames)).view(1, 1, frames, 1, 1)
    starts = iter(range(length, frames, stride))

    def shuffle(count, generator):
        start = next(starts)
        before = [whose(frame) for frame in range(start - length, start - length + count)]
        return torch.tensor([before.index(whose(frame)) for frame in range(start, start + count)])

    monkeypatch.setattr(free_noise_utils.torch, "randperm", shuffle)
    monkeypatch.setattr(free_noise_utils, "randn_tensor", lambda shape, **_: numbers.clone())
    peer = SimpleNamespace(
        _free_noise_context_length=length,
        _free_noise_context_stride=stride,
        _free_noise_noise_type="shuffle_context",
        vae_scale_factor=8,
    )
    prepare = free_noise_utils.AnimateDiffFreeNoiseMixin._prepare_latents_free_noise
    theirs = prepare(peer, 1, 1, frames, 8, 8, torch.float32, torch.device("cpu"))
    assert [whose(frame) for frame in range(frames)] == theirs.flatten().int().tolist()


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 20), st.sampled_from(["repeat", "shuffle"]))
def test_a_loop_shares_noise_across_its_seam_as_anywhere(frames, length, kind):
    """Repeats are equally long but for a frame, so the last is followed by the first as by any other."""
    whose = shared(kind, length=length, stride=max(length // 2, 1), seed=1, loop=frames)
    repeated = [*map(shared("repeat", length=length, stride=1, seed=1, loop=frames), range(frames))]
    starts = [frame for frame, number in enumerate(repeated) if number == 0]
    sizes = [end - start for start, end in zip(starts, [*starts[1:], frames], strict=True)]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == max(frames // length, 1)
    noise = [whose(frame) for frame in range(frames)]
    for start, size in zip(starts, sizes, strict=True):
        assert len({*noise[start : start + size]}) == size


def test_shuffles_stay_reproducible():
    """Changing any of these numbers changes every film whose noise is shuffled."""
    whose = shared("shuffle", length=8, stride=6, seed=3, shot="meadow")
    assert [*map(whose, range(8, 20))] == SHUFFLED
    around = shared("shuffle", length=8, stride=6, seed=3, shot="meadow", loop=20)
    assert [*map(around, range(10, 20))] == AROUND


SHUFFLED = [0, 1, 5, 3, 4, 2, 0, 6, 5, 1, 7, 3]
AROUND = [1, 2, 4, 3, 0, 5, 8, 7, 11, 9]


def test_noise_is_shared_at_the_start_only_and_follows_keyframed_seeds():
    whose = shared("repeat", length=4, stride=3, seed=1)
    own, alike = frame_noise(5, (1, 2, 2)), frame_noise(5, (1, 2, 2), alike=whose)
    assert torch.equal(alike(0, range(12)), own(0, [0, 1, 2, 3] * 3))
    assert torch.equal(alike(1, range(12)), own(1, range(12)))
    keyed = frame_noise(seeds({"0": SeedPoint(5), "6": SeedPoint(9)}, fps=8, frames=12), (1, 2, 2), alike=whose)
    assert torch.equal(keyed(0, [5]), own(0, [1]))
    assert torch.equal(keyed(0, [6]), frame_noise(9, (1, 2, 2))(0, [2]))
    keys = ((1, ""), (2, ""), (1, "a"))
    shuffles = [shared("shuffle", length=8, stride=6, seed=seed, shot=shot) for seed, shot in keys]
    assert len({tuple(map(of, range(64))) for of in shuffles}) == 3
    assert shared("own", length=4, stride=3, seed=1) is None
