import threading
from dataclasses import replace

import pytest
import torch
from einops import rearrange

from lcm_video.errors import CheckpointError
from lcm_video.models import motion
from lcm_video.models.call import Call, calling, current
from lcm_video.models.temporal import TemporalLayer
from lcm_video.models.unet import Unet


@pytest.fixture
def layer():
    """A layer with weights large enough that frames act on each other visibly."""
    torch.manual_seed(3)
    made = TemporalLayer(32, groups=4, heads=4, max_frames=12).eval().requires_grad_(False)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return made


@pytest.fixture
def film():
    """Frames whose scale and mean drift, so that it matters what a norm takes statistics over."""
    torch.manual_seed(4)
    drift = torch.linspace(0.5, 2, 6)[:, None, None, None]
    return torch.randn(6, 32, 3, 2) * drift + drift


def test_frames_act_on_each_other(layer, film):
    other = film.clone()
    other[5] = other[5].flip(-1, -2)
    assert not torch.allclose(layer(film)[0], layer(other)[0])


def test_the_order_of_frames_matters(layer, film):
    assert not torch.allclose(layer(film.flip(0)).flip(0), layer(film), atol=1e-3)


def test_pixels_do_not_act_on_each_other_except_through_the_norm(layer, film):
    layer.norm = torch.nn.Identity()
    other = film.clone()
    other[:, :, 2, 1] += 1
    torch.testing.assert_close(layer(film)[:, :, 0], layer(other)[:, :, 0])


@pytest.mark.parametrize("over_window", [False, True])
def test_clips_in_one_batch_equal_separate_calls(layer, film, over_window):
    """Positions start anew in every clip, and no clip sees another."""
    layer.over_window = over_window
    with calling(Call(3)):
        together = layer(film)
        apart = torch.cat([layer(clip) for clip in film.split(3)])
    torch.testing.assert_close(together, apart, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(together, layer(film), atol=1e-3), "one clip of six frames is something else"


def test_the_norm_takes_its_statistics_where_the_card_says(layer, film):
    """Scaling one frame leaves another's normalised features alone only if each frame is normalised by itself."""
    other = film.clone()
    other[0] *= 10
    seen = []
    layer.proj_in.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0][:, 5]))
    for layer.over_window in (False, True):
        layer(film), layer(other)
    alone, alone_other, window, window_other = seen
    torch.testing.assert_close(alone, alone_other, atol=0, rtol=0)
    assert not torch.allclose(window, window_other)


def test_motion_scale_multiplies_the_residual_of_each_frame(layer, film):
    scale = torch.tensor([0, 0.5, 1, 2, 1, 1])
    trained = layer(film)
    with calling(Call(6, scale)):
        scaled = layer(film)
    expected = film + rearrange(scale, "f -> f 1 1 1") * (trained - film)
    torch.testing.assert_close(scaled, expected)
    assert torch.equal(scaled[0], film[0]), "a scale of 0 is exactly off"
    with calling(Call(6, torch.ones(6))):
        assert torch.equal(layer(film), trained), "a scale of 1 is exactly as trained"


def test_more_frames_than_the_module_has_positions_for_is_refused(layer):
    with pytest.raises(CheckpointError, match=r"at most 12 frames at once, and 13 [\s\S]*windows.length to 12"):
        layer(torch.randn(13, 32, 2, 2))
    assert layer(torch.randn(12, 32, 2, 2)).shape == (12, 32, 2, 2)


def test_a_call_ends_with_its_block_even_if_it_fails():
    with pytest.raises(ZeroDivisionError), calling(Call(2)):
        current(9).clip / 0
    assert current(9) == Call(9)


@pytest.fixture
def animated(unet, motion_module):
    motion.inject(unet, motion_module, shared_norm=True)
    return Unet(unet)


def inputs(clips, frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(clips * frames, 4, 8, 8, generator=generator)
    encoding = {
        "tokens": torch.randn(clips * frames, 3, 16, generator=generator),
        "motion_scale": torch.rand(clips * frames, generator=generator),
    }
    return latents, encoding


@pytest.mark.parametrize(("clips", "frames"), [(2, 5), (3, 4), (3, 1)])
def test_a_batch_of_clips_gives_the_bits_of_separate_calls(animated, clips, frames):
    latents, encoding = inputs(clips, frames)
    together = animated(latents, 499.0, encoding, clip=frames)
    rows = [slice(i * frames, (i + 1) * frames) for i in range(clips)]
    apart = [animated(latents[r], 499.0, {k: v[r] for k, v in encoding.items()}, clip=frames) for r in rows]
    assert torch.equal(together, torch.cat(apart))


def test_one_pass_over_several_clips_as_on_a_gpu_differs_by_rounding_alone(animated):
    latents, encoding = inputs(3, 4)
    in_one = animated.predicted(latents, 499.0, encoding, 4)
    torch.testing.assert_close(in_one, animated(latents, 499.0, encoding, clip=4), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(in_one, animated.predicted(latents, 499.0, encoding, 12), atol=1e-3)


def test_threads_over_one_unet_do_not_disturb_each_other(animated):
    """Each thread has its own clip length and motion scale: nothing of a call is kept on the modules."""
    jobs = [inputs(clips, frames, seed=clips) for clips, frames in ((1, 6), (2, 3), (3, 2))]
    lengths = [6, 3, 2]
    alone = [animated(*args[:1], 499.0, args[1], clip=n) for args, n in zip(jobs, lengths, strict=True)]
    results: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}
    start = threading.Barrier(3)

    def work(job):
        latents, encoding = jobs[job]
        start.wait()
        for _ in range(5):
            results[job].append(animated(latents, 499.0, encoding, clip=lengths[job]))

    threads = [threading.Thread(target=work, args=(job,)) for job in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for job, outs in results.items():
        assert len(outs) == 5
        assert all(torch.equal(out, alone[job]) for out in outs)


def test_the_shared_norms_of_v1_take_statistics_over_each_clip(unet, film):
    motion.share_norms(unet)
    norm = unet.conv_norm_out
    x = film[:, :, :2]
    with calling(Call(3)):
        ours = norm(x)
    for clip, out in zip(x.split(3), ours.split(3), strict=True):
        whole = rearrange(clip, "f c h w -> 1 c f h w")
        theirs = torch.nn.functional.group_norm(whole, 32, norm.norm.weight, norm.norm.bias, 1e-5)
        torch.testing.assert_close(rearrange(theirs, "1 c f h w -> f c h w"), out)


def test_a_card_may_allow_fewer_frames_than_the_file_holds(motion_adapter, card):
    module = motion.read(motion_adapter.state_dict(), replace(card, max_frames=8))
    with pytest.raises(CheckpointError, match="at most 8 frames"):
        module["mid_block.motion_modules.0"](torch.randn(9, 64, 2, 2))
