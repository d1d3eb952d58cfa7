"""The fast UNet against the plain one: same weights, same call, to rounding."""

import threading
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel

from lcm_video.conditioning import travel, varying
from lcm_video.errors import CheckpointError
from lcm_video.models import beside, fast, lora, motion
from lcm_video.models.fast import convolutions, linears, times
from lcm_video.models.fast.unet import FastUnet
from lcm_video.models.temporal import TemporalLayer
from lcm_video.models.unet import Unet
from lcm_video.timeline import Keyframe, plan

pytestmark = pytest.mark.usefixtures("compiled_or_not")

NEAR = 5e-6
"""How far float32 outputs may lie apart, as a share of their norm; plain attention alone has 1e-6."""

BLOCKS = ("CrossAttnDownBlock2D", "DownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D")


def image_unet(channels=(32, 64, 64), seed=0, **options):
    """SD 1.5's layers at three levels; ``options`` as diffusers has them."""
    torch.manual_seed(seed)
    cross, plain, plain_up, cross_up = BLOCKS
    levels = len(channels) - 1
    sizes = {"layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": 24, "attention_head_dim": 4}
    given = {
        "down_block_types": (cross,) * levels + (plain,),
        "up_block_types": (plain_up,) + (cross_up,) * levels,
        **sizes,
        **options,
    }
    return UNet2DConditionModel(block_out_channels=channels, sample_size=8, **given).eval().requires_grad_(False)


def sdxl_unet():
    """Transformers of one and two blocks, one head count a level, and what SDXL is told beside the time."""
    return image_unet(
        (32, 64),
        down_block_types=BLOCKS[1::-1],
        up_block_types=BLOCKS[:1:-1],
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    )


def animated(unet, *, middle=True, shared_norm=False, **options):
    """``unet`` with temporal layers whose effect shows."""
    layers = {}
    torch.manual_seed(5)
    for site, places, index in motion.sites(unet):
        if middle or not site.startswith("mid_block"):
            layers[site] = TemporalLayer(places[index].out_channels, **{"heads": 4, "groups": 8, **options}).eval()
            for weight in layers[site].parameters():
                torch.nn.init.normal_(weight, std=0.15)
    motion.inject(unet, layers, shared_norm=shared_norm)
    return unet.requires_grad_(False)


KINDS = {
    "stills": image_unet,
    "v1": lambda: animated(image_unet(), middle=False, shared_norm=True, max_frames=24),
    "v2": lambda: animated(image_unet()),
    "wide": lambda: animated(image_unet((160, 320))),  # layer by layer, compiled too
    "v3": lambda: animated(image_unet(), middle=False),
    "as diffusers norms it": lambda: animated(image_unet(), norm="window"),
    "sdxl": lambda: animated(sdxl_unet(), middle=False),
}


@pytest.fixture(scope="module", params=KINDS)
def both(request, compiled_or_not):
    """The plain UNet and the fast one of the same weights."""
    model = KINDS[request.param]()
    made = fast.unet_of(model)
    assert made is not None, fast.unknown_in(model)
    return SimpleNamespace(plain=Unet(model), fast=made, sdxl="sdxl" in request.param)


def encoding_of(frames, *, sdxl=False, features=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    told = {"pooled": torch.randn(frames, 20, generator=generator)} if sdxl else {}
    return {"tokens": torch.randn(frames, 5, features, generator=generator), **told}


def latents_of(frames, height=8, width=8, seed=1):
    return torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(seed))


