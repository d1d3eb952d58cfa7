"""What happens when memory runs out: less at once, tiles, slices, and only then an error that says what would fit.

Memory runs out by injection at the edge: a model that raises what torch raises, above a given batch or size.
"""

import json
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, strategies as st

from lcm_video.errors import ResourceError
from lcm_video.models import ladder as ladders, memory, motion
from lcm_video.models.ladder import Ladder, Notes, Setting, Task, recall, remember
from lcm_video.models.tiles import halvings, side_after, spans, tiled
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae

CPU = torch.device("cpu")
ON_CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …"
OUT = {
    "a GPU": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "a CPU": lambda: RuntimeError(ON_CPU),
    "Python": MemoryError,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # Looking for cycles takes a quarter of a second in a process as large as that of all tests.
    monkeypatch.setattr(memory.gc, "collect", lambda: 0)


@contextmanager
def failing(module, too_much, error=OUT["a GPU"]):
    """Lets a module run out of memory whenever ``too_much`` says so of its first input; counts how often it ran."""
    ran = []

    def check(_, inputs):
        if too_much(inputs[0]):
            raise error()
        ran.append(tuple(inputs[0].shape))

    handle = module.register_forward_pre_hook(check)
    try:
        yield ran
    finally:
        handle.remove()


def task(count, *, most=0, resorts=0, about="x", fits=lambda: "buy more"):
    return Task(count, most, resorts, about, fits)


def run(ladder, limit, wanted):
    """Lets a stage run that can do ``limit`` items at once; the sizes of the pieces that were tried."""
    tried = []

    def work(place, sparing):
        tried.append((place.stop - place.start, sparing))
        if place.stop - place.start > limit[0] or sparing < limit[1]:
            raise torch.OutOfMemoryError
        return [*range(place.start, place.stop)]

    made = ladder.run(work, wanted)
    assert [number for piece in made for number in piece] == [*range(wanted.count)], "every item, once and in order"
    return tried


@given(count=st.integers(1, 20), fits=st.integers(1, 20), resorts=st.integers(0, 3))
def test_whatever_fits_every_item_is_made_once_and_nothing_larger_is_tried_again(count, fits, resorts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladders, "remember", lambda *_: None)
        patch.setattr(ladders, "recall", lambda *_: None)
        tried = run(Ladder("x", "item", "sliced", CPU), (fits, 0), task(count, resorts=resorts))
    failed = [size for size, _ in tried if size > fits]
    assert failed == sorted(set(failed), reverse=True)
    worked = [size for size, _ in tried if size <= fits]
    assert len(worked) <= 2 * -(-count // min(fits, count)) + 1, "halving loses at most half"


def test_the_rungs_are_halves_then_the_last_resorts_then_an_error():
    tried = run(Ladder("the VAE", "frame", "in tiles", CPU), (1, 2), task(4, resorts=2))
    assert tried == [(4, 0), (2, 0), (1, 0), (1, 1), (1, 2), (1, 2), (1, 2), (1, 2)]
    stage = Ladder("the VAE", "frame", "in tiles", CPU)
    with pytest.raises(
        ResourceError, match=r"the VAE needs more memory than there is: \d+\.\d GB of .* free on cpu"
    ) as e:
        run(stage, (1, 3), task(4, resorts=2, about="other"))
    assert (e.value.exit_code, e.value.remedy) == (5, "buy more")
    assert stage.notes.take() == [
        "the VAE ran out of memory with 4 frames at once: it goes on with 2 frames at once",
        "the VAE ran out of memory with 2 frames at once: it goes on with 1 frame at once",
        "the VAE ran out of memory with a single frame: it goes on one frame at a time in tiles, step 1 of 2",
        "the VAE ran out of memory with a single frame: it goes on one frame at a time in tiles, step 2 of 2",
    ]
    assert stage.notes.take() == []
    assert len(stage.notes.all) == 4


def test_what_worked_is_kept_for_the_run_and_for_the_next_one_but_not_for_another_task():
    stage = Ladder("x", "item", "sliced", CPU)
    assert run(stage, (2, 0), task(4)) == [(4, 0), (2, 0), (2, 0)]
    assert run(stage, (2, 0), task(4)) == [(2, 0), (2, 0)]
    again = Ladder("x", "item", "sliced", CPU)
    assert run(again, (2, 0), task(4)) == [(2, 0), (2, 0)]
    assert again.notes.all == ["x runs with 2 items at once: more did not fit in an earlier render"]
    assert run(again, (4, 0), task(4, about="smaller")) == [(4, 0)]
    assert run(Ladder("y", "item", "sliced", CPU), (4, 0), task(4)) == [(4, 0)]


def test_when_more_memory_is_free_than_there_was_the_whole_is_tried_again(monkeypatch):
    remember("x", Setting(2), free=1000)
    assert recall("x", free=1000) == recall("x", free=1249) == Setting(2)
    assert recall("x", free=1251) is None
    assert recall("y", free=1000) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "\udcff", '{"x": 3}', '{"x": [0, 0, 9]}', '{"x": ["2", 0, 9]}', '{"x": [2, -1, 9]}', "[" * 99999],
)
def test_a_damaged_memory_is_as_none_and_is_written_anew(text):
    ladders._file().parent.mkdir(parents=True)
    ladders._file().write_bytes(text.encode(errors="surrogateescape"))
    assert recall("x", free=1) is None
    remember("x", Setting(2, 1), free=1)
    assert recall("x", free=1) == Setting(2, 1)
    assert [file.name for file in ladders._file().parent.iterdir()] == ["fitting.json"]


