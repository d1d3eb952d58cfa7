"""The wave gives the bits of the plain way, whatever it is asked for and wherever it is cut."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lcm_video.chunks import CHUNK, chunks_of
from lcm_video.denoiser import held
from lcm_video.errors import NumbersError
from lcm_video.noise import frame_noise
from lcm_video.samplers import SAMPLERS, Betas, Level, Sampling, schedule
from lcm_video.wave import Take, Wave
from lcm_video.windows import Windows, plan_windows

SHAPE = (2, 3, 1)


def stand_in(latents, timestep, frames):
    """A denoiser in which every frame of a window depends on all others, on its place and on the step."""
    length = getattr(frames, "length", len(frames))
    clips = latents.unflatten(0, (-1, length))
    place = torch.tensor([*frames]).view(-1, length, 1, 1, 1).float()
    mixed = clips.roll(1, 1) * 0.4 + clips * 0.5 + clips.mean(1, keepdim=True) * 0.1
    return (mixed + (place + timestep / 100).sin() * 0.1).flatten(0, 1)


def take_of(frames, *, sampler="lcm", steps=4, loop=False, batch=1, blend="pyramid", levels=None, **windows):
    levels = levels or schedule(Sampling(sampler=sampler, steps=steps), Betas().alphas())
    noise = frame_noise(7, SHAPE)
    return Take(
        frames=frames,
        shape=SHAPE,
        levels=levels,
        sampler=sampler,
        denoise=stand_in,
        windows=plan_windows(Windows(**windows), frames=frames, levels=levels, loop=loop),
        begin=noise,
        noise=noise,
        blend=blend,
        batch=batch,
    )


def plain(take):
    *_, last = take.steps()
    return last.latents


def run(wave, into=None):
    """The chunks that a wave finishes, by their ranges."""
    found = {} if into is None else into
    for turn in wave:
        if turn.finished is not None:
            assert turn.stretch not in found
            found[turn.stretch] = turn.finished
    return found


def film(found):
    return torch.cat([found[chunk] for chunk in sorted(found, key=lambda chunk: chunk.start)])


@st.composite
def described(draw):
    """What `take_of` takes."""
    length = draw(st.integers(1, 12))
    return {
        "frames": draw(st.integers(1, 70)),
        "sampler": draw(st.sampled_from([*SAMPLERS])),
        "steps": draw(st.integers(1, 5)),
        "loop": draw(st.booleans()),
        "batch": draw(st.integers(1, 3)),
        "blend": draw(st.sampled_from(["pyramid", "flat", "overlap_linear"])),
        "length": length,
        "overlap": draw(st.integers(0, length - 1)),
        "stride": draw(st.integers(1, 3)),
        "schedule": draw(st.sampled_from(["uniform", "static"])),
    }


@settings(deadline=None, max_examples=100)
@given(described(), st.integers(1, 4))
def test_a_wave_gives_the_bits_of_the_plain_way(description, breadth):
    take = take_of(**description)
    assert torch.equal(film(run(Wave(take, breadth=breadth))), plain(take))


@settings(deadline=None, max_examples=40)
@given(described(), st.data())
def test_any_chunks_in_any_order_are_those_of_the_whole_film(description, data):
    take = take_of(**description)
    whole = plain(take)
    edges = sorted({0, take.frames, *data.draw(st.lists(st.integers(1, take.frames), max_size=6))})
    chunks = [range(*pair) for pair in pairwise(edges)]
    asked = data.draw(st.permutations(chunks))[: data.draw(st.integers(1, len(chunks)))]
    found = run(Wave(take, asked, breadth=data.draw(st.integers(1, 3))))
    assert [*found] == asked
    assert all(torch.equal(found[chunk], whole[chunk.start : chunk.stop]) for chunk in asked)


class Stopped(Exception):
    """What a `stopping` map raises."""


def stopping(after):
    """A ``map`` that computes so many windows in all, and then stops between two of them."""
    left = [after]

    def some(function, *arguments):
        for result in map(function, *arguments):
            yield result
            left[0] -= 1
            if left[0] <= 0:
                raise Stopped

    return some


def carried(live):
    """What comes back of ``live`` when it was written to a file and read again."""
    from safetensors.torch import load, save

    return load(save(live))


@settings(deadline=None, max_examples=40)
@given(described(), st.lists(st.integers(1, 12), min_size=1, max_size=12), st.booleans())
def test_a_wave_stopped_anywhere_goes_on_to_the_same_bits(description, stops, again):
    """``again``: by iterating once more; else by another wave, from what this one left."""
    take, found = take_of(**description), {}
    wave = Wave(take, map=stopping(stops[0]))
    total, computed = wave.windows, 0
    for after in [*stops[1:], 10_000]:
        try:
            run(wave, found)
            break
        except Stopped:
            assert computed < (computed := wave.done) <= total
        if again:
            wave._map = stopping(after)
        else:
            chunks = [chunk for chunk in chunks_of(take.frames) if chunk not in found]
            before, wave = wave, Wave(take, chunks, live=carried(wave.live()), map=stopping(after))
            # Nothing is computed twice: what the one had left is what the other has to do.
            assert wave.windows - wave.done == before.windows - before.done
            computed = wave.done
    else:
        run(wave, found)
    assert torch.equal(film(found), plain(take))


@settings(deadline=None, max_examples=40)
@given(described(), st.integers(1, 40), st.data())
def test_what_another_render_left_behind_does_no_harm(description, after, data):
    """Left by a wave for other chunks, even one that computed less of what is needed here."""
    take = take_of(**description)
    chunks = chunks_of(take.frames)
    theirs, ours = (data.draw(st.lists(st.sampled_from(chunks), unique=True, min_size=1)) for _ in range(2))
    wave = Wave(take, theirs, map=stopping(after))
    with suppress(Stopped):
        run(wave)
    whole = plain(take)
    assert all(
        torch.equal(finished, whole[c.start : c.stop])
        for c, finished in run(Wave(take, ours, live=wave.live())).items()
    )


def test_what_is_of_another_shape_is_left_where_it_is():
    take = take_of(20, length=8, overlap=2)
    wave = Wave(replace(take_of(20, length=8, overlap=2)), map=stopping(5))
    with pytest.raises(Stopped):
        run(wave)
    live = {name: rows if name.endswith("at") else rows[..., :1] for name, rows in wave.live().items()}
    live = {name: rows if name.endswith("at") else torch.cat([rows] * 2, -2) for name, rows in live.items()}
    assert torch.equal(film(run(Wave(take, live=live))), plain(take))
    assert torch.equal(film(run(Wave(take, live={}))), plain(take))


def test_a_chunk_stays_in_live_until_the_iteration_goes_on():
    take = take_of(40, length=8, overlap=2)
    wave = Wave(take)
    turns = iter(wave)
    first = next(turn for turn in turns if turn.finished is not None)
    other = iter(Wave(take, live=carried(wave.live())))
    handed = next(other)
    assert (handed.stretch, handed.frames, len(handed.denoised)) == (first.stretch, (), 0)
    assert torch.equal(handed.finished, first.finished)
    next(turns)
    kept = wave.live()["state.at"].tolist()
    assert not [frame for taken, frame in kept if taken == 4 and frame in first.stretch]


def test_only_what_a_chunk_needs_is_computed():
    """The cone of the sixth chunk: at its last step the windows that see it, before that those that see these."""
    seen = []

    def spied(latents, timestep, frames):
        seen.append((timestep, {*frames}))
        return stand_in(latents, timestep, frames)

    take = replace(take_of(400, length=16, overlap=4), denoise=spied)
    wave = Wave(take, [range(80, 96)])
    assert wave.windows < sum(len(take.windows(level.timestep)) for level in take.levels[:-1]) / 4
    run(wave)
    assert (wave.windows, wave.done) == (len(seen), len(seen))
    needed = {*range(80, 96)}
    for level in reversed(take.levels[:-1]):
        windows = [{*w} for w in take.windows(level.timestep) if needed & {*w}]
        assert sorted(map(sorted, windows)) == sorted(sorted(w) for t, w in seen if t == level.timestep)
        needed = needed.union(*windows)


def test_turns_tell_of_every_step_of_every_frame_once():
    take = take_of(60, length=8, overlap=3)
    turns = [*Wave(take)]
    for step, level in enumerate(take.levels[:-1]):
        own = [turn for turn in turns if turn.step == step]
        assert sorted(frame for turn in own for frame in turn.frames) == [*range(60)]
        assert {turn.timestep for turn in own} == {level.timestep}
    denoised = {step.index: step.denoised for step in take.steps()}
    assert all(torch.equal(turn.denoised, denoised[turn.step][[*turn.frames]]) for turn in turns)
    assert [turn.stretch for turn in turns if turn.finished is not None] == chunks_of(60)


@pytest.mark.parametrize("sampler", ["euler_a", "dpmpp_2m"])
def test_steps_that_share_a_timestep_are_told_apart(sampler):
    levels = (Level(900.0, 0.1), Level(500.0, 0.4), Level(500.0, 0.5), Level(500.0, 0.6), Level(0.0, 1.0))
    take = take_of(45, sampler=sampler, levels=levels, length=8, overlap=3)
    assert torch.equal(film(run(Wave(take))), plain(take))


@pytest.mark.parametrize("loop", [False, True])
def test_frames_are_held_at_their_source(loop):
    """A start whose strength varies over the film, from frames that never begin to frames that begin at once."""
    take = take_of(45, sampler="dpmpp_2m", steps=6, length=8, overlap=3, loop=loop)
    source = frame_noise(1, SHAPE)(9, range(45))
    begins = [6 - min(frame // 6, 6) for frame in range(45)]
    take = replace(take, around=lambda denoise: held(denoise, source, begins, take.levels))
    found = film(run(Wave(take)))
    assert torch.equal(found, plain(take))
    torch.testing.assert_close(found[0], source[0])
    assert not torch.allclose(found[44], source[44], atol=0.1)


def test_threads_change_no_bit():
    take = take_of(100, length=8, overlap=3)
    with ThreadPoolExecutor(3) as pool:
        assert torch.equal(film(run(Wave(take, map=pool.map, breadth=3))), plain(take))


@pytest.mark.parametrize("frames", [256, 1024])
@pytest.mark.parametrize(("options", "most"), [({}, 88), ({"loop": True}, 148), ({"sampler": "dpmpp_2m"}, 140)])
def test_as_many_latents_are_alive_in_a_film_of_any_length(frames, options, most):
    """With windows of 16 that overlap by 4, and 4 steps. A loop also keeps what its end will meet."""
    held = []

    def counting(function, *arguments):
        for result in map(function, *arguments):
            held.append(wave.held)
            yield result

    wave = Wave(take_of(frames, length=16, overlap=4, **options), map=counting)
    for _ in wave:
        held.append(wave.held)
    assert CHUNK < max(held) <= most
    assert wave.held == 0


@pytest.mark.parametrize("step", [0, 2, 3])
def test_latents_that_are_not_numbers_stop_the_film_and_say_where(step):
    take = take_of(40, length=8, overlap=2)
    broken = [True]

    def denoise(latents, timestep, frames):
        predicted = stand_in(latents, timestep, frames)
        if timestep == take.levels[step].timestep and 20 in frames and broken[0]:
            predicted[[*frames].index(20)] = torch.inf
        return predicted

    wave, found = Wave(replace(take, denoise=denoise)), {}
    with pytest.raises(NumbersError, match=rf"step {step + 1} of 4: the latents of frame 20 are not numbers, .*window"):
        run(wave, found)
    assert [*found] == ([range(0, 16)] if step == 3 else [])  # before that, the first chunk asks for frame 20 as well
    assert all(rows.isfinite().all() for rows in wave.live().values())
    broken[0] = False  # the model was moved to float32, say
    assert torch.equal(film(run(wave, found)), plain(take))


def test_chunks_outside_the_shot_or_over_each_other_are_refused():
    for chunks in ([range(10, 21)], [range(0, 4), range(3, 6)], [range(3, 3)]):
        with pytest.raises(ValueError, match="chunks"):
            Wave(take_of(20), chunks)
