"""The layers in C++ give what PyTorch's give: compared with float64, for every instruction set this machine has."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lcm_video.models.fast import compiled
from lcm_video.models.fast.compiled import calls
from lcm_video.models.fast.compiled.weights import Norm, Widening, words
from lcm_video.models.fast.winograd import Winograd

ROOT = Path(__file__).parents[1]
NEAR = {torch.float32: 2e-6, torch.bfloat16: 6e-3}
"""How far from float64 as a share of the norm; PyTorch's own kernels are as far, within a third."""

found = {level: compiled.library(level) for level in ("avx2", "avx512")}
KINDS = [("avx2", torch.float32), ("avx512", torch.float32), ("avx512", torch.bfloat16)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{str(kind[1])[6:]}")
def dtype(request, monkeypatch):
    """Each kind of numbers, with the library for each instruction set."""
    level, dtype = request.param
    has = torch.backends.cpu.get_cpu_capability().lower()
    if found[level].calls is None or level > has:
        pytest.skip(f"this machine has {has}; {found[level].what}")
    monkeypatch.setattr(compiled, "library", lambda: found[level])
    if not compiled.built_for(torch.zeros(1, dtype=dtype)):
        pytest.skip(f"not for {dtype} on this machine")
    return dtype


def numbers(*shape, dtype, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def off(ours, wanted):
    """The difference as a share of the norm."""
    assert ours.shape == wanted.shape
    return float((ours.double() - wanted.double()).norm() / wanted.double().norm())


SHAPES = [
    # sequences, heads, queries, keys, width
    (1, 1, 1, 1, 1), (2, 3, 9, 5, 5), (3, 2, 16, 16, 16), (1, 2, 257, 77, 40), (2, 1, 8, 513, 33),
    (1, 1, 300, 1100, 160), (64, 8, 8, 8, 40),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens_first", [False, True])
def test_attention(dtype, shape, tokens_first):
    sequences, heads, queries, keys, width = shape
    q = numbers(sequences, queries, heads, width, dtype=dtype).transpose(1, 2)
    k, v = numbers(sequences, keys, 2, heads, width, dtype=dtype, seed=1).permute(2, 0, 3, 1, 4).unbind()
    rows = calls.attention(q, k, v, tokens_first=tokens_first)
    wanted = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    wanted = wanted.permute((2, 0, 1, 3) if tokens_first else (0, 2, 1, 3)).reshape(-1, heads * width)
    assert rows.dtype == dtype
    assert off(rows, wanted) < NEAR[dtype]


def test_attention_takes_views_whose_tokens_lie_apart_or_are_shared(dtype):
    # (frames, pixels, qkv, heads, width): frames are the tokens, and lie pixels apart
    whole = numbers(6, 10, 3, 2, 8, dtype=dtype)
    q, *own = whole.permute(2, 1, 3, 0, 4).unbind()
    shared = [part[:1].expand(10, -1, -1, -1) for part in own]
    for k, v in (own, shared):
        wanted = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
        assert off(calls.attention(q, k, v), wanted.transpose(1, 2).reshape(60, 16)) < NEAR[dtype]


@pytest.mark.parametrize("factor", [1e-3, 30, 3e4])
def test_attention_of_large_and_small_scores(dtype, factor):
    q, k, v = numbers(3, 1, 2, 700, 16, dtype=dtype).unbind()
    wanted = F.scaled_dot_product_attention((q * factor).double(), k.double(), v.double())
    seen = calls.attention(q * factor, k, v)
    assert torch.isfinite(seen).all()
    # Where one score in hundreds decides, its own rounding does.
    assert off(seen, wanted.transpose(1, 2).reshape(700, 32)) < NEAR[dtype] * max(1, factor)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_so(dtype, bad):
    """A film must not hide that a model has failed: see how the VAE is run again where it gives NaN."""
    q, k, v = numbers(3, 1, 1, 40, 16, dtype=dtype).unbind()
    q[0, 0, 3, 2] = bad
    assert not torch.isfinite(calls.attention(q, k, v)[3]).any()
    x = numbers(20, 32, dtype=dtype)
    x[3, 4] = bad
    norm = Norm(torch.ones(32, dtype=dtype), torch.zeros(32, dtype=dtype), 1e-5)
    out = calls.feed_forward(x, norm, widening(32, 64, dtype)[1])
    assert not torch.isfinite(out[3]).any()
    assert torch.isfinite(out[[*range(3), *range(4, 20)]]).all()
    image, made = numbers(1, 4, 4, 16, dtype=dtype), torch.empty(1, 4, 4, 16, dtype=dtype)
    image[0, 1, 1, 3] = bad
    ones = torch.ones(16, dtype=dtype)
    calls.group_norm(image, 4, ones, ones, 1e-5, made, silu=True)
    assert not torch.isfinite(made[..., :4]).any()
    assert torch.isfinite(made[..., 4:]).all()


def norm_of(width, dtype):
    """A norm as compiled layers take it, and the same in float64."""
    gain, offset = numbers(width, dtype=dtype, seed=2), numbers(width, dtype=dtype, seed=3)
    return Norm(gain, offset, 1e-5), lambda x: F.layer_norm(x.double(), (width,), gain.double(), offset.double(), 1e-5)


@pytest.mark.parametrize("rows", [1, 7, 64, 130])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (32, 96), (96, 32), (48, 64), (128, 80)])
def test_linear_layers(dtype, rows, inputs, outputs):
    if dtype != torch.float32:
        pytest.skip("in float32 only")
    x, weight, bias = (numbers(*shape, dtype=dtype) for shape in ((rows, inputs), (outputs, inputs), (outputs,)))
    residual, product = numbers(rows, outputs, dtype=dtype, seed=9), x.double() @ weight.double().t()
    assert off(calls.linear(x, words(weight), None, None), product) < NEAR[dtype]
    assert off(calls.linear(x, words(weight), bias, None), product + bias.double()) < NEAR[dtype]
    made = calls.linear(x, words(weight), bias, residual)
    assert off(made, product + bias.double() + residual.double()) < NEAR[dtype]


def widening(width, hidden, dtype):
    """Weights of a feed-forward: plain, and as compiled layers take them."""
    shapes = ((2 * hidden, width), (2 * hidden,), (width, hidden), (width,))
    plain = [(numbers(*shape, dtype=dtype, seed=n) / shape[-1] ** 0.5).to(dtype) for n, shape in enumerate(shapes)]
    return plain, Widening(width, hidden, words(plain[0]), plain[1], words(plain[2]), plain[3])


@pytest.mark.parametrize("rows", [2, 14, 66, 200])
@pytest.mark.parametrize(("width", "hidden"), [(32, 128), (64, 96), (96, 384), (320, 1280)])
def test_feed_forwards(dtype, rows, width, hidden):
    x, (plain, weights) = 3 * numbers(rows, width, dtype=dtype), widening(width, hidden, dtype)
    norm, exact = norm_of(width, dtype)
    wide, wide_bias, narrow, narrow_bias = (part.double() for part in plain)
    value, gate = F.linear(exact(x), wide, wide_bias).chunk(2, dim=1)
    wanted = x.double() + F.linear(value * F.gelu(gate), narrow, narrow_bias)
    assert off(calls.feed_forward(x, norm, weights), wanted) < NEAR[dtype]


def test_a_feed_forward_is_rounded_once_to_what_it_is_added_to(dtype):
    if dtype != torch.float32:
        pytest.skip("in bfloat16 the last rounding hides it")
    x, (plain, weights) = 10 * numbers(64, 64, dtype=dtype), widening(64, 256, dtype)
    norm, exact = norm_of(64, dtype)
    value, gate = F.linear(exact(x), *(part.double() for part in plain[:2])).chunk(2, dim=1)
    wanted = x.double() + F.linear(value * F.gelu(gate), *(part.double() for part in plain[2:]))
    assert off(calls.feed_forward(x, norm, weights), wanted) < 1e-7


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 5), (1, 40, 33), (3, 16, 16)])
@pytest.mark.parametrize(("channels", "groups"), [(16, 16), (32, 8), (96, 32), (320, 32), (512, 32)])
@pytest.mark.parametrize("silu", [False, True])
def test_group_norms(dtype, size, channels, groups, silu):
    x = (2 * numbers(*size, channels, dtype=dtype) + 1).to(dtype)
    gain, offset = numbers(channels, dtype=dtype, seed=2), numbers(channels, dtype=dtype, seed=3)
    apart = x.double().view(size[0], -1, groups, channels // groups)
    apart = apart - apart.mean((1, 3), keepdim=True)
    apart = (apart * apart.pow(2).mean((1, 3), keepdim=True).add(1e-5).rsqrt()).view(x.shape)
    wanted = apart * gain.double() + offset.double()
    wanted = F.silu(wanted) if silu else wanted
    around = torch.full((size[0], size[1] + 2, size[2] + 2, channels), 7, dtype=dtype)
    for out_dtype in {dtype, torch.float32}:
        larger = around.to(out_dtype)
        inner = larger[:, 1:-1, 1:-1]
        calls.group_norm(x, groups, gain, offset, 1e-5, inner, silu=silu)
        assert off(inner, wanted) < NEAR[out_dtype]
        assert (larger[:, 0] == 7).all(), "what is around an image stays"
        assert (larger[:, :, -1] == 7).all()


@pytest.mark.parametrize("mean", [3000.0, -1e5])
def test_a_group_norm_of_numbers_far_from_zero_keeps_its_digits(dtype, mean):
    if dtype != torch.float32:
        pytest.skip("bfloat16 has no such digits")
    x = numbers(2, 40, 40, 32, dtype=dtype) + mean * torch.linspace(1, 1.001, 32)
    out, ones = torch.empty_like(x), torch.ones(32)
    calls.group_norm(x, 8, ones, ones, 1e-5, out, silu=False)
    wanted = F.group_norm(x.double().permute(0, 3, 1, 2), 8, ones.double(), ones.double(), 1e-5).permute(0, 2, 3, 1)
    assert off(out, wanted) < abs(mean) * 1e-7


def test_bits_do_not_depend_on_threads(dtype):
    """A film that goes on where another machine's cores left it must be the same film."""

    def everything():
        q, k, v = numbers(3, 2, 3, 300, 24, dtype=dtype).unbind()
        yield calls.attention(q, k, v)
        yield calls.attention(q[:1, :1], k[:1, :1], v[:1, :1])
        x, norm = numbers(150, 32, dtype=dtype), norm_of(32, dtype)[0]
        yield calls.feed_forward(x, norm, widening(32, 128, dtype)[1])
        if dtype == torch.float32:
            yield calls.linear(x, words(numbers(48, 32, dtype=dtype)), None, None)
            x = numbers(3, 32, 18, 17, dtype=dtype).contiguous(memory_format=torch.channels_last)
            yield Winograd(numbers(32, 32, 3, 3, dtype=dtype), numbers(32, dtype=dtype))(x)
        image, ones = numbers(2, 70, 90, 32, dtype=dtype), torch.ones(32, dtype=dtype)
        calls.group_norm(image, 8, ones, ones, 1e-5, made := torch.empty_like(image), silu=True)
        yield made

    before = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            made.append([*everything()])
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(torch.equal(*pair) for pair in zip(made[0], other, strict=True))


def test_too_little_memory_is_an_error_and_not_the_end(dtype, monkeypatch):
    """`MemoryError` is what a render knows how to go on after, with smaller pieces."""
    q = numbers(1, 1, 40, 16, dtype=dtype)
    image, ones = numbers(1, 4, 4, 16, dtype=dtype), torch.ones(16, dtype=dtype)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2**40)
    with pytest.raises(MemoryError, match="no memory to work in"):
        calls.attention(q, q, q)
    with pytest.raises(MemoryError, match="no memory to work in"):
        calls.feed_forward(numbers(4, 32, dtype=dtype), norm_of(32, dtype)[0], widening(32, 64, dtype)[1])
    monkeypatch.undo()
    calls.group_norm(image, 4, ones, ones, 1e-5, torch.empty_like(image), silu=True)


