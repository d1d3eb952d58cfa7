import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pydantic import ValidationError

from lcm_video.errors import StoryboardError
from lcm_video.samplers import Betas, Sampling, schedule
from lcm_video.types import Clips, clip_length
from lcm_video.windows import BLENDS, Windows, cut, halving, plan_windows, shares, windowed

GOLDEN = Path(__file__).parent / "golden" / "context"
LEVELS = schedule(Sampling(), Betas().alphas())


def peers(variant):
    """The windows of AnimateDiff Evolved where they have no defect, and what they were asked for."""
    for case in json.loads((GOLDEN / "windows.json").read_text()):
        if variant in case["windows"] and case["context_overlap"] < case["context_length"]:
            yield case, set(map(tuple, case["windows"][variant]))


def ours(case, **options):
    windows = Windows(length=case["context_length"], overlap=case["context_overlap"], **options)
    return windows, {"frames": case["num_frames"], "step": case["step"]}


def check(windows, *, frames, length):
    """What holds for any film at any step."""
    assert set().union(*windows) == set(range(frames))
    assert {len(window) for window in windows} == {min(length, frames)}
    assert all(len(set(window)) == len(window) for window in windows)
    assert len(set(windows)) == len(windows)


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 300), st.integers(1, 40), st.data())
def test_every_frame_lies_in_a_window_and_none_twice(frames, length, data):
    options = Windows(
        length=length,
        overlap=data.draw(st.integers(0, length - 1)),
        stride=data.draw(st.integers(1, 8)),
        schedule=data.draw(st.sampled_from(["uniform", "static"])),
    )
    step, loop = data.draw(st.integers(0, 2000)), data.draw(st.booleans())
    check(cut(options, frames=frames, step=step, loop=loop), frames=frames, length=length)


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("schedule", ["uniform", "static"])
@pytest.mark.parametrize(("length", "overlap", "stride"), [(16, 4, 1), (16, 15, 1), (16, 0, 2), (24, 12, 3), (3, 0, 2)])
def test_films_of_1_to_512_frames_are_covered_at_every_step(length, overlap, stride, schedule, loop):
    options = Windows(length=length, overlap=overlap, stride=stride, schedule=schedule)
    for frames in range(1, 513):
        for step in (0, 1, 2, 3, 16) if overlap < 15 else (3,):
            check(cut(options, frames=frames, step=step, loop=loop), frames=frames, length=length)


def test_static_windows_equal_animatediff_evolved():
    for case, theirs in peers("ade.standard_static"):
        options, where = ours(case, schedule="static")
        assert set(cut(options, **where)) == theirs


def test_uniform_windows_equal_animatediff_evolved():
    for case, theirs in peers("ade.standard_uniform"):
        options, where = ours(case, stride=case["context_stride"])
        mine = set(cut(options, **where))
        assert mine <= theirs
        # It adds windows of neighbouring frames beside wide ones that it moves; ours cover every frame without.
        extra = theirs - mine
        assert not extra or (case["context_stride"] > 1 and all(w[1] - w[0] == 1 for w in extra))


def test_looped_windows_equal_animatediff_evolved():
    for case, theirs in peers("ade.looped_uniform"):
        if not case["closed_loop"]:
            continue
        options, where = ours(case, stride=case["context_stride"])
        mine = set(cut(options, loop=True, **where))
        if case["num_frames"] < case["context_length"]:  # ours turns the single window, so that its ends meet
            assert [set(window) for window in mine] == [set(window) for window in theirs]
        else:
            assert mine == theirs


def test_windows_drift_by_the_van_der_corput_sequence():
    golden = json.loads((GOLDEN / "fuse_weights.json").read_text())["halving"]
    assert [[step, halving(step)] for step, _ in golden] == golden


def test_a_short_loop_turns_so_that_its_ends_meet():
    assert cut(Windows(), frames=4, step=1, loop=True) == ((2, 3, 0, 1),)


@pytest.mark.parametrize("blend", ["flat", "pyramid"])
def test_weights_equal_animatediff_evolved(blend):
    plan = plan_windows(Windows(), frames=16, levels=LEVELS)
    for case in json.loads((GOLDEN / "fuse_weights.json").read_text())["per_window"]:
        if case["method"] == blend:
            assert BLENDS[blend](tuple(range(case["length"])), plan) == case["weights"]


def test_weights_over_the_overlap_equal_animatediff_evolved():
    compared = 0
    for case in json.loads((GOLDEN / "fuse_weights.json").read_text())["overlap_linear"]:
        window = tuple(case["window"])
        if window[-1] < window[0]:
            continue  # across the seam of a loop it fades nothing; ours fades
        options = Windows(length=case["context_length"], overlap=case["context_overlap"])
        plan = plan_windows(options, frames=case["num_frames"], levels=LEVELS)
        np.testing.assert_allclose(BLENDS["overlap_linear"](window, plan), case["weights"], rtol=1e-6, atol=1e-6)
        compared += 1
    assert compared == 29


