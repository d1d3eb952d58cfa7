"""Faster convolutions give what ordinary ones give: compared with float64, at sizes that fill no tile."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lcm_video.models.fast import convolutions
from lcm_video.models.fast.convolutions import Direct, Subpixel, best, packs, winograd_wins
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.winograd import Winograd, cook_toom

pytestmark = pytest.mark.usefixtures("compiled_or_not")

SIZES = [(2, 6, 9), (1, 16, 16), (2, 5, 7), (3, 1, 1), (9, 4, 4), (2, 70, 3)]


def images(frames, channels, height, width, dtype=torch.float32):
    torch.manual_seed(frames + height)
    return torch.randn(frames, channels, height, width).to(dtype).contiguous(memory_format=torch.channels_last)


def layer(inputs, outputs, kernel=3, dtype=torch.float32, **options):
    torch.manual_seed(inputs)
    return nn.Conv2d(inputs, outputs, kernel, **{"padding": kernel // 2, **options}).to(dtype).requires_grad_(False)


def exact(conv, x, *, bias=None, doubled=False):
    """What the layer gives, in float64."""
    x = x.double()
    x = F.interpolate(x, scale_factor=2.0, mode="nearest") if doubled else x
    bias = (conv.bias if bias is None else bias).double()
    return F.conv2d(x, conv.weight.double(), bias, conv.stride, conv.padding)


def off(found, wanted):
    """The difference as part of the norm."""
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert found.shape == wanted.shape
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def packed(request, monkeypatch):
    """With oneDNN's private operators, and as if there were none."""
    if not request.param:
        monkeypatch.setattr(convolutions, "packs", lambda device, dtype: False)
    return request.param


@pytest.mark.parametrize(("outputs", "taps"), [(4, 3), (3, 2), (2, 3)])
def test_the_matrices_of_cook_and_toom_correlate_exactly(outputs, taps):
    a, g, b = cook_toom(outputs, taps)
    stretch, kernel = torch.randn(outputs + taps - 1).double(), torch.randn(taps).double()
    wanted = F.conv1d(stretch[None, None], kernel[None, None])[0, 0]
    assert torch.allclose(a @ ((g @ kernel) * (b @ stretch)), wanted, atol=1e-12)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel", "padding", "tile"), [(3, 1, 4), (2, 1, 3), (3, 0, 4)])
def test_winograd_is_the_convolution(size, kernel, padding, tile, keep):
    frames, height, width = size
    if min(height, width) + 2 * padding < kernel:
        pytest.skip("smaller than the kernel")
    x, conv = images(frames, 24, height, width), layer(24, 10, kernel, padding=padding)
    fast = Winograd(conv.weight, conv.bias, padding=padding, tile=tile, keep=keep)
    wanted, other = exact(conv, x), torch.linspace(-1, 1, 10)
    assert off(fast(x), wanted) < 1.5e-6
    added = images(*wanted.shape)
    assert off(fast(x, bias=other, residual=added), exact(conv, x, bias=other) + added.double()) < 1.5e-6


def test_winograd_rounds_little_where_many_channels_are_summed():
    x, conv = images(1, 512, 16, 16), layer(512, 32)
    assert off(Winograd(conv.weight, conv.bias)(x), exact(conv, x)) < 1.5e-6


def test_winograd_may_add_onto_the_image_it_adds_to_and_use_memory_again():
    x, conv, scratch = images(1, 16, 18, 21), layer(16, 16), Scratch()
    fast = Winograd(conv.weight, conv.bias, keep=False)
    for _ in range(2):
        onto = images(1, 16, 18, 21).permute(0, 2, 3, 1).contiguous()
        wanted = exact(conv, x) + onto.permute(0, 3, 1, 2).double()
        fast.write(fast.padded(x, scratch), onto, added=onto, scratch=scratch)
        assert off(onto.permute(0, 3, 1, 2), wanted) < 1.5e-6


def test_weights_of_two_layers_in_turn_are_made_once(monkeypatch):
    x, scratch, made, make = images(1, 16, 16, 16), Scratch(), [], Winograd._make
    layers = [Winograd((conv := layer(16, 16 + n)).weight, conv.bias, keep=False) for n in (0, 4, 8)]
    monkeypatch.setattr(Winograd, "_make", lambda layer, out: (made.append(out), make(layer, out)))

    def through(*numbers):
        made.clear()
        for number in numbers:
            fast = layers[number]
            out = torch.empty(1, 16, 16, fast.outputs)
            fast.write(fast.padded(x, scratch), out, scratch=scratch)
            assert off(out.permute(0, 3, 1, 2), exact(layer(16, fast.outputs), x)) < 1.5e-6
        return len(made)

    assert through(0, 1, 0, 1, 0, 1) == 2
    assert through(2, 1, 2, 1) == 1, "the third takes the place of the first"
    assert through(0, 1) == 2


def test_winograd_works_in_float32_whatever_it_is_given():
    x, conv = images(2, 64, 18, 21, torch.bfloat16), layer(64, 48, dtype=torch.bfloat16)
    fast, added = Winograd(conv.weight, conv.bias, keep=False), images(2, 48, 18, 21, torch.bfloat16)
    wanted = exact(conv, x) + added.double()
    assert fast(x, residual=added).dtype == torch.bfloat16
    assert off(fast(x, residual=added), wanted) < 1.01 * off(wanted.bfloat16(), wanted)


