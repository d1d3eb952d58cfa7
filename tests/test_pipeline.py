"""The whole path with the embedded model, at a size that takes moments."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import imageio.v3 as iio
import numpy as np
import pytest
import torch

import lcm_video as lv
from lcm_video.freeinit import FreeInit
from lcm_video.models import Lora
from lcm_video.plan import plan
from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard import Shot, shots
from lcm_video.timeline import Point, Travel
from lcm_video.windows import Windows
from training import measures

RED, GREEN = "a red circle on a blue background", "a green circle on a white background"


@pytest.fixture(scope="session")
def embedded():
    """The sections of the embedded preset, for storyboards made in Python."""
    board = lv.load("embedded", ["prompts=x"])
    return {"model": board.model, "video": replace(board.video, width=64, height=64)}


@pytest.fixture(scope="session")
def pipeline(embedded):
    return lv.Pipeline.load(embedded["model"])


@pytest.fixture
def board(embedded):
    def make(frames=4, steps=1, loop=False, **sections):
        sampling = sections.pop("sampling", Sampling(steps=steps, seed=3))
        video = replace(embedded["video"], frames=frames, loop=loop)
        given = {"prompts": {"0": RED, "-1": GREEN}, "model": embedded["model"], "video": video, "sampling": sampling}
        return lv.Storyboard(**{**given, **sections})

    return make


def latents(pipeline, board, **options):
    *_, last = pipeline.steps(board, **options)
    return last.latents


def test_colours_travel_as_written(pipeline, board):
    """Red on blue at the beginning, green on white at the end: read off the pixels, not off the latents."""
    made = board(frames=8, sampling=Sampling(steps=4), video=replace(board().video, frames=8, width=128, height=128))
    first, *_, last = pipeline.frames(made)
    edge = lambda frame: np.median(frame[:8].reshape(-1, 3), axis=0)
    first_edge, last_edge = edge(first), edge(last)
    assert first_edge[2] > 150 > first_edge[0] + 30
    assert last_edge.min() > 180
    reddest = lambda frame: (frame[..., 0].astype(int) - frame[..., 1:].max(-1)).max()
    greenest = lambda frame: (frame[..., 1].astype(int) - frame[..., [0, 2]].max(-1)).max()
    assert reddest(first) > 100 > reddest(last)
    assert greenest(last) > 50 > greenest(first)


def test_shapes_and_colours_at_the_keyframes_are_those_asked_for(pipeline, board):
    """By measures that need no training: the nearest colours of the palette, the best overlapping template."""
    prompts = {"0": "a large red circle on a white background", "-1": "a large blue square on a white background"}
    video = replace(board().video, frames=16, width=128, height=128)
    frames = [*pipeline.frames(board(prompts=prompts, video=video, sampling=Sampling(steps=4, seed=1)))]
    views = [measures.seen(torch.from_numpy(frame).permute(2, 0, 1) / 127.5 - 1) for frame in frames]
    for view, colour, shape in ((views[0], "red", "circle"), (views[-1], "blue", "square")):
        assert (view.background, view.colour, measures.shape_of(view)) == ("white", colour, shape)
    assert measures.rank_correlation([float(view.rgb[2] - view.rgb[0]) for view in views]) > 0.9


def test_the_same_storyboard_gives_the_same_latents_and_another_seed_others(pipeline, board):
    once = latents(pipeline, board())
    assert torch.equal(once, latents(pipeline, board()))
    assert not torch.equal(once, latents(pipeline, board(sampling=Sampling(steps=1, seed=4))))


def test_windows_in_threads_or_batches_give_the_same_bits(pipeline, board):
    made = board(frames=10, steps=2, windows=Windows(length=4, overlap=2))
    once = latents(pipeline, made)
    with ThreadPoolExecutor(2) as pool:
        assert torch.equal(once, latents(pipeline, made, map=pool.map))
    assert torch.equal(once, latents(pipeline, replace(made, runtime=replace(made.runtime, window_batch=3))))


@pytest.fixture
def square(tmp_path):
    """A black picture."""
    iio.imwrite(tmp_path / "black.png", np.zeros((64, 64, 3), np.uint8))
    return str(tmp_path / "black.png")


VARIED = {
    "lcm": {},
    "loop": {"loop": True, "windows": Windows(length=4, overlap=2, stride=2)},
    "guided": {
        "sampling": Sampling(sampler="dpmpp_2m", steps=3, guidance={"0": 1.0, "-1": 3.0}),
        "negative": "a square",
    },
    "edited": {
        "sampling": Sampling(sampler="euler_a", steps=3, guidance=2),
        "prompts": {"0": "[red:green:0.5] circle"},
    },
    "source": {"sampling": Sampling(steps=3), "strength": {"0": 0.2, "-1": 1.0}},
}


@pytest.mark.parametrize("kind", VARIED)
def test_the_film_is_drawn_as_a_wave_with_the_bits_of_the_plain_way(pipeline, board, square, kind):
    options = {"frames": 19, "steps": 2, "windows": Windows(length=4, overlap=1), **VARIED[kind]}
    if strength := options.pop("strength", None):
        options["start"] = Start(square, strength=strength)
    made = board(**options)
    whole = latents(pipeline, made)
    beside = replace(made, runtime=replace(made.runtime, window_batch=2, parallel_windows=2))
    with ThreadPoolExecutor(2) as pool:
        for each, how in ((made, map), (beside, pool.map)):
            wave = pipeline.wave(each, shots(each)[0], map=how)
            assert torch.equal(torch.cat([turn.finished for turn in wave if turn.finished is not None]), whole)


def test_without_a_motion_module_a_longer_film_begins_with_the_shorter_one(board, embedded):
    """Noise, windows and decoding belong to the frame: only motion lets frames see how long the film is."""
    alone = lv.Pipeline.load(replace(embedded["model"], motion=""))
    short = latents(alone, board(frames=16, steps=2, prompts={"0": RED}))
    long = latents(alone, board(frames=64, steps=2, prompts={"0": RED}, windows=Windows(length=64)))
    torch.testing.assert_close(long[:16], short, atol=1e-5, rtol=0)


def test_editing_one_shot_leaves_the_frames_of_the_others_bit_for_bit(pipeline, board):
    cut = {"a": Shot(frames=3, prompts={"0": RED}), "b": Shot(frames=4), "c": Shot(frames=3, prompts={"0": GREEN})}
    edited = {**cut, "b": Shot(frames=6, prompts={"0": "a yellow star on a black background"})}
    before = [*pipeline.frames(board(shots=cut))]
    after = [*pipeline.frames(board(shots=edited))]
    assert (len(before), len(after)) == (10, 12)
    assert all(np.array_equal(old, new) for old, new in zip(before[:3], after[:3], strict=True))
    assert all(np.array_equal(old, new) for old, new in zip(before[-3:], after[-3:], strict=True))
    assert not any(np.array_equal(old, new) for old, new in zip(before[3:7], after[3:7], strict=True))


def test_frames_of_a_shot_arrive_while_the_next_is_still_to_be_drawn(pipeline, board):
    calls = []
    counted = replace(pipeline, unet=lambda *args, **options: calls.append(1) or pipeline.unet(*args, **options))
    frames = counted.frames(board(shots={"a": Shot(frames=3), "b": Shot(frames=3)}))
    assert len([*islice(frames, 3)]) == 3
    assert len(calls) == 1
    assert len([*frames]) == 3
    assert len(calls) == 2


def test_a_negative_prompt_acts_only_where_guidance_does(pipeline, board):
    plain, negative = board(), board(negative="a red circle")
    assert torch.equal(latents(pipeline, plain), latents(pipeline, negative))
    curve = Sampling(steps=1, seed=3, guidance={"0": Point(1, ease="hold"), "3": Point(2)})
    steady, guided = latents(pipeline, plain), latents(pipeline, board(sampling=curve, negative="a blue background"))
    assert torch.equal(guided[0], steady[0])
    assert not torch.allclose(guided[3], steady[3], atol=1e-3)


def test_a_curve_of_motion_scale_goes_from_lone_frames_to_the_full_module(pipeline, board, embedded):
    scaled = lambda scale: board(model=replace(embedded["model"], motion_scale=scale))
    full, none = latents(pipeline, board()), latents(pipeline, scaled(0.0))
    assert not torch.allclose(full, none, atol=1e-2)
    assert torch.equal(latents(pipeline, scaled({"0": 1.0})), full)
    half = latents(pipeline, scaled({"0": 0.0, "-1": 1.0}))
    assert not torch.allclose(half, full, atol=1e-2)
    assert not torch.allclose(half, none, atol=1e-2)


def test_a_curve_of_lora_strength_meets_the_merged_lora_at_its_ends(pipeline, board, embedded):
    """Merged once and applied beside the layers: the same film where the strength is the same."""
    model = embedded["model"]
    curve = replace(model, loras={"lcm": Lora(model.loras["lcm"].path, scale={"0": 1.0})})
    travelling = replace(model, loras={"lcm": Lora(model.loras["lcm"].path, scale={"0": 0.0, "-1": 1.0})})
    beside = lv.Pipeline.load(curve)
    merged = latents(pipeline, board())
    torch.testing.assert_close(latents(beside, board(model=curve)), merged, atol=2e-3, rtol=0)
    assert not torch.allclose(latents(beside, board(model=travelling)), merged, atol=1e-2)


def test_a_film_may_begin_from_an_image(pipeline, board, tmp_path):
    """At little strength the square stays where it is; at full strength nothing is left of it."""
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[32:96, 32:96] = (255, 0, 0)
    iio.imwrite(tmp_path / "square.png", picture)

    def overlap(strength):
        start = Start(source=str(tmp_path / "square.png"), strength=strength)
        video = replace(board().video, frames=2, width=128, height=128)
        red = (
            next(pipeline.frames(board(steps=4, start=start, video=video, prompts={"0": "a red square"})))[..., 0] > 127
        )
        square = picture[..., 0] > 127
        return (red & square).sum() / (red | square).sum()

    assert overlap(0.1) > 0.85 > overlap(1.0) + 0.05


def test_strength_may_vary_over_the_film(pipeline, board, tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    iio.imwrite(tmp_path / "black.png", picture)
    start = Start(source=str(tmp_path / "black.png"), strength={"0": 0.0, "-1": 1.0})
    first, *_, last = pipeline.frames(board(steps=4, start=start))
    assert first.mean() < 20 < last.mean()


def test_one_frame_is_a_film_too(pipeline, board):
    assert len([*pipeline.frames(board(frames=1, prompts={"0": RED}))]) == 1


def test_a_loop_travels_back_to_its_beginning(board):
    from lcm_video.course import course_of
    from lcm_video.samplers import Betas
    from lcm_video.windows import plan_windows

    made = board(frames=24, loop=True)
    (shot,) = shots(made)
    course = course_of(made, shot, Betas())
    windows = plan_windows(made.windows, frames=24, levels=course.levels, loop=course.loop)
    assert any({23, 0} <= {*window} for level in course.levels[:-1] for window in windows(level.timestep))
    cut = board(frames=24, loop=True, shots={"a": Shot()})
    assert not course_of(cut, shots(cut)[0], Betas()).loop


@pytest.fixture
def idle(pipeline):
    """A pipeline whose UNet predicts nothing and writes down what it was given."""
    calls = []

    def unet(latents, timestep, encoding, /, *, clip):
        calls.append((encoding, clip, len(latents)))
        return latents * 0

    return replace(pipeline, unet=unet), calls


def test_the_windows_of_a_loop_run_over_its_seam(idle, board):
    seen = []

    def spied(function, latents, timesteps, numbers):
        seen.extend(map(set, numbers))
        return map(function, latents, timesteps, numbers)

    latents(idle[0], board(frames=24, steps=2, loop=True), map=spied)
    assert any({23, 0} <= window for window in seen)
    seen.clear()
    latents(idle[0], board(frames=24, steps=2), map=spied)
    assert not any({23, 0} <= window for window in seen)


def test_windows_are_as_long_as_the_loaded_modules_card_says(pipeline, idle, board):
    assert pipeline.window == 16
    quiet, calls = idle
    latents(replace(quiet, window=6), board(frames=20))
    latents(replace(quiet, window=6), board(frames=20, windows=Windows(length=8, overlap=2)))
    assert {clip for _, clip, _ in calls} == {6, 8}


def test_frames_of_later_windows_begin_with_noise_of_the_first(idle, board):
    """Where nothing is predicted, one step of DDIM only scales what a frame began with."""
    same = board(
        frames=12, windows=Windows(length=4, overlap=1, noise="repeat"), sampling=Sampling(sampler="ddim", steps=1)
    )
    found = latents(idle[0], same)
    assert torch.equal(found[:4], found[4:8])
    assert not torch.allclose(found[0], found[1])
    own = latents(idle[0], replace(same, windows=replace(same.windows, noise="own")))
    assert torch.equal(own[:4], found[:4])
    assert not torch.allclose(own[4:8], found[4:8])


@pytest.mark.parametrize("start", ["noise", "source"])
def test_a_film_is_drawn_again_from_its_low_frequencies(idle, board, square, start):
    """The same by the plain way and as a wave, and as often as asked for."""
    source = Start(square, strength=0.8) if start == "source" else Start()
    made = board(frames=12, steps=2, windows=Windows(length=4, overlap=1), freeinit=FreeInit(2), start=source)
    quiet, calls = idle
    found = latents(quiet, made)
    assert len(calls) == plan(made).shots[0].calls()
    wave = [turn.finished for turn in quiet.wave(made, shots(made)[0]) if turn.finished is not None]
    assert torch.equal(torch.cat(wave), found)
    assert not torch.allclose(latents(quiet, replace(made, freeinit=FreeInit())), found, atol=1e-2)


def test_two_shots_of_the_same_seed_have_noise_of_their_own(idle, board):
    shots_ = {"a": Shot(frames=2), "b": Shot(frames=2)}
    first, second = (step.latents for step in idle[0].steps(board(shots=shots_)))
    assert not torch.allclose(first, second)


def test_windows_share_a_call_as_the_runtime_says(idle, board):
    made = board(frames=10, windows=Windows(length=4, overlap=2))
    pipeline, calls = idle
    latents(pipeline, replace(made, runtime=replace(made.runtime, window_batch=3)))
    assert [(clip, frames) for _, clip, frames in calls] == [(4, 12), (4, 4)]


def test_prompts_travel_on_the_path_that_the_storyboard_names(idle, board):
    pipeline, calls = idle
    for blend in ("linear", "slerp"):
        latents(pipeline, board(frames=3, travel=Travel(blend)))
    (straight, _, _), (arc, _, _) = calls
    assert torch.equal(straight["tokens"][[0, 2]], arc["tokens"][[0, 2]])
    assert not torch.allclose(straight["tokens"][1], arc["tokens"][1], atol=1e-4)


def test_the_readmes_python_runs(pipeline, board, tmp_path):
    paths = lv.write(pipeline.frames(board()), lv.Output(str(tmp_path / "film.webm")), fps=board().video.fps)
    assert [frame.shape for frame in iio.imiter(paths[0], plugin="pyav")] == [(64, 64, 3)] * 4