def test_in_a_loop_every_window_fades_into_its_neighbours():
    plan = plan_windows(Windows(length=6, overlap=3), frames=12, levels=LEVELS, loop=True)
    weights = BLENDS["overlap_linear"]((9, 10, 11, 0, 1, 2), plan)
    assert weights == pytest.approx([0, 0.5, 1, 1, 0.5, 0], abs=1e-5)
    assert weights == BLENDS["overlap_linear"]((0, 1, 2, 3, 4, 5), plan)


def fused_cases():
    names = {"standard_static": "static", "standard_uniform": "uniform", "looped_uniform": "uniform"}
    for case in json.loads((GOLDEN / "fuse_full.json").read_text()):
        looped = case["schedule"] == "looped_uniform"
        if case["schedule"] not in names or case["context_stride"] > 1 or looped != case["closed_loop"]:
            continue
        for blend in (
            ["flat", "pyramid"] if looped else BLENDS
        ):  # in a loop, its overlap-linear fades nothing at the seam
            options = Windows(
                length=case["context_length"], overlap=case["context_overlap"], schedule=names[case["schedule"]]
            )
            yield pytest.param(case, options, looped, blend, id=f"{case['case']}-{blend}")


@pytest.mark.parametrize(("case", "options", "loop", "blend"), [*fused_cases()])
def test_blended_windows_equal_animatediff_evolved(case, options, loop, blend):
    arrays = np.load(GOLDEN / "fuse_full.npz")
    rows = torch.from_numpy(arrays[f"{case['case']}_pred"]).split([len(window) for window in case["windows"]])
    predictions = dict(zip(map(tuple, case["windows"]), rows, strict=True))
    plan = plan_windows(options, frames=case["num_frames"], levels=LEVELS, loop=loop)
    timestep = LEVELS[case["step"]].timestep
    denoise = windowed(lambda latents, t, frames: predictions[tuple(frames)], plan, blend=blend)
    fused = denoise(torch.zeros(case["num_frames"], *rows[0].shape[1:]), timestep, range(case["num_frames"]))
    theirs = arrays[f"{case['case']}_{blend.replace('_', '-')}"]
    np.testing.assert_allclose(fused.numpy(), theirs, atol=2e-5)


def crossing(latents, timestep, frames):
    """A denoiser in which the frames of a clip see each other, and each knows its number."""
    clip = clip_length(frames)
    numbers = torch.tensor(list(frames), dtype=latents.dtype).view(-1, 1, 1, 1)
    clips = latents.split(clip)
    mixed = torch.cat([torch.tanh(one.cumsum(0) + one.flip(0)) for one in clips])
    return mixed + numbers.sin() + timestep / 1000


films = st.integers(1, 80)


