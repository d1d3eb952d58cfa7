"""Latents to frames: range, order, and that nothing which is not a number is ever drawn."""

import numpy as np
import pytest
import torch

from lcm_video.decoder import decode
from lcm_video.errors import NumbersError
from lcm_video.models.vae import Vae


class Flat:
    """A VAE whose pixels are its latents."""

    channels, factor = 4, 1

    def __init__(self):
        self.batches = []

    def encode(self, images, /):
        raise NotImplementedError

    def decode(self, latents, /):
        self.batches.append(len(latents))
        return latents[:, :3]


class Queued(Flat):
    """As `Flat`, decoding as on a GPU: begun early, waited for later. Tells what it did, in order."""

    overlaps = True

    def __init__(self):
        super().__init__()
        self.log = []

    def later(self, latents, finish, /):
        self.log.append(f"begin {latents[0, 0, 0, 0]:g}")

        def wait():
            self.log.append(f"wait {latents[0, 0, 0, 0]:g}")
            return list(finish(latents[:, :3]))

        return wait


def latents(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 4, 2, 3)


@pytest.mark.parametrize("vae", [Flat, Queued])
def test_decoding_maps_the_whole_range_and_clips_beyond_it(vae):
    frames = [*decode(vae(), latents(-1.2, -1.0, 0.0, 1.0, 1.2), batch=2)]
    assert [frame[0, 0, 0] for frame in frames] == [0, 0, 128, 255, 255]
    assert all(frame.shape == (2, 3, 3) and frame.dtype == np.uint8 for frame in frames)


def test_the_largest_number_of_16_bits_is_white_not_nothing():
    (frame,) = decode(Flat(), latents(65504.0).half())
    assert (frame == 255).all()


def test_frames_come_before_later_ones_are_decoded():
    vae = Flat()
    frames = decode(vae, latents(*[0.0] * 10), batch=4)
    next(frames)
    assert vae.batches == [4]
    assert len([*frames]) == 9
    assert vae.batches == [4, 4, 2]


def test_on_a_gpu_the_next_batch_is_begun_before_one_is_waited_for():
    vae = Queued()
    frames = decode(vae, latents(0.0, 0.1, 0.2, 0.3, 0.4), batch=2)
    next(frames)
    assert vae.log == ["begin 0", "begin 0.2", "wait 0"]
    assert len([*frames]) == 4
    assert vae.log == ["begin 0", "begin 0.2", "wait 0", "begin 0.4", "wait 0.2", "wait 0.4"]


@pytest.mark.parametrize("vae", [Flat, Queued])
def test_no_latents_are_no_frames(vae):
    assert [*decode(vae(), torch.zeros(0, 4, 2, 3))] == []


@pytest.mark.parametrize("vae", [Flat, Queued])
def test_pixels_that_are_no_numbers_are_refused_not_drawn_black(vae):
    given = latents(0.0, 0.0, 0.0, 0.0, 0.0).clone()
    given[3, 1] = float("nan")
    drawn = []
    with pytest.raises(NumbersError, match="frame 3: what is to be decoded is not numbers") as caught:
        drawn.extend(decode(vae(), given, batch=2))
    assert len(drawn) == 2, "what came before is good"
    assert caught.value.exit_code == 6


def test_a_vae_that_decodes_to_no_numbers_is_named_with_the_frames():
    class Broken(Flat):
        def decode(self, latents, /):
            pixels = latents[:, :3].clone()
            pixels[pixels[:, 0, 0, 0] > 0] = float("inf")
            return pixels

    with pytest.raises(NumbersError, match="frames 2, 3: the VAE decoded to what is not numbers") as caught:
        [*decode(Broken(), latents(0.0, 0.0, 1.0, 1.0))]
    assert "model.vae" in caught.value.remedy


# The VAE's own guard: what overflows in 16 bits is decoded again in float32.


@pytest.fixture
def overflowing(embedded_parts):
    """The embedded VAE in 16 bits, a layer of which overflows for frames that are bright enough; and its latents."""
    from copy import deepcopy

    model = deepcopy(embedded_parts.vae.model).bfloat16()
    ran = []

    def overflow(module, inputs, out):
        ran.append((module.weight.dtype, len(out)))
        if out.dtype != torch.float32:
            out = torch.where(inputs[0].amax(dim=(1, 2, 3), keepdim=True) > 3, float("inf"), out)
        return out

    model.decoder.conv_in.register_forward_hook(overflow)
    drawn = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    drawn[2] += 4
    return Vae(model), drawn, ran


def test_what_overflows_is_decoded_again_in_float32_and_nothing_else_is(overflowing, embedded_parts):
    vae, drawn, ran = overflowing
    frames = [*decode(vae, drawn)]
    assert [dtype for dtype, _ in ran].count(torch.float32) == 1
    (exact,) = decode(Vae(embedded_parts.vae.model), drawn[2:3])
    assert np.abs(frames[2].astype(int) - exact).max() <= 4, "the copy is of the weights in 16 bits"
    assert vae.notes.all == ["the VAE overflows in bfloat16: what does is computed again in float32"]
    alone = [frame for latent in drawn for frame in decode(vae, latent[None])]
    assert all(np.array_equal(one, other) for one, other in zip(frames, alone, strict=True)), "whatever the batch"
    assert vae.model.dtype == torch.bfloat16


def test_in_a_batch_too_only_what_overflows_is_decoded_again(overflowing):
    vae, drawn, ran = overflowing
    pixels = vae._finite(vae._decoded, drawn)
    assert ran == [(torch.bfloat16, 4), (torch.float32, 1)]
    torch.testing.assert_close(pixels[2:3], vae._decoded(vae._in_float32(), drawn[2:3]))


def test_latents_that_are_no_numbers_are_not_blamed_on_the_vae(overflowing):
    vae, drawn, ran = overflowing
    drawn[1, 0, 0, 0] = float("nan")
    with pytest.raises(NumbersError, match="frame 1: what is to be decoded is not numbers"):
        [*decode(vae, drawn[:2])]
    assert torch.float32 not in [dtype for dtype, _ in ran]
    assert vae.notes.all == []


def test_a_vae_that_fails_in_float32_too_stops_with_no_frame_of_the_batch(overflowing):
    vae, drawn, _ = overflowing
    vae.model.decoder.conv_out.register_forward_hook(lambda module, inputs, out: out * float("nan"))
    with pytest.raises(NumbersError, match="frames 0, 1, 2, 3: the VAE decoded"):
        next(decode(vae, drawn))


def test_encoding_is_guarded_alike(overflowing, embedded_parts):
    vae, drawn, _ = overflowing
    images = Vae(embedded_parts.vae.model).decode(drawn[:2])
    vae.model.encoder.conv_in.register_forward_hook(
        lambda module, inputs, out: out if out.dtype == torch.float32 else out * float("inf")
    )
    found = vae.encode(images)
    assert found.isfinite().all()
    torch.testing.assert_close(found, Vae(embedded_parts.vae.model).encode(images), atol=0.1, rtol=0.1)


def test_on_a_gpu_too_what_overflows_is_decoded_again(overflowing):
    vae, drawn, _ = overflowing
    plain = [*decode(vae, drawn, batch=2)]
    overlapping = type("Overlapping", (Vae,), {"overlaps": True})(vae.model)
    ahead = [*decode(overlapping, drawn, batch=2)]
    assert all(np.array_equal(one, other) for one, other in zip(plain, ahead, strict=True))