def test_weights_that_are_made_when_needed_are_not_copied():
    conv = layer(16, 16).to(memory_format=torch.channels_last)
    assert Winograd(conv.weight, conv.bias, keep=False).plain.data_ptr() == conv.weight.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1)])
def test_the_direct_convolution_is_the_layer(packed, size, kernel, stride, dtype):
    frames, height, width = size
    x, conv = images(frames, 16, height, width, dtype), layer(16, 24, kernel, dtype, stride=stride)
    fast, limit = best(conv, pixels=(16, 16)), 1e-6 if dtype == torch.float32 else 5e-3
    assert isinstance(fast, Direct)
    wanted, other = exact(conv, x), torch.linspace(-1, 1, 48, dtype=dtype)[::2]  # not in one piece of memory
    assert off(fast(x), wanted) < limit
    added = images(*wanted.shape, dtype)
    assert off(fast(x, bias=other, residual=added), exact(conv, x, bias=other) + added.double()) < limit


def test_zeros_on_two_sides_only_as_an_encoder_has_them(packed):
    x, conv = images(2, 8, 10, 12), layer(8, 8, stride=2, padding=0)
    fast = Direct(conv.weight, conv.bias, stride=2, padding=0, edges=(0, 1, 0, 1))
    assert off(fast(x), exact(conv, F.pad(x, (0, 1, 0, 1)))) < 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("winograd", "dtype", "limit"),
    [(True, torch.float32, 1e-6), (False, torch.float32, 1e-6), (False, torch.bfloat16, 6e-3)],
)
@pytest.mark.parametrize("outputs", [12, 32])  # compiled layers take only multiples of 16
def test_doubling_and_convolving_in_one(packed, size, winograd, dtype, limit, outputs):
    frames, height, width = size
    x, conv = images(frames, 16, height, width, dtype), layer(16, outputs, dtype=dtype)
    fast = Subpixel(conv.weight, conv.bias, winograd=winograd, keep=False)
    wanted, other = exact(conv, x, doubled=True), torch.linspace(-1, 1, outputs, dtype=dtype)
    assert off(fast(x), wanted) < limit
    added = images(*wanted.shape, dtype)
    assert off(fast(x, bias=other, residual=added), exact(conv, x, bias=other, doubled=True) + added.double()) < limit


def test_the_best_convolution_by_channels_pixels_kernel_and_precision(monkeypatch):
    def kind(conv, pixels=(32, 32), **options):
        found = best(conv, pixels=pixels, **options)
        return type(found.inner if isinstance(found, Subpixel) else found)

    compiled = convolutions.calls.winograd_fits(layer(16, 16).weight, 4)
    assert kind(layer(128, 128)) is Winograd
    assert kind(layer(128, 128), winograd="off") is Direct
    assert kind(layer(128, 64)) is (Winograd if compiled else Direct)
    assert kind(layer(128, 40)) is Direct
    assert kind(layer(16, 16), (16, 16)) is (Winograd if compiled else Direct)
    assert kind(layer(16, 16), (7, 9)) is Direct
    assert kind(layer(128, 256), (16, 16)) is (Winograd if compiled else Direct)
    assert kind(layer(256, 256), (16, 16)) is Direct
    assert kind(layer(256, 256), (16, 16), frames=2) is Winograd
    assert kind(layer(128, 128, stride=2)) is Direct
    assert kind(layer(128, 128, 1)) is Direct
    assert kind(layer(32, 32), (2, 2), doubling=True) is (Winograd if compiled else Direct)
    wide = layer(512, 512, dtype=torch.bfloat16)
    monkeypatch.setattr(convolutions, "bfloat16_unit", lambda: "AVX512-BF16")
    narrow = layer(128, 128, dtype=torch.bfloat16)
    assert kind(narrow, (64, 64)) is (Winograd if convolutions.calls.winograd_fits(narrow.weight, 4) else Direct)
    assert kind(wide, (64, 64)) is Winograd
    assert kind(wide, (16, 16)) is Direct
    assert kind(wide, (64, 64), doubling=True) is Direct
    monkeypatch.setattr(convolutions, "bfloat16_unit", lambda: "AMX-BF16")
    assert kind(wide, (64, 64)) is Direct
    assert kind(layer(256, 192), doubling=True) is Direct
    assert kind(layer(256, 256), doubling=True) is Winograd
    assert best(layer(512, 256), pixels=(32, 32), winograd="made").kept is None
    if compiled:
        assert best(layer(64, 64), pixels=(32, 32), winograd="made").kept is not None
    assert best(layer(256, 256), pixels=(32, 32)).kept is not None
    assert not winograd_wins(layer(128, 128, padding="valid"), 4096)


def test_operators_that_are_missing_or_wrong_are_not_used(monkeypatch):
    packs.cache_clear()
    monkeypatch.setattr(convolutions, "_packed", lambda x, *rest: torch.zeros_like(x))
    assert not packs("cpu", torch.float32)
    packs.cache_clear()
    monkeypatch.delattr(convolutions, "_reordered")
    monkeypatch.setattr(convolutions, "_reordered", lambda *rest: torch._C._nn.no_such_operator, raising=False)
    assert not packs("cpu", torch.float32)
    packs.cache_clear()
    assert not packs("cuda", torch.float32)


def test_threads_may_share_a_convolution():
    conv = layer(128, 128)
    fast, x = best(conv, pixels=(32, 32), winograd="made"), [images(1, 128, 24, 20 + n) for n in range(6)]
    alone = [fast(one) for one in x]
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(*pair) for pair in zip(alone, pool.map(fast, x), strict=True))
