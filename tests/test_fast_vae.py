"""The fast decoder gives what diffusers' gives: at every size, in both precisions, for every VAE that it knows."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn

import lcm_video as lv
from lcm_video.models.fast import convolutions, vae as fast_vae, vae_of
from lcm_video.models.fast.vae_layers import Norm

pytestmark = pytest.mark.usefixtures("compiled_or_not")


def vae(channels=(16, 32), layers=1, dtype=torch.float32, **options):
    """A VAE of the real class with small random weights."""
    torch.manual_seed(0)
    blocks = len(channels)
    model = AutoencoderKL(
        block_out_channels=channels, layers_per_block=layers, latent_channels=4, norm_num_groups=8, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks, **options,
    )  # fmt: skip
    for name, weight in model.named_parameters():
        if "norm" in name:
            nn.init.normal_(weight, mean=float(name.endswith("weight")), std=0.2)
    return model.to(dtype).eval().requires_grad_(False)


def latents(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def plain(model, z):
    with torch.inference_mode():
        return model.decode(z, return_dict=False)[0]


def off(found, wanted):
    assert found.shape == wanted.shape
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def colours(images):
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def lsb(found, wanted):
    """By how much colours differ at most, of 255."""
    return int((colours(found).int() - colours(wanted).int()).abs().max())


@pytest.mark.parametrize("size", [(8, 8), (1, 1), (5, 7), (16, 9)])
@pytest.mark.parametrize("frames", [1, 3])
def test_decoding_is_that_of_diffusers(frames, size):
    model, z = vae(), latents(frames, 4, *size)
    found = vae_of(model)(z)
    assert off(found, plain(model, z)) < 5e-6
    assert lsb(found, plain(model, z)) <= 1
    assert found.permute(0, 2, 3, 1).is_contiguous(), "colours lie beside each other, as encoders want them"


@pytest.mark.parametrize("size", [(32, 32), (24, 37)])
def test_decoding_in_winograds_domain_is_that_of_diffusers(size):
    model, z = vae((128, 256)), latents(1, 4, *size)
    found = vae_of(model, latents=size)(z)
    exact = plain(copy.deepcopy(model).double(), z.double())
    assert off(found, exact) < 5e-6
    assert lsb(found, plain(model, z)) <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"mid_block_add_attention": False},
        {"use_post_quant_conv": False, "use_quant_conv": False},
        {"layers": 2, "channels": (8, 16, 16, 24)},
    ],
)
def test_the_shapes_that_these_vaes_come_in(options):
    model, z = vae(**options), latents(2, 4, 6, 5)
    assert off(vae_of(model)(z), plain(model, z)) < 5e-6


@pytest.mark.parametrize("winograd", [False, True])
def test_in_bfloat16_it_is_as_near_as_diffusers_is(monkeypatch, winograd):
    monkeypatch.setattr(convolutions, "winograd_wins", lambda conv, pixels, doubling: winograd and not doubling)
    model, z = vae(), latents(2, 4, 8, 8)
    exact = plain(model, z)
    half = copy.deepcopy(model).bfloat16()
    found, theirs = vae_of(half)(z.bfloat16()), plain(half, z.bfloat16())
    assert found.dtype == torch.bfloat16
    assert off(found, exact) < 1.3 * off(theirs, exact)


def test_the_embedded_vae(embedded_parts):
    model, z = embedded_parts.vae.model, latents(3, 4, 8, 8)
    found = vae_of(model)(z)
    assert off(found, plain(model, z)) < 5e-6
    assert lsb(found, plain(model, z)) <= 1


def test_a_frame_has_the_same_bits_whatever_it_is_decoded_with():
    z = latents(5, 4, 9, 8)
    for model in (vae(), vae((128, 128))):
        decode = vae_of(model, latents=(32, 32))
        together = decode(z)
        for batch in (1, 2, 3):
            assert torch.equal(torch.cat([decode(some) for some in z.split(batch)]), together)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_go_through_all_frames_or_frames_through_all_layers_with_the_same_bits(monkeypatch, dtype):
    monkeypatch.setattr(fast_vae, "FEW", 1)
    monkeypatch.setattr(convolutions, "winograd_wins", lambda conv, pixels, doubling: conv.out_channels > 4)
    decode, z = vae_of(vae((64, 96), 2, dtype)), latents(3, 4, 9, 8, dtype=dtype)
    frame_by_frame, layers = torch.cat([decode(one[None]) for one in z]), len(decode.layers)
    for held, early in ((0, 0), (3 * 96 * 72, 6), (2**40, layers)):
        monkeypatch.setattr(fast_vae, "HELD", held)
        assert decode._early(3 * 72) == early
        assert torch.equal(decode(z), frame_by_frame)


def test_threads_may_share_a_decoder():
    decode = vae_of(vae((128, 128)), latents=(32, 32))
    z = [latents(1, 4, 6 + n, 7) for n in range(4)]
    alone = [decode(one) for one in z]
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(*pair) for pair in zip(alone, pool.map(decode, z), strict=True))


def test_weights_that_were_taken_are_shared_and_the_model_goes_on_working():
    model, z = vae((32, 288)), latents(1, 4, 8, 8)
    before, encoded = plain(model, z), model.encode(torch.zeros(1, 3, 8, 8)).latent_dist.mean
    decode = vae_of(model, take=True, latents=(32, 32))
    assert off(decode(z), before) < 5e-6
    assert off(plain(model, z), before) < 5e-6
    assert torch.equal(model.encode(torch.zeros(1, 3, 8, 8)).latent_dist.mean, encoded)
    wide = model.decoder.mid_block.resnets[0].conv1.weight
    shared = [layer.first.conv.plain.data_ptr() for layer in decode.layers[:1]]
    assert shared == [wide.data_ptr()]


def test_large_images_are_normed_as_in_float64():
    """PyTorch's own kernel, given channels-last images, is wrong by 4e-5 here."""
    norm = nn.GroupNorm(2, 8, eps=1e-6).requires_grad_(False)
    nn.init.normal_(norm.weight)
    x = latents(1, 512, 512, 8) * 3 + 2
    exact = nn.functional.silu(copy.deepcopy(norm).double()(x.permute(0, 3, 1, 2).double()))
    assert off(Norm(norm)(x).permute(0, 3, 1, 2), exact) < 3e-7


