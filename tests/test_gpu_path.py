"""What runs on a GPU, as far as a CPU can tell: every part of it gives what the plain path gives.

The recorder of CUDA graphs is replaced by one that calls the recorded function again: it reads and writes the very
tensors that a graph would, so that an input which is not handed over shows.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lcm_video.errors import ResourceError
from lcm_video.models import motion
from lcm_video.models.graphs import Graphs
from lcm_video.models.ladder import Notes
from lcm_video.models.streams import Lane, arranged, moved
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae

CPU = torch.device("cpu")


class Recorder:
    """Records as a CUDA graph does: a function of fixed tensors, whose replay writes into the same result."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, run):
        self.recorded += 1
        output = run().clone()

        def replay():
            self.replayed += 1
            output.copy_(run())

        return replay, output


@pytest.fixture
def moving(unet, motion_module):
    motion.inject(unet, motion_module)
    return Unet(unet)


def on_graphs(unet, record):
    """The same UNet, whose calls are recorded."""
    recorded = Unet(unet.model)
    object.__setattr__(recorded, "graphs", Graphs(recorded.predicted, record, recorded.notes))
    return recorded


def inputs(seed, frames=4):
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 4, 8, 8, generator=drawn), {
        "tokens": torch.randn(frames, 5, 16, generator=drawn),
        "motion_scale": torch.rand(frames, generator=drawn),
    }


def test_a_recording_is_replayed_with_the_numbers_of_each_call(moving):
    recorder = Recorder()
    ours = on_graphs(moving, recorder)
    kept = []
    for seed, timestep in ((0, 999.0), (1, 759.0), (2, 759.0), (0, 999.0), (0, 3.5)):
        x, encoding = inputs(seed)
        made = ours(x, timestep, encoding, clip=4)
        torch.testing.assert_close(made, moving(x, timestep, encoding, clip=4), atol=1e-6, rtol=1e-6)
        kept.append((made, made.clone()))
    assert (recorder.recorded, recorder.replayed) == (1, 5), "once for a shape; the first replay is its test"
    assert all(torch.equal(made, before) for made, before in kept), "a later call does not write into earlier results"


def test_each_shape_and_each_kind_of_call_has_its_own_recording(moving):
    recorder = Recorder()
    ours = on_graphs(moving, recorder)
    x, encoding = inputs(0)
    plain = {"tokens": encoding["tokens"]}
    calls = [
        (x, encoding, 4),
        (x, plain, 4),
        (x, plain, 2),
        (x[:2], {"tokens": plain["tokens"][:2]}, 2),
        (torch.cat([x, x], dim=-1), plain, 4),
        (x, {"tokens": torch.cat([plain["tokens"]] * 2, dim=1)}, 4),
    ]
    for _ in range(2):
        for latents, told, clip in calls:
            theirs = moving(latents, 499.0, told, clip=clip)
            torch.testing.assert_close(ours(latents, 499.0, told, clip=clip), theirs, atol=1e-6, rtol=1e-6)
    # On a CPU the clips of a batch are called one by one, so that the third and the fourth are one shape.
    assert recorder.recorded == len(calls) - 1


def test_what_cannot_be_recorded_runs_plainly_and_that_is_told_once(moving):
    def refuses(run):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    ours = on_graphs(moving, refuses)
    for seed in (0, 1):
        x, encoding = inputs(seed)
        torch.testing.assert_close(ours(x, 499.0, encoding, clip=4), moving(x, 499.0, encoding, clip=4))
    assert ours.notes.all == [
        "CUDA graphs are not used, calls of the UNet are launched one by one: "
        "operation not permitted when stream is capturing"
    ]


def test_a_recording_that_gives_other_numbers_is_not_used(moving):
    def forgets(run):
        output = run() + 1
        return (lambda: None), output

    ours = on_graphs(moving, forgets)
    for seed in (0, 1):
        x, encoding = inputs(seed)
        torch.testing.assert_close(ours(x, 499.0, encoding, clip=4), moving(x, 499.0, encoding, clip=4))
    assert "its replay gave other numbers" in ours.notes.all[0]


def test_recordings_that_fill_the_memory_are_given_up_not_the_render(moving):
    def full(run):
        raise torch.OutOfMemoryError("CUDA out of memory")

    ours = on_graphs(moving, full)
    x, encoding = inputs(0)
    torch.testing.assert_close(ours(x, 499.0, encoding, clip=4), moving(x, 499.0, encoding, clip=4))
    assert not ours.graphs._known


