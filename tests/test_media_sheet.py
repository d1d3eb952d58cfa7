"""The contact sheet shows the frames asked for, where a reader looks for them."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image, ImageFont

from lcm_video.errors import EncodeError
from lcm_video.media import picked, read_frames, sheet
from lcm_video.media.contact_sheet import BACKGROUND, arranged, shortened


def flat(*colour, height=64, width=64):
    return np.full((height, width, 3), colour, np.uint8)


@given(total=st.integers(1, 500), count=st.integers(1, 60))
def test_picked_frames_are_even_and_include_both_ends(total, count):
    numbers = picked(total, count)
    assert len(numbers) == len({*numbers}) == min(total, count)
    assert numbers[0] == 0
    assert numbers[-1] == total - 1 or count == 1
    gaps = np.diff(numbers)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_every_frame_is_on_the_sheet_in_reading_order(tmp_path):
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (200, 0, 200)]
    frames = [(number, flat(*colour), f"prompt {number}") for number, colour in enumerate(colours)]
    path = sheet(frames, tmp_path / "out" / "sheet.png", columns=3, title="a title", fps=8.0)
    (picture,) = read_frames(path)
    layout = arranged(frames, columns=3, title="a title")
    assert picture.shape[:2] == layout.size[::-1]
    for index, colour in enumerate(colours):
        left, top = layout.place(index)
        width, height = layout.thumb
        assert {tuple(pixel) for pixel in picture[top : top + height, left : left + width].reshape(-1, 3)} == {colour}
        assert (picture[top + height + 4 : top + height + layout.below, left : left + width] != BACKGROUND).any(), (
            "text"
        )
    assert tuple(picture[0, 0]) == BACKGROUND
    assert [file.name for file in path.parent.iterdir()] == ["sheet.png"]


@pytest.mark.parametrize(
    ("size", "thumb"),
    [((128, 128), (256, 256)), ((64, 48), (256, 192)), ((512, 512), (224, 224)), ((768, 512), (224, 149))],
)
def test_small_films_are_enlarged_by_whole_factors_and_large_ones_reduced(size, thumb):
    width, height = size
    layout = arranged([(0, flat(1, 2, 3, height=height, width=width), "")], columns=0, title="")
    assert layout.thumb == thumb


@pytest.mark.parametrize("count", [1, 2, 5, 7, 12, 16, 40])
def test_the_sheet_is_never_a_strip_and_wastes_less_than_a_row(count):
    layout = arranged([(0, flat(1, 2, 3), "")] * count, columns=0, title="")
    assert 0 <= layout.columns * layout.rows - count < layout.columns
    assert layout.size[0] < 4 * layout.size[1] or count < 4


@pytest.mark.parametrize(
    "text", ["春の草原の狐", "مرحبا", "🦊🦊", "a\nb\tc", "\u200d\ufe0f", "x" * 5000, "", "128×128 → 8"]
)
def test_any_text_is_drawn_without_complaint(tmp_path, text):
    assert sheet([(0, flat(9, 9, 9), text)], tmp_path / "sheet.png", title=text).is_file()


def test_long_captions_end_in_an_ellipsis_and_fit():
    font = ImageFont.load_default(size=14)
    text = shortened("a fox in a spring meadow, " * 9, font, 224)
    assert text.endswith("…")
    assert font.getlength(text) <= 224
    assert shortened("a fox", font, 224) == "a fox"


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(EncodeError):
        sheet([], tmp_path / "sheet.png")


def test_the_same_sheet_has_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        sheet([(0, flat(1, 2, 3), "a fox")], tmp_path / name, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