@settings(deadline=None, max_examples=60)
@given(films, st.integers(1, 24), st.sampled_from(list(BLENDS)), st.booleans(), st.integers(1, 3), st.integers(0, 3))
def test_windows_change_nothing_where_frames_do_not_see_each_other(frames, length, blend, loop, stride, step):
    options = Windows(length=length, overlap=length // 4, stride=stride)
    plan = plan_windows(options, frames=frames, levels=LEVELS, loop=loop)
    pointwise = lambda latents, t, numbers: latents * 2 + torch.tensor(list(numbers)).view(-1, 1, 1, 1) + t
    latents = torch.randn(frames, 4, 1, 1)
    found = windowed(pointwise, plan, blend=blend)(latents, LEVELS[step].timestep, range(frames))
    torch.testing.assert_close(found, pointwise(latents, LEVELS[step].timestep, range(frames)))


@settings(deadline=None, max_examples=40)
@given(films, st.sampled_from(list(BLENDS)), st.booleans(), st.integers(1, 7))
def test_threads_and_batches_change_no_bit(frames, blend, loop, batch):
    plan = plan_windows(Windows(length=8, overlap=3, stride=2), frames=frames, levels=LEVELS, loop=loop)
    latents = torch.randn(frames, 4, 2, 2)
    alone = windowed(crossing, plan, blend=blend)(latents, 499.0, range(frames))
    with ThreadPoolExecutor(2) as pool:
        parallel = windowed(crossing, plan, blend=blend, map=pool.map)(latents, 499.0, range(frames))
    batched = windowed(crossing, plan, blend=blend, batch=batch)(latents, 499.0, range(frames))
    assert torch.equal(parallel, alone)
    assert torch.equal(batched, alone)


def test_each_window_is_told_which_frames_it_holds():
    seen = []
    plan = plan_windows(Windows(length=3, overlap=1, schedule="static"), frames=5, levels=LEVELS)
    windowed(lambda latents, t, frames: seen.append(frames) or latents, plan)(
        torch.zeros(5, 4, 1, 1), 999.0, range(10, 15)
    )
    assert seen == [[10, 11, 12], [12, 13, 14]]


def test_windows_in_one_call_say_where_each_ends():
    seen = []
    plan = plan_windows(Windows(length=3, overlap=1, schedule="static"), frames=7, levels=LEVELS)
    denoise = windowed(lambda latents, t, frames: seen.append(frames) or latents, plan, batch=2)
    denoise(torch.zeros(7, 4, 1, 1), 999.0, range(7))
    assert seen == [Clips([0, 1, 2, 2, 3, 4], length=3), [4, 5, 6]]


def test_a_film_of_one_window_is_the_denoiser_itself():
    plan = plan_windows(Windows(), frames=16, levels=LEVELS)
    latents = torch.randn(16, 4, 2, 2)
    assert torch.equal(windowed(crossing, plan)(latents, 499.0, range(16)), crossing(latents, 499.0, range(16)))


def test_blending_is_exact_in_half_precision():
    """Sums of half-precision numbers would lose what float32 keeps."""
    plan = plan_windows(Windows(length=16, overlap=12, schedule="static"), frames=40, levels=LEVELS)
    latents = torch.randn(40, 4, 8, 8).half()
    found = windowed(lambda x, t, frames: x, plan)(latents, 999.0, range(40))
    assert found.dtype == torch.float16
    assert (found - latents).abs().max() <= 2 * torch.finfo(torch.float16).eps * latents.abs().max()
    assert (found != latents).float().mean() < 0.01


def test_shares_of_a_frame_add_up_to_one():
    plan = plan_windows(Windows(overlap=5, stride=2), frames=70, levels=LEVELS)
    for blend in BLENDS:
        total = [0.0] * 70
        for window, row in zip(plan(759), shares(plan(759), plan, blend=blend), strict=True):
            for frame, share in zip(window, row, strict=True):
                total[frame] += share
        assert total == pytest.approx([1.0] * 70)


def test_windows_move_from_step_to_step_unless_static():
    drifting = plan_windows(Windows(), frames=64, levels=LEVELS)
    static = plan_windows(Windows(schedule="static"), frames=64, levels=LEVELS)
    assert len({drifting(level.timestep) for level in LEVELS[:-1]}) == 4
    assert len({static(level.timestep) for level in LEVELS[:-1]}) == 1


def test_steps_at_one_timestep_have_the_same_windows():
    plan = plan_windows(Windows(), frames=64, levels=[(999, 0.1), (999, 0.1), (499, 0.5), (0, 1.0)])
    assert plan.steps == {999: 0, 499: 2}


@pytest.mark.parametrize("overlap", [16, 20])
def test_an_overlap_as_long_as_the_window_is_refused(overlap):
    with pytest.raises(ValidationError, match="is not below the window length, 16\n  → a quarter") as refusal:
        Windows(length=16, overlap=overlap)
    assert refusal.value.errors()[0]["ctx"]["error"].field == "overlap"


@pytest.mark.parametrize(
    ("options", "window", "settled"),
    [
        (Windows(), None, (16, 4)),
        (Windows(), 8, (8, 2)),
        (Windows(), 64, (64, 16)),
        (Windows(overlap=7), 32, (32, 7)),
        (Windows(length=12), 32, (12, 3)),
        (Windows(length=1), 32, (1, 0)),
        (Windows(length=12, overlap=0), 32, (12, 0)),
    ],
)
def test_windows_are_as_long_as_the_motion_module_draws_best(options, window, settled):
    plan = plan_windows(options, frames=100, levels=LEVELS, window=window)
    assert plan.options[:2] == settled
    assert {len(window) for window in plan(999)} == {settled[0]}


def test_an_overlap_that_the_motion_modules_window_has_no_room_for_is_refused():
    with pytest.raises(StoryboardError, match="8 is not below the window length, 8") as refusal:
        Windows(overlap=8).settled(8)
    assert refusal.value.field == "windows.overlap"


@pytest.mark.parametrize("schedule", ["uniform", "static"])
@pytest.mark.parametrize("loop", [False, True])
def test_early_steps_cover_all_frames_without_overlap_where_it_can_be(schedule, loop):
    plan = plan_windows(Windows(early=2, schedule=schedule), frames=64, levels=LEVELS, loop=loop)
    usual = plan_windows(Windows(schedule=schedule), frames=64, levels=LEVELS, loop=loop)
    for step, (timestep, _) in enumerate(LEVELS[:-1]):
        windows = plan(timestep)
        assert {frame for window in windows for frame in window} == {*range(64)}
        assert (len(windows) < len(usual(timestep))) == (step < 2)
        assert step < 2 or windows == usual(timestep)
    if schedule == "static" or loop:
        assert sum(map(len, plan(LEVELS[0][0]))) == 64