def test_other_numbers_and_devices_are_left_to_pytorch():
    for tensor in (torch.zeros(1).half(), torch.zeros(1).double(), torch.zeros(1, device="meta")):
        assert compiled.built_for(tensor) == ""
    q = torch.randn(1, 2, 5, 8, dtype=torch.float64)
    assert torch.equal(calls.attention(q, q, q), F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(5, 16))


def test_a_library_that_cannot_serve_is_not_used_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "FOLDER", tmp_path)
    load = compiled.library.__wrapped__
    assert load("avx512").calls is None
    assert "no layers were compiled for AVX512" in load("avx512").what
    assert "DEFAULT" in load("default").what
    (tmp_path / "avx2.so").write_bytes(b"no library")
    assert "cannot be loaded" in load("avx2").what
    if found["avx2"].calls is not None:
        for file in (ROOT / "lcm_video/models/fast/compiled").iterdir():
            if file.suffix in (".so", ".cpp", ".h"):
                shutil.copy(file, tmp_path)
        (tmp_path / "rows.cpp").write_text("// changed since")
        assert "of another version: install lcm-video again" in load("avx2").what


BUILD = """
import sys, types
hooks = types.ModuleType("hatchling.builders.hooks.plugin.interface")
hooks.BuildHookInterface = list
sys.modules.update({name: types.ModuleType(name) for name in ("hatchling", "hatchling.builders",
    "hatchling.builders.hooks", "hatchling.builders.hooks.plugin")})
sys.modules[hooks.__name__] = hooks
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import hatch_build
print(*(path.name for path in hatch_build.build(Path(sys.argv[2]))))
"""
"""Builds as hatchling would have it done, which is here only while the package is installed."""


@pytest.mark.parametrize("compiler", ["", "no-such-compiler", "false"])
def test_building_them_never_fails(tmp_path, compiler, monkeypatch):
    for file in (ROOT / "lcm_video/models/fast/compiled").iterdir():
        if file.suffix in (".cpp", ".h"):
            shutil.copy(file, tmp_path)
    monkeypatch.setenv("CXX", compiler or "c++")
    done = subprocess.run([sys.executable, "-c", BUILD, ROOT, tmp_path], capture_output=True, text=True, check=True)
    if compiler or not shutil.which("c++"):
        assert done.stdout == "\n"
        assert not done.stderr or "compiled layers for avx512 were not built" in done.stderr
    assert sorted(path.name for path in tmp_path.glob("*.so")) == done.stdout.split()
    assert not [*tmp_path.glob("*.o")]
    assert sum(path.is_dir() for path in tmp_path.iterdir()) == 0