def apart(ours, theirs):
    """The distance as a share of the norm."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


@pytest.mark.parametrize("clip", [1, 16])
def test_it_predicts_what_the_plain_one_does(both, clip):
    x, encoding = latents_of(clip), encoding_of(clip, sdxl=both.sdxl)
    assert apart(both.fast(x, 499.0, encoding, clip), both.plain(x, 499.0, encoding, clip=clip)) < NEAR


@pytest.mark.parametrize(("height", "width"), [(9, 7), (6, 10), (13, 4)])
def test_sizes_that_do_not_halve_evenly_come_back_as_they_were(both, height, width):
    x, encoding = latents_of(3, height, width), encoding_of(3, sdxl=both.sdxl)
    assert apart(both.fast(x, 19.0, encoding, 3), both.plain(x, 19.0, encoding, clip=3)) < NEAR


def test_clips_in_one_batch_do_not_see_each_other(both):
    """Bit for bit: a film may be cut into any batches."""
    x, encoding = latents_of(6), encoding_of(6, sdxl=both.sdxl)
    together = both.fast(x, 499.0, encoding, 3)
    clips = [slice(0, 3), slice(3, 6)]
    alone = [both.fast(x[rows], 499.0, {k: v[rows] for k, v in encoding.items()}, 3) for rows in clips]
    assert torch.equal(together, torch.cat(alone))
    assert apart(together, both.plain(x, 499.0, encoding, clip=3)) < NEAR


def test_frames_may_move_as_strongly_as_each_of_them_says(both):
    x, scales = latents_of(4), torch.tensor([0.0, 0.5, 1.0, 2.0])
    encoding = encoding_of(4, sdxl=both.sdxl)
    scaled = both.fast(x, 499.0, {**encoding, "motion_scale": scales}, 4)
    assert apart(scaled, both.plain(x, 499.0, {**encoding, "motion_scale": scales}, clip=4)) < NEAR
    trained = both.fast(x, 499.0, encoding, 4)
    assert torch.equal(both.fast(x, 499.0, {**encoding, "motion_scale": torch.ones(4)}, 4), trained)


def test_the_embedded_model_is_the_same_to_seven_digits(embedded_parts):
    model = embedded_parts.unet.model
    made = fast.unet_of(model)
    for frames, height, width in ((16, 8, 8), (5, 9, 7)):
        x, encoding = latents_of(frames, height, width), encoding_of(frames, features=64)
        assert apart(made(x, 699.0, encoding, frames), Unet(model)(x, 699.0, encoding, clip=frames)) < 1e-6


def test_wide_layers_take_every_form_and_change_it_with_the_size():
    """Neighbourhoods at few pixels, Winograd at many, else direct; and back again, bit for bit."""
    model = animated(image_unet((256, 256), attention_head_dim=8))
    made, plain = FastUnet(model, take=False), Unet(model)
    outs, kinds = {}, {}
    for frames, size in ((8, 4), (2, 12), (8, 16), (2, 12), (8, 4)):
        x, encoding = latents_of(frames, size, size), encoding_of(frames)
        out = made(x, 499.0, encoding, frames)
        assert torch.equal(outs.setdefault((frames, size), out), out), "history leaves no trace"
        assert apart(out, plain(x, 499.0, encoding, clip=frames)) < NEAR
        kinds[size] = made.down[0][0][0][0].first._form.choice.kind
    assert kinds == {4: "neighbourhoods", 12: "direct", 16: "winograd"}


@pytest.mark.parametrize("kind", ["v2", "sdxl"])
def test_in_bfloat16_it_is_no_further_from_float32_than_the_plain_one(kind):
    model = KINDS[kind]()
    x, encoding = latents_of(8), encoding_of(8, sdxl=kind == "sdxl")
    exact = Unet(model)(x, 499.0, encoding, clip=8)
    half = model.to(torch.bfloat16)
    ours, theirs = fast.unet_of(half)(x, 499.0, encoding, 8), Unet(half)(x, 499.0, encoding, clip=8)
    assert ours.dtype == torch.float32, "as the latents came"
    assert apart(ours, exact) < max(1.2 * apart(theirs, exact), 0.01)


PROMPTS = {"0": Keyframe("a"), "5": Keyframe("b"), "11": Keyframe("c")}


@pytest.mark.parametrize("blend", ["linear", "slerp"])
def test_prompts_travel_by_the_keys_and_values_of_their_keyframes(blend):
    model = KINDS["v2"]()
    made, plain = fast.unet_of(model), Unet(model)
    conditioning = varying(
        travel(plan(PROMPTS, fps=8, frames=12), encoding_of(3), blend=blend), {"motion_scale": [1.5] * 12}
    )
    for frames in (range(12), range(3, 9), [5, 5, 5], [0, 11, 4]):
        x = latents_of(len(frames))
        ours = made(x, 499.0, conditioning(frames), len(frames))
        assert apart(ours, plain(x, 499.0, dict(conditioning(frames)), clip=len(frames))) < NEAR
    assert len(made.keyframes._known) == 3, "one projection for each keyframe, and none for frames"
    two = conditioning([*range(4), *range(6, 10)])
    together = made(latents_of(8), 499.0, two, 4)
    assert torch.equal(together[4:], made(latents_of(8)[4:], 499.0, conditioning(range(6, 10)), 4))


def test_prompts_are_forgotten_when_there_are_too_many(monkeypatch):
    made = fast.unet_of(KINDS["stills"]())
    x, encoding = latents_of(6), encoding_of(6)
    before = made(x, 499.0, encoding, 6)
    made.keyframes.room = 3 * sum(part.nbytes for part in next(iter(made.keyframes._known.values())))
    assert torch.equal(made(x, 1.0, encoding_of(6, seed=9), 6), made(x, 1.0, encoding_of(6, seed=9), 6))
    assert len(made.keyframes._known) == 3
    assert torch.equal(made(x, 499.0, encoding, 6), before)


def test_what_is_remembered_is_by_content_not_by_place():
    """Another prompt in the same memory must be seen."""
    model = KINDS["stills"]()
    made, encoding = fast.unet_of(model), encoding_of(2)
    x = latents_of(2)
    made(x, 499.0, encoding, 2)
    encoding["tokens"].mul_(-1)
    assert apart(made(x, 499.0, encoding, 2), Unet(model)(x, 499.0, encoding, clip=2)) < NEAR


@pytest.mark.parametrize("kind", ["stills", "sdxl"])
def test_timesteps_are_told_apart_and_not_remembered_for_ever(kind, monkeypatch):
    monkeypatch.setattr(times, "REMEMBERED", 3)
    model = KINDS[kind]()
    made, x, encoding = fast.unet_of(model), latents_of(2), encoding_of(2, sdxl=kind == "sdxl")
    outs = {timestep: made(x, timestep, encoding, 2) for timestep in (0.0, 0.5, 979.0, 980.0, 0.0)}
    for timestep, out in outs.items():
        assert apart(out, Unet(model)(x, timestep, encoding, clip=2)) < NEAR
    assert len(made.times._known) <= 3


def test_sdxl_frames_may_differ_in_prompt_and_size():
    model = KINDS["sdxl"]()
    x, encoding = latents_of(3), encoding_of(3, sdxl=True)
    one = {name: rows[:1].expand(3, *rows.shape[1:]) for name, rows in encoding.items()}
    sizes = {"size:crop_top": torch.tensor([0.0, 64.0, 128.0])}
    outs = []
    for given in (encoding, one, {**one, **sizes}):
        outs.append(fast.unet_of(model)(x, 499.0, given, 3))
        assert apart(outs[-1], Unet(model)(x, 499.0, given, clip=3)) < NEAR
    assert all(apart(out, outs[1]) > 1e-4 for out in (outs[0], outs[2]))


def test_threads_do_not_disturb_each_other():
    made = fast.unet_of(KINDS["v2"]())
    jobs = [(latents_of(frames, size, size, seed=frames), encoding_of(frames), frames) for frames, size in
            ((6, 8), (3, 6), (4, 9))]  # fmt: skip
    alone = [made(x, 499.0, encoding, frames) for x, encoding, frames in jobs]
    fresh, start, outs = fast.unet_of(KINDS["v2"]()), threading.Barrier(3), {}

    def work(job):
        torch.set_num_threads(1)  # as in the main thread: how sums are cut depends on it
        x, encoding, frames = jobs[job]
        start.wait()
        outs[job] = [fresh(x, 499.0, encoding, frames) for _ in range(4)]

    threads = [threading.Thread(target=work, args=(job,)) for job in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert all(torch.equal(out, alone[job]) for job in range(3) for out in outs[job])


def test_what_comes_out_is_an_ordinary_tensor_and_what_goes_in_stays():
    made = fast.unet_of(KINDS["v2"]())
    x, encoding = latents_of(4), {**encoding_of(4), "motion_scale": torch.full((4,), 0.5)}
    before = x.clone(), {name: rows.clone() for name, rows in encoding.items()}
    out = made(x, 499.0, encoding, 4)
    assert not out.is_inference()
    assert out.is_contiguous()
    out.add_(1)
    assert torch.equal(x, before[0])
    assert all(torch.equal(encoding[name], rows) for name, rows in before[1].items())


def test_taken_weights_exist_once_and_the_model_says_that_it_has_none():
    model = KINDS["v2"]()
    x, encoding = latents_of(4), encoding_of(4)
    before, shapes = Unet(model)(x, 499.0, encoding, clip=4), {n: w.shape for n, w in model.state_dict().items()}
    made = fast.unet_of(model, take=True)
    assert apart(made(x, 499.0, encoding, 4), before) < NEAR
    assert apart(made(latents_of(2, 9, 7), 499.0, encoding_of(2), 2),
                 Unet(KINDS["v2"]())(latents_of(2, 9, 7), 499.0, encoding_of(2), clip=2)) < NEAR  # fmt: skip
    assert {n: w.shape for n, w in model.state_dict().items()} == shapes
    held = sum(weight.untyped_storage().nbytes() for weight in model.parameters())
    assert held < 0.1 * sum(weight.nbytes for weight in model.parameters())
    with torch.no_grad():
        assert model(x, 499.0, encoding["tokens"]).sample.isnan().all(), "never wrong numbers"


def test_a_film_longer_than_the_motion_module_is_refused():
    made = fast.unet_of(animated(image_unet(), max_frames=6))
    with pytest.raises(CheckpointError, match=r"at most 6 frames at once, and 7 [\s\S]*windows.length to 6"):
        made(latents_of(7), 499.0, encoding_of(7), 7)


@pytest.mark.parametrize(("change", "reason"), [
    (lambda m: m.enable_freeu(0.9, 0.2, 1.2, 1.4), "up_blocks.0 has s1"),
    (lambda m: m.set_attention_slice(1), "SlicedAttnProcessor"),
    (lambda m: m.mid_block.register_forward_hook(lambda *_: None), "something acts beside mid_block"),
    (lambda m: setattr(m.down_blocks[0].resnets[0], "nonlinearity", torch.nn.GELU()), "is a GELU"),
    (lambda m: m.down_blocks[0].resnets.append(torch.nn.Bilinear(1, 1, 1)), "is a Bilinear"),
])  # fmt: skip
def test_a_model_with_a_layer_it_does_not_know_runs_as_it_is(change, reason):
    model = image_unet()
    change(model)
    assert fast.unet_of(model) is None
    assert reason in fast.unknown_in(model)


@pytest.mark.parametrize("options", [
    {"act_fn": "gelu"}, {"class_embed_type": "timestep"}, {"resnet_time_scale_shift": "scale_shift"},
    {"mid_block_type": None}, {"only_cross_attention": True}, {"time_embedding_act_fn": "silu"},
    {"resnet_out_scale_factor": 2.0}, {"dual_cross_attention": True}, {"center_input_sample": True},
    {"conv_in_kernel": 5}, {"upcast_attention": True, "cross_attention_norm": "layer_norm",
     "down_block_types": ("SimpleCrossAttnDownBlock2D",) * 3, "up_block_types": ("SimpleCrossAttnUpBlock2D",) * 3},
], ids=lambda options: next(iter(options)))  # fmt: skip
def test_other_architectures_of_diffusers_are_either_refused_or_right(options):
    model = image_unet(**options)
    if (made := fast.unet_of(model)) is None:
        assert fast.unknown_in(model)
        return
    x, encoding = latents_of(2), encoding_of(2)
    assert apart(made(x, 499.0, encoding, 2), Unet(model)(x, 499.0, encoding, clip=2)) < NEAR


def test_loras_of_varying_strength_keep_the_plain_kernels():
    model = image_unet()
    layer = model.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    low_rank = lora.LowRank(torch.ones(2, 32), torch.ones(32, 2))
    assert layer.weight.shape == (32, 32)
    detach = beside.attach(model, {name.replace(".", "_"): low_rank}, name="fox")
    assert name in fast.unknown_in(model)
    detach()
    assert fast.unknown_in(model) == ""


def test_without_onednns_private_operators_it_is_slower_and_right(monkeypatch):
    """As on builds of PyTorch that have none."""

    def missing(*_):
        raise AttributeError

    model = KINDS["v2"]()
    monkeypatch.setattr(linears.torch.ops.mkldnn, "_reorder_linear_weight", missing)
    linears.packs.cache_clear()
    assert not linears.packs(torch.float32)
    monkeypatch.setattr(convolutions, "packs", lambda *_: False)
    made, x, encoding = fast.unet_of(model), latents_of(3, 6, 5), encoding_of(3)
    linears.packs.cache_clear()
    assert apart(made(x, 499.0, encoding, 3), Unet(model)(x, 499.0, encoding, clip=3)) < NEAR
