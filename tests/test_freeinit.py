"""Drawing a shot again from the low frequencies of its first drawing."""

from dataclasses import replace

import pytest
import torch
from test_wave import Stopped, film, plain, run, stopping, take_of

from lcm_video.freeinit import FreeInit, mix
from lcm_video.samplers import noised
from lcm_video.wave import Wave, again


def drawn(seed, frames=8, channels=2, size=6):
    return torch.randn(frames, channels, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["butterworth", "gaussian", "ideal"])
@pytest.mark.parametrize(("space", "time"), [(0.25, 0.25), (0.5, 0.2)])
def test_frequencies_are_mixed_as_in_diffusers(kind, space, time):
    from diffusers.pipelines.free_init_utils import FreeInitMixin

    peer = FreeInitMixin()
    theirs, other = (drawn(seed).transpose(0, 1)[None] for seed in (1, 2))
    share = peer._get_free_init_freq_filter(theirs.shape, "cpu", kind, 4, space, time)
    wanted = peer._apply_freq_filter(theirs, other, share)[0].transpose(0, 1)
    ours, fresh = drawn(1), drawn(2)
    mix(ours, fresh, FreeInit(1, kind, space=space, time=time))
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["butterworth", "gaussian", "ideal"])
@pytest.mark.parametrize(("frames", "size"), [(8, 6), (7, 5), (1, 4), (3, 7)])
def test_what_is_slow_and_coarse_stays_and_what_is_fast_and_fine_is_fresh(kind, frames, size):
    """A constant stays, whatever the fresh noise; of sizes that are odd as well, where others are half a place off."""
    still = torch.full((frames, 1, size, size), 3.0)
    noise = drawn(1, frames, 1, size)
    mixed = still.clone()
    mix(mixed, noise, FreeInit(1, kind))
    assert mixed.mean().item() == pytest.approx(3, abs=1e-5)
    same = noise.clone()
    mix(same, noise, FreeInit(1, kind))
    torch.testing.assert_close(same, noise)
    fine = (torch.arange(8) % 2 * 2.0 - 1).view(1, 1, 1, 8).expand(4, 1, 8, 8).clone()
    mix(fine, torch.zeros(4, 1, 8, 8), FreeInit(1, kind))
    assert fine.abs().max() < 1e-3


@pytest.mark.parametrize("options", [{}, {"loop": True}, {"sampler": "dpmpp_2m"}])
def test_each_round_begins_from_the_whole_film_of_the_one_before(options):
    """By hand, round by round, with the plain way."""
    take, options = take_of(37, length=8, overlap=3, **options), FreeInit(2)
    current = take
    for number in range(2):
        mixed = noised(plain(current), take.noise(0, range(37)), take.levels[0].alpha)
        mix(mixed, take.noise(2**30 + number, range(37)), options)
        current = replace(take, begin=lambda _, frames, mixed=mixed: mixed[[*frames]])
    wanted = plain(current)
    assert torch.equal(film(run(Wave(again(take, options)))), wanted)
    assert torch.equal(plain(again(take, options)), wanted)
    assert not torch.allclose(wanted, plain(take), atol=1e-2)


def test_no_rounds_change_nothing():
    take = take_of(8, length=8, overlap=2)
    assert again(take, FreeInit()) is take


def test_a_film_stopped_in_its_last_round_goes_on_and_one_stopped_before_begins_again():
    take = take_of(40, length=8, overlap=3)
    wanted = film(run(Wave(again(take, FreeInit(1)))))
    windows = Wave(take).windows
    for after in (5, windows + 20):
        how = stopping(after)
        wave, found = Wave(again(take, FreeInit(1), map=how), map=how), {}
        with pytest.raises(Stopped):
            run(wave, found)
        assert (wave.done > 0) == (after > windows)
        left = [*wave._left]
        found |= run(Wave(again(take, FreeInit(1)), left, live=wave.live()))
        assert torch.equal(film(found), wanted)