def test_a_cache_that_cannot_be_written_only_forgets(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run(Ladder("x", "item", "sliced", CPU), (2, 0), task(4)) == [(4, 0), (2, 0), (2, 0)]


def test_strict_stops_at_the_first_and_does_not_look_at_earlier_runs():
    run(Ladder("x", "item", "sliced", CPU), (2, 0), task(4))
    with pytest.raises(ResourceError, match="it had 4 items at once, and strict forbids less"):
        run(Ladder("x", "item", "sliced", CPU, strict=True), (2, 0), task(4))


@pytest.mark.parametrize("error", OUT.values(), ids=OUT)
def test_every_way_of_running_out_is_known(error):
    assert memory.ran_out(error())


def test_torch_says_so_on_a_cpu_in_the_words_we_know():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert memory.ran_out(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError(ON_CPU), KeyError("x")])
def test_other_errors_pass_unchanged(error):
    def work(place, sparing):
        raise error

    with pytest.raises(type(error)) as caught:
        Ladder("x", "item", "sliced", CPU).run(work, task(4))
    assert caught.value is error


def test_a_lost_gpu_is_told_and_not_tried_again():
    tried = []

    def work(place, sparing):
        tried.append(place)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with …")

    with pytest.raises(ResourceError, match="the GPU stopped working: CUDA error: an illegal memory access") as caught:
        Ladder("x", "item", "sliced", CPU).run(work, task(4, resorts=3))
    assert caught.value.remedy == "render again: in a fresh process it goes on where it stopped"
    assert caught.value.exit_code == 5
    assert len(tried) == 1


def test_nothing_of_a_failed_attempt_is_held_when_the_next_begins():
    import weakref

    class Held:
        pass

    alive = []

    def work(place, sparing):
        assert not any(reference() for reference in alive), "the first attempt's tensors would be in the way"
        held = Held()
        alive.append(weakref.ref(held))
        if place.stop - place.start > 1:
            raise torch.OutOfMemoryError
        return 1

    assert Ladder("x", "item", "sliced", CPU).run(work, task(2)) == [1, 1]


def test_two_threads_that_fail_together_go_down_one_rung():
    stage, wanted = Ladder("x", "item", "sliced", CPU), task(8)
    failed = stage.setting(wanted)
    stage._lower(wanted, failed, 8)
    stage._lower(wanted, failed, 8)
    assert stage.setting(wanted) == Setting(4)
    stage._lower(wanted, Setting(4), 4)
    stage._lower(wanted, failed, 8)
    assert stage.setting(wanted) == Setting(2), "one that failed long ago does not lead up again"


def test_notes_are_told_once():
    notes = Notes()
    notes.add("a")
    notes.add("b")
    notes.add("a")
    assert notes.take() == ["a", "b"]
    notes.add("c")
    assert (notes.take(), notes.all) == (["c"], ["a", "b", "c"])


# The real stages


@pytest.fixture
def vae(embedded_parts):
    return Vae(embedded_parts.vae.model)


