"""Curves that follow a sound: clicks, tones and ramps whose loudness is known."""

import re
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lcm_video.errors import InputError
from lcm_video.media import loudness
from lcm_video.media.loudness import levels
from lcm_video.plan import plan
from lcm_video.reader import load_films
from lcm_video.storyboard import Shot, Storyboard, Video, shots
from lcm_video.timeline import Heard

RATE = 48_000
CLICKS = 0.5  # seconds from one to the next


@pytest.fixture
def sound(tmp_path):
    """Writes a mono WAV of samples from -1 to 1."""

    def write(samples, name="sound.wav"):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((np.asarray(samples) * 32_000).astype("<i2").tobytes())
        return str(tmp_path / name)

    return write


def seconds(length):
    return np.arange(round(length * RATE)) / RATE


def clicks(length=4.0, every=CLICKS):
    return np.where(seconds(length) % every < 0.004, 0.8, 0.0)


def heard(path, fps=8, first=0, frames=32, **options):
    return np.asarray(levels(Heard(path, **options), fps=Fraction(fps), first=first, frames=frames))


def test_loudness_follows_a_swelling_tone(sound):
    path = sound(np.sin(2 * np.pi * 100 * seconds(4)) * seconds(4) / 4)
    np.testing.assert_allclose(heard(path), (np.arange(32) + 0.5) / 31.5, atol=0.01)


@pytest.mark.parametrize("fps", [8, 12, 24, 30, "24000/1001"])
def test_onsets_are_in_the_frame_that_shows_their_click(sound, fps):
    found = heard(sound(clicks()), fps, frames=round(float(Fraction(fps)) * 4), kind="onsets")
    expected = {int(click * CLICKS * Fraction(fps) + 1e-9) for click in range(8)}
    strong = {*np.flatnonzero(found > 0.5).tolist()}
    assert expected <= strong | {frame - 1 for frame in strong}
    assert strong <= expected | {frame + 1 for frame in expected}
    assert len(found[found > 0.05]) <= 16


def test_bands_hear_their_own_tones_only(sound):
    low, high = np.sin(2 * np.pi * 80 * seconds(4)), np.sin(2 * np.pi * 6000 * seconds(4))
    path = sound(np.where(seconds(4) < 2, low, high) * 0.5)
    early, late = slice(2, 14), slice(18, 30)
    for band, loud, quiet in (("low", early, late), ("high", late, early), ([70, 90], early, late)):
        levels_ = heard(path, band=band)
        assert levels_[loud].min() > 0.9
        assert levels_[quiet].max() < 0.01
    assert heard(path, band="mid")[early].max() < 0.1
    assert heard(path).min() > 0.8


def test_the_loudest_frame_is_one_and_silence_zero(sound):
    path = sound(clicks() * 0.01)
    for kind in ("loudness", "onsets"):
        found = heard(path, kind=kind)
        assert (found.max(), found.min()) == (1.0, 0.0)
    assert not heard(sound(np.zeros(RATE), "silence.wav")).any()
    assert not heard(sound(np.zeros(RATE), "silence.wav"), kind="onsets").any()


def test_a_shot_hears_what_plays_while_it_is_shown(sound):
    path = sound(clicks(every=0.7))
    whole = heard(path, fps=12, frames=48)
    for first in (0, 5, 17):
        np.testing.assert_array_equal(heard(path, fps=12, first=first, frames=20), whole[first : first + 20])


def test_beyond_its_end_a_sound_begins_again_or_is_silent(sound):
    path = sound(np.sin(2 * np.pi * 100 * seconds(1)) * seconds(1))
    again = heard(path, frames=24)
    np.testing.assert_allclose(again[8:16], again[:8], atol=1e-6)
    np.testing.assert_array_equal(heard(path, frames=24, loop=False)[8:], np.zeros(16))
    np.testing.assert_allclose(heard(path, frames=4, start=0.5), heard(path, frames=8)[4:], atol=0.02)


def test_smoothing_spreads_to_both_sides_and_release_only_after(sound):
    path = sound(np.where((seconds(4) > 2) & (seconds(4) < 2.12), 0.5, 0) * np.sin(2 * np.pi * 200 * seconds(4)))
    plain, smooth = heard(path, fps=10, frames=40), heard(path, fps=10, frames=40, smooth="0.8s")
    slow, late = heard(path, fps=10, frames=40, release="1s"), heard(path, fps=10, frames=40, attack=0.3)
    assert plain[17] < 0.01 < smooth[17]
    assert plain[23] < 0.01 < smooth[23]
    np.testing.assert_allclose(smooth[17:24], smooth[23:16:-1], atol=0.25)
    assert slow[18] < 0.01
    assert 0.5 > slow[25] > slow[29] > 0.02
    assert late.argmax() >= plain.argmax()