def hooked(model):
    model.decoder.conv_in.register_forward_hook(lambda *given: None)


def otherwise_scaled(model):
    model.decoder.up_blocks[0].resnets[0].output_scale_factor = 2.0


def other_activation(model):
    model.decoder.mid_block.resnets[0].nonlinearity = nn.GELU()


def own_attention(model):
    model.decoder.mid_block.attentions[0].set_processor(lambda attention, x, **rest: x)


@pytest.mark.parametrize(
    "change",
    [
        hooked, otherwise_scaled, other_activation, own_attention, AutoencoderKL.enable_tiling,
        AutoencoderKL.enable_slicing, AutoencoderKL.half,
    ],
)  # fmt: skip
def test_a_model_that_does_something_else_has_no_fast_decoder(change):
    model = vae()
    assert vae_of(model) is not None
    change(model)
    assert vae_of(model) is None


def test_other_classes_have_no_fast_decoder():
    class Own(AutoencoderKL):
        pass

    model = vae()
    model.__class__ = Own
    assert vae_of(model) is None
    assert AutoencoderTiny is not AutoencoderKL


def test_a_frame_has_the_same_bits_however_many_are_decoded_with_it():
    vae = lv.Pipeline.load(lv.load("embedded", ["prompts=x"]).model).vae
    latents = torch.randn(7, 4, 8, 9, generator=torch.Generator().manual_seed(0))
    whole = vae.decode(latents)
    for batch in (1, 2, 3, 5):
        assert torch.equal(torch.cat([vae.decode(these) for these in latents.split(batch)]), whole), batch