@pytest.fixture
def latents(embedded_parts):
    """Latents of a picture: a soft one, drawn from low frequencies."""
    coarse = torch.randn(4, 4, 5, 6, generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(coarse, size=(32, 48), mode="bicubic")


def as_on_a_gpu(stage):
    """The same stage, made to begin with everything at once, as on a GPU."""
    fresh = type(stage)(stage.model)
    run = fresh.ladder.run
    fresh.ladder.run = lambda work, task: run(work, replace(task, most=0))
    return fresh


@pytest.mark.parametrize("error", OUT.values(), ids=OUT)
@pytest.mark.parametrize("fits", [2, 1])
def test_a_vae_that_runs_out_decodes_fewer_at_once_to_the_same(vae, latents, error, fits):
    whole, gpu = vae.decode(latents), as_on_a_gpu(vae)
    with failing(vae.model.decoder, lambda x: len(x) > fits, error) as shapes:
        less = gpu.decode(latents)
    torch.testing.assert_close(less, whole, atol=1e-4, rtol=0)
    assert [shape[0] for shape in shapes] == [fits] * (4 // fits)
    assert len(gpu.notes.all) == 3 - fits


def test_a_frame_too_large_is_decoded_in_tiles(vae, latents):
    whole = vae.decode(latents)
    with failing(vae.model.decoder, lambda x: x.shape[-1] > 24) as shapes:
        tiles = vae.decode(latents)
    assert tiles.shape == whole.shape
    assert all(shape[0] == 1 and max(shape[2:]) <= 24 for shape in shapes)
    assert (tiles - whole).abs().mean() < 0.05, "tiles are approximate, yet the same picture"
    assert vae.notes.all == ["the VAE ran out of memory with a single frame: it goes on one frame at a time in tiles, "
                             "step 1 of 2"]  # fmt: skip


def test_pictures_are_encoded_in_tiles_alike(vae, latents):
    images = vae.decode(latents).clamp(-1, 1)
    whole = vae.encode(images)
    with failing(vae.model.encoder, lambda x: x.shape[-1] > 24 * 8):
        tiles = vae.encode(images)
    assert tiles.shape == whole.shape
    assert (tiles - whole).abs().mean() < 0.1 * whole.abs().mean()


def test_a_vae_that_never_fits_says_what_would(vae, latents):
    with failing(vae.model.decoder, lambda x: True), pytest.raises(ResourceError) as caught:
        vae.decode(latents)
    assert caught.value.message.startswith("the VAE needs more memory than there is: ")
    assert caught.value.remedy == (
        "try video.width=264 video.height=176, or a smaller decoder: model.vae=taesd_decoder, or runtime.dtype=bfloat16"
    )


def test_strict_reaches_the_stages(embedded_parts, latents):
    strict = Vae(embedded_parts.vae.model, strict=True)
    with (
        failing(strict.model.decoder, lambda x: x.shape[-1] > 24),
        pytest.raises(ResourceError, match="strict forbids"),
    ):
        strict.decode(latents)
    unet = Unet(embedded_parts.unet.model, strict=True)
    with failing(unet.model.conv_in, lambda x: True), pytest.raises(ResourceError, match="the UNet needs more memory"):
        unet(latents[..., :8, :8], 499.0, {"tokens": torch.zeros(3, 77, 64)}, clip=3)


@pytest.fixture
def moving(unet, motion_module):
    motion.inject(unet, motion_module)
    return Unet(unet)


def noisy(frames):
    drawn = torch.Generator().manual_seed(3)
    return torch.randn(frames, 4, 8, 8, generator=drawn), torch.randn(frames, 5, 16, generator=drawn)


def test_a_unet_that_runs_out_does_fewer_clips_at_once_and_no_clip_is_cut(moving):
    x, tokens = noisy(12)
    whole = moving(x, 499.0, {"tokens": tokens}, clip=3)
    with failing(moving.model, lambda x: len(x) > 6) as shapes:
        less = as_on_a_gpu(moving)(x, 499.0, {"tokens": tokens}, clip=3)
    assert [shape[0] for shape in shapes] == [6, 6]
    torch.testing.assert_close(less, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [3, 1])
def test_a_clip_too_large_runs_with_its_layers_in_slices_to_the_same(moving, rows):
    x, tokens = noisy(10)
    whole = moving(x, 499.0, {"tokens": tokens}, clip=10)
    block = moving.model.down_blocks[0].attentions[0].spatial.transformer_blocks[0]
    with failing(block.ff, lambda x: len(x) > rows) as shapes:
        sliced = moving(x, 499.0, {"tokens": tokens}, clip=10)
    assert {shape[0] for shape in shapes} == ({3, 1} if rows == 3 else {1})
    torch.testing.assert_close(sliced, whole, atol=1e-5, rtol=1e-5)
    assert moving.notes.all[-1].endswith(f"with its layers in slices, step {1 if rows == 3 else 2} of 2")
    assert torch.equal(Unet(moving.model, strict=True)(x, 499.0, {"tokens": tokens}, clip=10), whole), "whole again"


# Tiles


@given(extent=st.integers(1, 200), side=st.integers(2, 64))
def test_tiles_cover_a_frame_overlap_and_are_no_larger_than_allowed(extent, side):
    found = [*spans(extent, side)]
    assert found[0].start == 0
    assert found[-1].stop == extent
    assert all(len(span) == min(side, extent) for span in found)
    assert all(b.start < a.stop and b.start > a.start for a, b in pairwise(found))


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(4, 16), unit=st.sampled_from([1, 2]))
def test_a_pointwise_decoder_is_unchanged_by_tiles(height, width, side, unit):
    """If pixels do not see each other, cutting a frame must make no difference: the fades add up to one."""
    x = torch.randn(2, 3, height * unit, width * unit, generator=torch.Generator().manual_seed(0))
    decode = lambda part: part[..., ::unit, ::unit].repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
    torch.testing.assert_close(tiled(decode, x, side=side, unit=unit), decode(x))


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_each_halving_makes_the_tile_smaller_and_the_last_is_the_smallest(height, width):
    sides = [side_after(number, height, width) for number in range(halvings(height, width) + 1)]
    assert sides == sorted(set(sides), reverse=True)
    assert sides[-1] == 16


def test_what_is_remembered_is_readable():
    run(Ladder("the VAE", "frame", "in tiles", CPU), (2, 0), task(4, about="decoded 64x64"))
    (key,) = json.loads(ladders._file().read_text())
    assert key.startswith("the VAE|decoded 64x64|cpu|")
