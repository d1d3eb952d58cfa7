"""Whole transformers in one compiled call give what the layers give in float64, for every instruction set here."""

import copy

import pytest
import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from lcm_video.models import call as plain_call
from lcm_video.models.fast import compiled, narrow
from lcm_video.models.fast.compiled import weights
from lcm_video.models.fast.keyframes import KeysAndValues
from lcm_video.models.fast.narrow import NarrowSpatial, NarrowTemporal, fits
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.transformers import Call, Spatial, Temporal
from lcm_video.models.motion import SharedNorm
from lcm_video.models.temporal import TemporalLayer

NEAR = 2e-6
"""How far from float64 as a share of the norm; layer by layer it is as far, within a third."""

found = {level: compiled.library(level) for level in ("avx2", "avx512")}


@pytest.fixture(params=["avx2", "avx512"], autouse=True)
def level(request, monkeypatch):
    """Each library that this machine can run; in one call from a single frame on."""
    monkeypatch.setattr(narrow, "SOME", 1)
    has = torch.backends.cpu.get_cpu_capability().lower()
    if found[request.param].calls is None or request.param > has:
        pytest.skip(f"this machine has {has}; {found[request.param].what}")
    monkeypatch.setattr(compiled, "library", lambda: found[request.param])


def images(frames, channels, height, width, seed=1):
    x = torch.randn(frames, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def apart(ours, theirs):
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs).norm() / theirs.norm())


def transformer(channels=32, heads=2, *, depth=1, groups=8, features=24, linear=False):
    torch.manual_seed(0)
    return Transformer2DModel(
        heads, channels // heads, channels, num_layers=depth, norm_num_groups=groups, cross_attention_dim=features,
        use_linear_projection=linear,
    ).requires_grad_(False)  # fmt: skip


def temporal(channels=32, heads=2, **options):
    torch.manual_seed(0)
    layer = TemporalLayer(channels, heads=heads, groups=8, **options).requires_grad_(False)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return layer


def called(keys_values=None, scale=None):
    return Call([], keys_values or KeysAndValues([], [], torch.zeros(0, 2)), scale, Scratch())


def keys_of(projections, prompts, between=None, shares=None):
    """Keys and values of frames between prompts (prompts, tokens, features); or each has its own."""
    rows = [[project(prompt) for project in projections] for prompt in prompts]
    between = between or [(number, number) for number in range(len(prompts))]
    return KeysAndValues(rows, between, torch.ones(len(between), 2) / 2 if shares is None else shares)


def spatially(layer, x, prompts, between=None, shares=None):
    """Ours, and what the layer gives in float64."""
    projections = []
    one = NarrowSpatial(layer, projections)
    ours = one(x, called(keys_of(projections, prompts, between, shares)))
    seen = prompts.double()
    if between is not None:
        shares = torch.ones(len(x), 2) / 2 if shares is None else shares
        seen = sum(shares[:, i, None, None].double() * seen[[pair[i] for pair in between]] for i in (0, 1))
    return ours, copy.deepcopy(layer).double()(x.double(), seen, return_dict=False)[0]


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 2, 2), (2, 7, 9), (5, 16, 16), (1, 24, 23)])
@pytest.mark.parametrize(("channels", "heads"), [(32, 2), (64, 8), (96, 3), (128, 1)])
def test_a_transformer_over_pixels(size, channels, heads):
    frames, height, width = size
    prompts = torch.randn(frames, 77, 24, generator=torch.Generator().manual_seed(2))
    assert apart(*spatially(transformer(channels, heads), images(frames, channels, height, width), prompts)) < NEAR


@pytest.mark.parametrize("tokens", [1, 5, 600])
@pytest.mark.parametrize("depth", [1, 3])
def test_prompts_of_any_length_which_all_frames_may_share(tokens, depth):
    layer, x = transformer(depth=depth, linear=True), images(3, 32, 5, 6)
    prompts = torch.randn(3, tokens, 24, generator=torch.Generator().manual_seed(2))
    assert apart(*spatially(layer, x, prompts)) < NEAR
    assert apart(*spatially(layer, x, prompts[:1], [(0, 0)] * 3)) < NEAR


@pytest.mark.parametrize("depth", [1, 2])
def test_frames_between_prompts(depth):
    layer, x, prompts = transformer(depth=depth), images(4, 32, 5, 6), 3 * torch.randn(3, 77, 24)
    between, shares = [(0, 1), (1, 1), (2, 0), (1, 2)], torch.tensor([[0.25, 0.75], [0.5, 0.5], [1.5, -0.2], [0, 1.0]])
    assert apart(*spatially(layer, x, prompts, between, shares)) < NEAR


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 3), (16, 2, 2), (16, 5, 3), (7, 16, 16), (32, 20, 20), (300, 2, 3)])
@pytest.mark.parametrize(("channels", "heads"), [(32, 2), (64, 8), (96, 3)])
def test_a_transformer_over_frames(size, channels, heads):
    frames, height, width = size
    layer, x = temporal(channels, heads, max_frames=300), images(frames, channels, height, width)
    with plain_call.calling(plain_call.Call(frames)):
        wanted = copy.deepcopy(layer).double()(x.double())
    assert apart(NarrowTemporal(layer)(x, called()), wanted) < NEAR


def test_frames_move_as_strongly_as_each_is_told():
    layer, x, scale = temporal(), images(4, 32, 3, 5), torch.tensor([0.0, 1.0, -0.5, 2.0])
    with plain_call.calling(plain_call.Call(4, scale.double())):
        wanted = copy.deepcopy(layer).double()(x.double())
    made = NarrowTemporal(layer)(x, called(scale=scale))
    assert apart(made, wanted) < NEAR
    assert torch.equal(made[0], x[0])


