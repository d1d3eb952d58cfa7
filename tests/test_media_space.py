"""Room on the disk: estimated before a film begins, and watched while it grows. Disks really full: test_media_disks."""

import subprocess
import sys
from collections import namedtuple
from fractions import Fraction

import numpy as np
import pytest

from lcm_video.errors import ResourceError
from lcm_video.media import FORMATS, Output, check_space, facts, preflight, space_needed, write
from lcm_video.media.film import Film
from lcm_video.media.leftovers import bytes_of
from lcm_video.media.space import BITS, RESERVE, NoSpaceLeft, Room

FPS = Fraction(8)
Usage = namedtuple("Usage", "total used free")


def textured(count, height=128, width=128, seed=0):
    """A cloudy ground that pans, with a little grain: what compresses badly for a film."""
    random = np.random.default_rng(seed)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width, indexing="ij"))
    radius[0, 0] = 1
    clouds = [np.fft.ifft2(np.fft.fft2(random.normal(size=(height, width))) / radius**1.2).real for _ in range(3)]
    ground = np.stack([128 + 45 * (cloud - cloud.mean()) / cloud.std() for cloud in clouds], -1)
    for number in range(count):
        picture = np.roll(ground, (number, 2 * number), (0, 1)) + random.normal(0, 1, ground.shape)
        yield picture.clip(0, 255).astype(np.uint8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def free(monkeypatch):
    """Lets a test say how many bytes the disk has left."""

    def say(*sizes):
        left = [*sizes]
        monkeypatch.setattr(
            "shutil.disk_usage", lambda path: Usage(10**12, 0, left.pop(0) if len(left) > 1 else left[0])
        )

    return say


CODECS = [(ending, codec) for ending, known in FORMATS.items() for codec in known.codecs or ("",)]


@pytest.mark.parametrize(("ending", "codec"), CODECS)
def test_films_need_no_more_than_is_estimated_and_not_ten_times_less(tmp_path, ending, codec):
    for quality in (18, 35):
        output = Output(path=str(tmp_path / f"film.{ending}"), codec=codec, quality=quality)
        (path,) = write(textured(12), output, fps=FPS)
        (needed,) = space_needed(output, 128, 128, FPS, 12).values()
        copies = 2 if FORMATS[ending].is_video or ending == "gif" else 1
        assert bytes_of(path) * copies <= needed
        # Tags and tables count for much in so short a film.
        assert needed <= 12 * bytes_of(path) * copies + 60_000


def test_every_codec_and_format_has_an_estimate():
    assert BITS.keys() == {codec or ending for ending, codec in CODECS}


def test_the_estimate_grows_with_what_a_film_has_more_of():
    def needed(width=512, frames=240, **options):
        (size,) = space_needed(Output(path="film.mp4", **options), width, 512, FPS, frames).values()
        return size

    plain = needed()
    assert needed(width=1024) == pytest.approx(2 * plain, rel=0.01)
    assert needed(frames=480) == pytest.approx(2 * plain, rel=0.01)
    assert needed(quality=12) == pytest.approx(2 * plain, rel=0.01)
    assert needed(chroma="444") > 1.4 * plain
    assert needed(formats=("gif", "webm")) > 2 * plain
    assert needed(audio={"source": "a.wav"}) - plain == pytest.approx(1.3 * 24_000 * 30, rel=0.01)
    assert plain < 50e6, "a film of half a minute at 512² is no giant"


def test_too_little_room_is_said_before_anything_is_drawn(tmp_path, free):
    free(2_000_000)
    options = {"width": 512, "height": 512, "fps": FPS, "frames": 240}
    output = Output(path=str(tmp_path / "new" / "film.mp4"))
    for ask in (preflight, check_space):
        with pytest.raises(ResourceError, match=r"new: about \d+ MB are needed, 2.0 MB are free") as caught:
            ask(output, **options)
        assert caught.value.exit_code == 5
        assert "output.path" in caught.value.remedy
    assert names(tmp_path) == []
    free(200_000_000)
    preflight(output, **options)


def test_what_else_is_written_to_the_same_disk_counts_too(tmp_path, free):
    options = {"width": 512, "height": 512, "fps": FPS, "frames": 240}
    output = Output(path=str(tmp_path / "film.mp4"))
    free(200_000_000)
    check_space(output, **options, more={tmp_path / "work": 100_000_000})
    with pytest.raises(ResourceError, match="needed"):
        check_space(output, **options, more={tmp_path / "work": 190_000_000})


def test_what_an_earlier_render_left_counts_as_free(tmp_path, free):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    output, options = Output(path=str(tmp_path / "film.mp4")), {"width": 64, "height": 64, "fps": FPS, "frames": 16}
    free(10_000)
    with pytest.raises(ResourceError):
        check_space(output, **options)
    (tmp_path / f".film.{gone.pid}.part.mp4").write_bytes(bytes(200_000))
    check_space(output, **options)


def test_the_reserve_is_small_for_small_films_and_never_above_64_megabytes():
    def reserve(side, frames):
        return Room(Film(side, side, FPS, Output(path="film.mp4"), expected=frames)).reserve

    assert reserve(64, 16) < 250_000
    assert reserve(512, 240) < 20_000_000
    assert reserve(1024, 10_000) == RESERVE


@pytest.mark.parametrize("ending", ["mp4", "webm", "webp", "png"])
def test_a_disk_that_fills_up_stops_a_film_while_it_can_still_be_ended(tmp_path, free, ending):
    free(*[10**9] * 10, 1000)
    drawn = []

    def frames():
        for frame in textured(40, 64, 64):
            drawn.append(1)
            yield frame

    with pytest.raises(NoSpaceLeft, match=r"only 1.0 kB are left") as caught:
        write(frames(), Output(path=str(tmp_path / f"film.{ending}")), fps=FPS)
    assert caught.value.exit_code == 5
    assert len(drawn) < 20
    (partial,) = tmp_path.iterdir()
    assert 11 <= facts(partial).frames <= len(drawn)
    assert str(partial) in str(caught.value)