@pytest.mark.parametrize("fps", [8, 240, 1])
def test_every_frame_rate_gives_one_level_a_frame(sound, fps):
    found = heard(sound(clicks()), fps, frames=fps * 3)
    assert found.shape == (fps * 3,)
    assert 0 <= found.min() <= found.max() <= 1


def test_pieces_of_a_long_sound_join_without_a_seam(sound, monkeypatch):
    path = sound(np.sin(2 * np.pi * 300 * seconds(4)) * (1 + np.sin(seconds(4) * 9)) / 2)
    pieces = [np.concatenate([*loudness._pieces(path, 0.0, many=many)]) for many in (1, 7, 100_000)]
    assert pieces[0].shape == (400, 2048)
    for other in pieces[1:]:
        np.testing.assert_array_equal(pieces[0], other)


def test_range_is_what_silence_and_the_loudest_become(sound):
    path = sound(clicks())
    board = Storyboard(
        prompts={"0": "a"},
        video=Video(frames=32),
        sampling={"guidance": Heard(path, kind="onsets", range=(2, 1))},
        curves={"drums": {"audio": path, "kind": "onsets"}, "twice": "@drums*2"},
    )
    (shot,) = shots(board)
    numbers = shot.values(shot.sampling.guidance)
    assert (min(numbers), max(numbers)) == (1.0, 2.0)
    assert shot.values("@twice") == tuple(2 * level for level in shot.values("@drums"))
    assert plan(board).shots[0].course.guidance == numbers


def test_values_from_a_sound_are_checked_before_anything_is_drawn(sound):
    board = Storyboard(
        prompts={"0": "a"},
        video=Video(frames=16),
        sampling={"guidance": "@drums*100"},
        curves={"drums": {"audio": sound(clicks()), "kind": "onsets"}},
    )
    with pytest.raises(ValueError, match=r"at frame \d+ is not between 0 and 30") as error:
        plan(board)
    assert error.value.field == "sampling.guidance"


@pytest.mark.parametrize(
    "options", [{"audio": ""}, {"band": [200, 20]}, {"band": "bass"}, {"smooth": "-1s"}, {"kind": "x"}]
)
def test_what_cannot_be_heard_is_refused(options):
    with pytest.raises(ValidationError):
        Heard(**{"audio": "a.wav", **options})


def test_sounds_that_cannot_be_read_are_told_by_name(tmp_path, sound):
    (tmp_path / "text.wav").write_text("not a sound")
    for path in (str(tmp_path / "missing.wav"), str(tmp_path / "text.wav"), str(tmp_path)):
        with pytest.raises(InputError, match=path) as error:
            heard(path)
        assert error.value.remedy
    with pytest.raises(InputError, match="no sound after 9 s"):
        heard(sound(clicks()), start=9)


def test_a_sound_too_long_to_be_one_is_refused(sound, monkeypatch):
    monkeypatch.setattr(loudness, "LONGEST", 3600 * 0)
    with pytest.raises(InputError, match="longer than 0 hours"):
        heard(sound(clicks(), "long.wav"))


def test_a_plan_reads_sound_only_where_a_curve_follows_one(sound):
    code = f"""
import sys
from lcm_video.plan import plan
from lcm_video.reader import load_text
plan(load_text("prompts: a\\nsampling: {{guidance: 1 + t/100}}", name="x"))
assert not {{"av", "torch", "numpy"}} & {{*sys.modules}}
plan(load_text("prompts: a\\nsampling: {{guidance: {{audio: {sound(clicks())}}}}}", name="x"))
print("av" in sys.modules, "torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True False\n"


def test_shots_cut_one_film_out_of_one_sound(sound):
    curves = {"drums": {"audio": sound(clicks(every=0.7))}}
    whole = Storyboard(prompts={"0": "a"}, video=Video(frames=30, fps=12), curves=curves)
    cut = Storyboard(
        prompts={"0": "a"}, video=Video(fps=12), curves=curves, shots={"a": Shot(frames=13), "b": Shot(frames=17)}
    )
    (one,), (first, second) = shots(whole), shots(cut)
    assert first.values("@drums") + second.values("@drums") == one.values("@drums")


def test_every_storyboard_of_the_documentation_can_be_planned(sound, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound(clicks(), "drums.wav")
    text = (Path(__file__).parents[1] / "docs" / "storyboard.md").read_text()
    shown = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert sum("curves:" in board for board in shown) >= 2
    for board in shown:
        Path("shown.yaml").write_text(board)
        planned = plan(load_films("shown.yaml")[0].board)
        assert planned.frames
        if "drums.wav" in board:
            numbers = planned.shots[0].course.guidance
            assert (min(numbers), max(numbers)) == pytest.approx((1, 1.8), abs=0.2)