def test_statistics_may_be_those_of_the_whole_clip():
    """As v1 motion modules have it, in their own norms and in those of the image UNet."""
    x, prompts = images(4, 32, 6, 5) * torch.linspace(0.1, 3, 4).view(-1, 1, 1, 1), torch.randn(4, 9, 24)
    layer = temporal(norm="window")
    alone = NarrowTemporal(temporal())(x, called())
    with plain_call.calling(plain_call.Call(4)):
        wanted = copy.deepcopy(layer).double()(x.double())
        made = NarrowTemporal(layer)(x, called())
        assert apart(made, wanted) < NEAR
        assert apart(alone, wanted) > 100 * NEAR
        layer = transformer()
        layer.norm = SharedNorm(layer.norm)
        assert apart(*spatially(layer, x, prompts)) < NEAR


def test_large_scores_and_far_off_means_keep_their_digits():
    layer, x = transformer(), images(2, 32, 8, 8) + 1000
    for projection in (layer.transformer_blocks[0].attn1.to_q, layer.transformer_blocks[0].attn2.to_q):
        projection.weight *= 30
    ours, wanted = spatially(layer, x, torch.randn(2, 40, 24))
    assert apart(ours - x, wanted - x.double()) < 2e-4  # x itself has seven digits, of which four are the mean
    assert torch.isfinite(ours).all()


def test_what_is_not_a_number_stays_in_its_frame_or_its_pixel():
    x, projections = images(3, 32, 4, 4), []
    x[1, 3, 2, 2] = float("nan")
    made = NarrowSpatial(transformer(), projections)(x, called(keys_of(projections, torch.randn(3, 9, 24))))
    assert torch.isnan(made[1]).any(dim=0).all()
    assert torch.isfinite(made[[0, 2]]).all()
    x = images(3, 32, 4, 4)
    x[1, :, 2, 2] = float("nan")
    made = NarrowTemporal(temporal(norm="frame"))(x, called())
    assert torch.isnan(made).any()


@pytest.mark.parametrize("size", [(5, 9, 7), (16, 2, 2), (1, 40, 40)])
def test_bits_do_not_depend_on_threads_nor_on_the_path(size):
    """A film that goes on where another machine's cores left it must be the same film."""
    frames, height, width = size
    x, prompts, before = images(frames, 32, height, width), torch.randn(frames, 77, 24), torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2, 7):
            torch.set_num_threads(threads)
            projections = []
            spatial = NarrowSpatial(transformer(), projections)
            keys = keys_of(projections, prompts) if not made else keys
            made.append((spatial(x, called(keys)), NarrowTemporal(temporal())(x, called())))
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert all(torch.equal(*pair) for pair in zip(made[0], other, strict=True))


def test_few_frames_run_layer_by_layer_however_many_threads_there_are(monkeypatch):
    monkeypatch.setattr(narrow, "SOME", 3)
    monkeypatch.setattr(narrow, "run", lambda *_: torch.zeros(3, 1, 1, 1))
    layer, prompts = transformer(), torch.randn(3, 9, 24)
    assert apart(*spatially(layer, images(2, 32, 5, 4), prompts[:2])) < NEAR
    projections = []
    one = NarrowSpatial(layer, projections)
    assert one(images(3, 32, 5, 4), called(keys_of(projections, prompts))).numel() == 3
    assert len(projections) == 1


def test_too_many_frames_are_refused_as_ever():
    layer = temporal(max_frames=4)
    with pytest.raises(Exception, match="at most 4 frames at once, and 5 were given"):
        NarrowTemporal(layer)(images(5, 32, 2, 2), called())


def test_too_little_memory_is_an_error(monkeypatch):
    layer, x = NarrowTemporal(temporal()), images(2, 32, 4, 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2**40)
    with pytest.raises(MemoryError, match="no memory to work in"):
        layer(x, called())


def test_layers_that_do_not_fit_run_one_by_one():
    assert fits(transformer(128, 4))
    assert fits(temporal(32))
    assert not fits(transformer(160, 4)), "its weights leave the cache"
    assert not fits(temporal(48)), "only whole vectors"
    assert not fits(transformer(32).to(torch.bfloat16)), "in float32 only"
    biased = transformer(32)
    biased.transformer_blocks[0].attn1.to_q.bias = torch.nn.Parameter(torch.zeros(32))
    assert not fits(biased)
    layer, x, prompts, projections = transformer(64, 2), images(2, 64, 4, 4), torch.randn(2, 5, 24), []
    one = Spatial(layer, projections)(x, called(keys_of(projections, prompts)))
    assert apart(one, spatially(layer, x, prompts)[1]) < NEAR
    layer, x = temporal(48), images(3, 48, 2, 2)
    with plain_call.calling(plain_call.Call(3)):
        assert apart(Temporal(layer)(x, called()), copy.deepcopy(layer).double()(x.double())) < NEAR


def test_structures_hold_what_dataclasses_do():
    one = torch.zeros(3)
    norm = weights.Norm(one, one, 0.5)
    assert (norm.plan.gain, norm.plan.epsilon) == (one.data_ptr(), 0.5)
    widening = weights.Widening(3, 7, one, one, one, one)
    attention = weights.Attention(norm, one, one, one)
    block = weights.Block(attention, attention, norm, widening)
    layer = weights.Layer(3, 1, 1, True, 2, (block, block), norm, one, one, one, one)
    assert layer.plan.blocks[1].forward.hidden == 7
    assert layer.plan.over_frames == 1
