"""GIFs by table look-up: near colours, exact times, palettes that follow the film, and the same bytes every time."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from lcm_video.media import Output, facts, read_frames, write
from lcm_video.media.embedded_text import about
from lcm_video.media.gif_blocks import IMAGE, blocks
from lcm_video.media.gif_palette import CELLS, LONGEST, cells_of, lookup, median_cut, nearest, refined

FPS = Fraction(8)


def soft(count, *, side=64, hue=0.0):
    """Soft colours that drift."""
    y, x = np.mgrid[:side, :side] / side
    for number in range(count):
        phases = (x + number / 50, y - number / 60, x * y + number / 40)
        waves = [np.sin(2 * np.pi * (phase + hue)) for phase in phases]
        yield (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def written(folder, frames, **output):
    (path,) = write(iter(frames), Output(path=str(folder / "film.gif"), **{"gif": "fast", **output}), fps=FPS)
    return path


def psnr(path, frames):
    errors = [
        np.square(found.astype(float) - wanted).mean()
        for found, wanted in zip(read_frames(path), frames, strict=True)
    ]  # fmt: skip
    return 10 * np.log10(255**2 / np.mean(errors))


def palettes(path):
    """The palette of each frame: its own, or else the file's."""
    with path.open("rb") as file:
        header, *others = blocks(file)
    images = [block for block in others if block.startswith(IMAGE)]
    return [image[10 : 10 + 768] if image[9] & 0x80 else header[13:] for image in images]


def test_a_frames_colours_are_nearer_than_in_every_other_way(tmp_path):
    frames = [*soft(8)]
    ours = psnr(written(tmp_path, frames), frames)
    others = [psnr(written(tmp_path, frames, gif=kind), frames) for kind in ("quality", "small")]
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(tmp_path / "pillow.gif", save_all=True, append_images=rest, duration=125)
    assert ours > max(*others, psnr(tmp_path / "pillow.gif", frames), 30)


def test_a_cut_gives_a_palette_of_its_own(tmp_path):
    frames = [*soft(5), *(255 - frame // 2 for frame in soft(5, hue=0.4))]
    found = palettes(written(tmp_path, frames))
    assert len(set(found[:5])) == len(set(found[5:])) == 1
    assert found[4] != found[5]
    alone = palettes(written(tmp_path, frames[5:]))
    assert alone == found[5:], "as if each shot were a film"


def test_a_long_shot_gets_palettes_that_continue_each_other(tmp_path):
    frames = [*soft(2 * LONGEST + 5)]
    found = palettes(written(tmp_path, frames))
    assert len(found) == len(frames)
    assert [len(set(found[first : first + LONGEST])) for first in (0, LONGEST, 2 * LONGEST)] == [1, 1, 1]
    assert len({found[0], found[LONGEST], found[-1]}) == 3
    first, second = (np.frombuffer(found[at], np.uint8).reshape(-1, 3).astype(float) for at in (0, LONGEST))
    assert np.abs(first - second).mean() < 12, "colours keep their places, so that still parts do not flicker"


def test_frames_are_passed_on_a_segment_at_a_time(tmp_path):
    side, count = 512, 3 * LONGEST

    def frames():
        for number in range(count):
            yield np.full((side, side, 3), number % 7 * 4, np.uint8)

    tracemalloc.start()
    written(tmp_path, frames())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    segment = LONGEST * side * side
    assert most < 1.5 * segment * (3 + 4), "frames and their cells, of one segment"


@pytest.mark.parametrize("rate", [Fraction(8), Fraction(25, 2), Fraction(24000, 1001), Fraction(50)])
def test_times_are_exact_on_average_and_equal_frames_stay_frames(tmp_path, rate):
    frames = [*soft(5)] + [next(soft(1))] * 8
    path = tmp_path / "film.gif"
    write(iter(frames), Output(path=str(path), gif="fast"), fps=rate)
    found = facts(path)
    assert found.frames == 13
    assert abs(found.duration - 13 / rate) <= Fraction(1, 200)


@pytest.mark.parametrize(("repeat", "loop"), [(True, 0), (False, None)])
def test_the_loop_and_the_storyboard_are_in_the_file(tmp_path, repeat, loop):
    (path,) = write(
        soft(3), Output(path=str(tmp_path / "film.gif"), gif="fast", repeat=repeat), fps=FPS, about="prompts: {0: fox}"
    )
    with Image.open(path) as image:
        assert image.info.get("loop") == loop
    assert about(path) == "prompts: {0: fox}"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (50, 8)])
def test_odd_sizes_and_single_frames(tmp_path, height, width):
    frames = [np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)]
    path = written(tmp_path, frames)
    assert [frame.shape for frame in read_frames(path)] == [(height, width, 3)]


def test_flat_colours_are_kept_to_within_a_cell(tmp_path):
    flags = [np.broadcast_to(np.uint8(colour), (16, 16, 3)) for colour in ((255, 0, 0), (0, 0, 0), (12, 200, 77))]
    for found, wanted in zip(read_frames(written(tmp_path, flags)), flags, strict=True):
        assert np.abs(found.astype(int) - wanted).max() <= 1


def test_the_bytes_are_the_same_every_time_and_hold_no_block_twice(tmp_path):
    frames = [*soft(40, side=96)]
    first, again = (written(tmp_path, frames).read_bytes() for _ in range(2))
    assert first == again
    with (tmp_path / "film.gif").open("rb") as file:
        assert sum(block.startswith(IMAGE) for block in blocks(file)) == 40


def test_the_table_holds_the_nearest_colour_of_the_palette():
    rng = np.random.default_rng(1)
    palette = rng.integers(0, 256, (256, 3)).astype(np.float32)
    frame = rng.integers(0, 256, (20, 30, 3), np.uint8)
    cells = cells_of(frame)
    chosen = lookup(palette, [cells])[cells]
    width = 256 // CELLS
    middles = (frame // width * width + width // 2).astype(float)
    distances = np.square(middles[:, :, None] - palette).sum(-1)
    assert (chosen == distances.argmin(-1)).all()


def test_refining_brings_the_palette_nearer_to_the_pixels():
    pixels = np.concatenate([frame.reshape(-1, 3) for frame in soft(4)])
    exact = pixels.astype(np.float32)
    start = median_cut(pixels)
    errors = []
    for rounds in (0, 1, 6):
        palette = refined(start, exact, rounds=rounds)
        assert (palette == palette.round()).all(), "whole numbers, whose distances are exact"
        errors.append(np.square(palette[nearest(palette, exact)] - exact).mean())
    assert errors[0] > errors[1] > errors[2]