def test_a_gpu_that_fails_while_recording_stops_the_render(moving):
    def lost(run):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    ours = on_graphs(moving, lost)
    x, encoding = inputs(0)
    with pytest.raises(ResourceError, match="the GPU stopped working"):
        ours(x, 499.0, encoding, clip=4)


def test_threads_take_turns_at_a_recording(moving):
    from concurrent.futures import ThreadPoolExecutor

    ours = on_graphs(moving, Recorder())
    calls = [inputs(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        made = [*pool.map(lambda call: ours(call[0], 499.0, call[1], clip=4), calls)]
    for (x, encoding), found in zip(calls, made, strict=True):
        torch.testing.assert_close(found, moving(x, 499.0, encoding, clip=4), atol=1e-6, rtol=1e-6)


def test_there_is_nothing_to_record_on_a_cpu(moving):
    assert Unet(moving.model, compile="auto").graphs is None


COMPILED = """
import os, sys
import torch
from lcm_video.models import Card, motion
from lcm_video.models.compiling import BLOCKS, compile_blocks
from lcm_video.models.unet import Unet

torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import conftest
unet = conftest.unet.__wrapped__()
weights = conftest.motion_adapter.__wrapped__().state_dict()
card = Card(about="", family="sd15", file="x", window=16, max_frames=32)
motion.inject(unet, motion.read(weights, card))
part = unet.down_blocks[0]  # to compile takes seconds for each block
names = [*unet.state_dict()]
x, encoding = torch.randn(4, 4, 8, 8), {{"tokens": torch.randn(4, 5, 16)}}
plain = Unet(unet)(x, 499.0, encoding, clip=4)
count = compile_blocks(part, backend={backend!r})
assert count == sum(isinstance(module, BLOCKS) for module in part.modules()) > 2, count
ran = torch._dynamo.utils.counters["stats"]["unique_graphs"]
compiled = Unet(unet)(x, 499.0, encoding, clip=4)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > ran, "nothing was compiled"
torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-5)
assert [*unet.state_dict()] == names
print(os.environ["TORCHINDUCTOR_CACHE_DIR"])
"""


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_blocks_give_the_same_and_are_kept_in_our_cache(tmp_path, backend):
    """In a process of its own: torch cannot compile what pytest checks the shapes of."""
    tests = Path(__file__).parent
    found = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    environment = {**found, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(tests.parent)}
    script = COMPILED.format(tests=str(tests), backend=backend)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "lcm-video" / "compiled")


def test_channels_last_gives_the_same(moving):
    x, encoding = inputs(0)
    plain = moving(x, 499.0, encoding, clip=4)
    for weight in moving.model.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    laid_out = moving(x.contiguous(memory_format=torch.channels_last), 499.0, encoding, clip=4)
    torch.testing.assert_close(laid_out, plain, atol=1e-5, rtol=1e-5)


def test_on_a_cpu_weights_stay_as_they_lie_and_moving_is_a_plain_cast(moving):
    before = [weight.stride() for weight in moving.model.parameters()]
    arranged(moving.model)
    assert [weight.stride() for weight in moving.model.parameters()] == before
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(moved(x, CPU, torch.float16), x.half())
    assert moved(x, CPU, torch.float32) is x


def test_a_lane_hands_on_what_was_computed_on_it():
    lane = Lane(CPU)
    with lane.working():
        wait = lane.fetched([torch.ones(2), torch.zeros(3)])
    one, other = wait()
    assert torch.equal(one, torch.ones(2))
    assert torch.equal(other, torch.zeros(3))


def test_decoding_that_is_begun_and_waited_for_is_decoding(embedded_parts):
    from lcm_video.decoder import finished

    vae = Vae(embedded_parts.vae.model)
    drawn = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels, sound = vae.later(drawn, finished)()
    expected, all_sound = finished(vae.decode(drawn))
    assert torch.equal(pixels, expected)
    assert torch.equal(sound, all_sound)
    assert not vae.overlaps


def test_notes_of_recordings_are_those_of_the_unet(moving):
    assert isinstance(moving.notes, Notes)
    assert moving.notes is moving.ladder.notes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("compile", ["off", "auto", "blocks"])
def test_a_gpu_draws_what_a_cpu_draws(moving, compile):
    from copy import deepcopy

    ours = Unet(deepcopy(moving.model).cuda(), compile=compile)
    for seed in (0, 1):
        x, encoding = inputs(seed)
        theirs = moving(x, 499.0, encoding, clip=4)
        torch.testing.assert_close(ours(x, 499.0, encoding, clip=4), theirs, atol=2e-2, rtol=2e-2)
    assert ours.notes.all == []
