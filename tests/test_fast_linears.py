"""Linear layers, feed-forwards and norms of the fast UNet, each alone."""

import pytest
import torch
from diffusers.models.attention import FeedForward as PlainFeedForward

from lcm_video.models.fast import layout, linears
from lcm_video.models.fast.linears import FeedForward, LayerNorm

pytestmark = pytest.mark.usefixtures("compiled_or_not")


def apart(ours, theirs):
    """The distance as a share of the norm."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return float((ours - theirs).norm() / theirs.norm())


def test_operators_that_compute_something_else_are_not_used(monkeypatch):
    honest = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(linears.torch.ops.mkldnn, "_linear_pointwise", lambda *given: honest(*given) * 1.01)
    linears.packs.cache_clear()
    assert not linears.packs(torch.float32)
    monkeypatch.undo()
    linears.packs.cache_clear()


@pytest.mark.parametrize(("rows", "into", "out"), [(3, 8, 5), (4096, 32, 96), (64, 320, 640), (1, 512, 512)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_linear_layer_and_what_follows_it(rows, into, out, dtype):
    torch.manual_seed(0)
    x, other = torch.randn(rows, into, dtype=dtype), torch.randn(rows, out, dtype=dtype)
    weight, bias = torch.randn(out, into, dtype=dtype) / into**0.5, torch.randn(out, dtype=dtype)
    made, kept = linears.Linear(weight, bias), other.clone()
    product = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    limit = 1e-6 if dtype == torch.float32 else 8e-3
    gelu = torch.nn.functional.gelu(product)
    for ours, theirs in ((made(x), product), (made(x, other), product + other), (made.times(x, other), product * other),
                         (made.gelu(x), gelu), (made(x, bias=bias * 2), product + bias.double())):  # fmt: skip
        assert apart(ours.double(), theirs) < limit
    assert torch.equal(other, kept)
    assert torch.equal(made.weight, weight)


def test_a_wide_feed_forward_is_the_same_in_pieces(monkeypatch):
    torch.manual_seed(0)
    plain = PlainFeedForward(64, activation_fn="geglu").requires_grad_(False)
    layer = FeedForward(plain.net[0].proj, plain.net[2])
    x, norm = torch.randn(1300, 64), LayerNorm.of(torch.nn.LayerNorm(64).requires_grad_(False))
    whole = layer(x, norm)
    monkeypatch.setattr(linears, "WIDE", 1300 * 256 * 4)
    pieces = layer(x, norm)
    assert pieces.data_ptr() != x.data_ptr()
    torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=1e-6)


def test_a_norm_of_groups_far_from_zero_is_as_exact_as_of_those_around_it():
    """PyTorch's kernel for channels-last images is not: a golden network of one channel a group came out 92 % off."""
    layer = torch.nn.GroupNorm(4, 8).requires_grad_(False)
    x = (torch.randn(3, 8, 6, 5) + torch.randn(3, 8, 1, 1) * 3000).contiguous(memory_format=torch.channels_last)
    for over_clip in (False, True):
        whole = x.transpose(0, 1)[None] if over_clip else x
        theirs = torch.nn.functional.group_norm(whole.double(), 4, layer.weight.double(), layer.bias.double(), 1e-5)
        theirs = theirs[0].transpose(0, 1) if over_clip else theirs
        assert apart(layout.GroupNorm(layer, over_clip)(x).double(), theirs) < 5e-5
