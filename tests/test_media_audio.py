"""Sound is as long as the film, starts where it should, and never costs a picture."""

from fractions import Fraction

import av
import numpy as np
import pytest

from lcm_video.errors import EncodeError, InputError
from lcm_video.media import Output, facts, preflight, read_frames, write
from lcm_video.media.audio import RATE, samples

NTSC = Fraction(24000, 1001)
CARRIERS = ["mp4", "mov", "mkv", "webm"]


def pictures(count):
    return (np.full((48, 64, 3), 3 * number, np.uint8) for number in range(count))


def sound(path, *, seconds=1.5, rate=44_100, channels=2, codec="pcm_s16le", wave=None):
    """A file of 440 Hz (or of ``wave``, a function of time), as loud as half of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    signal = 0.5 * (wave or (lambda t: np.sin(2 * np.pi * 440 * t)))(time)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        data = np.round(signal * 32767).astype(np.int16).repeat(channels)[None]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format="s16", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        while part := fifo.read(1024, partial=True):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def heard(path):
    return np.concatenate([*samples(path)], axis=1)


def film(tmp_path, ending, *, frames=40, fps=NTSC, formats=(), **audio):
    output = Output(path=str(tmp_path / f"film.{ending}"), formats=formats, audio=audio)
    preflight(output, width=64, height=48, fps=fps)
    return write(pictures(frames), output, fps=fps)[0]


@pytest.mark.parametrize("ending", CARRIERS)
@pytest.mark.parametrize(
    ("seconds", "options"),
    [(1.5, {"start": 0.25}), (0.5, {}), (0.5, {"loop": "no"}), (9.0, {"start": "2", "fade": "0.3"})],
)
def test_sound_never_changes_the_length_of_the_film(tmp_path, ending, seconds, options):
    path = film(tmp_path, ending, source=str(sound(tmp_path / "a.wav", seconds=seconds)), **options)
    found = facts(path)
    assert (found.frames, found.fps) == (40, NTSC)
    assert len([*read_frames(path)]) == 40
    assert found.audio.startswith("opus 48000" if ending in ("webm", "mkv") else "aac 48000")
    length = 40 / NTSC
    with av.open(str(path)) as container:
        assert abs(Fraction(container.duration, 10**6) - length) < Fraction(15, 1000)
        stream = container.streams.audio[0]
        assert stream.codec_context.layout.name == "stereo"
        if ending in ("mp4", "mov"):
            assert abs(stream.duration * stream.time_base - length) <= Fraction(2, RATE), "to the sample"
    assert abs(heard(path).shape[1] / RATE - length) < 0.03, "the codec's own priming apart"


@pytest.mark.parametrize("ending", ["mkv", "webm"])
def test_sound_starts_with_the_first_picture(tmp_path, ending):
    path = film(
        tmp_path, ending, source=str(sound(tmp_path / "a.wav", wave=lambda t: np.sin(2 * np.pi * 440 * t) * (t > 0.5)))
    )
    onset = np.argmax(np.abs(heard(path)[0]) > 0.2) / RATE
    assert onset == pytest.approx(0.5, abs=0.03)


def test_trimming_starts_where_it_was_told(tmp_path):
    source = sound(tmp_path / "a.wav", seconds=3, wave=lambda t: np.sin(2 * np.pi * 440 * t) * (t > 1))
    path = film(tmp_path, "mkv", source=str(source), start=0.6)
    assert np.argmax(np.abs(heard(path)[0]) > 0.2) / RATE == pytest.approx(0.4, abs=0.03)


def loudness(path, start, end):
    part = heard(path)[:, round(start * RATE) : round(end * RATE)]
    return float(np.sqrt((part**2).mean()))


def test_a_short_sound_repeats_or_is_followed_by_silence(tmp_path):
    source = str(sound(tmp_path / "a.wav", seconds=0.5))
    full = 0.5 / 2**0.5
    assert loudness(film(tmp_path, "mkv", source=source), 1.1, 1.5) == pytest.approx(full, rel=0.05)
    assert loudness(film(tmp_path, "mkv", source=source, loop=False), 0.1, 0.4) == pytest.approx(full, rel=0.05)
    assert loudness(film(tmp_path, "mkv", source=source, loop=False), 0.7, 1.5) < 0.001


def test_volume_and_fades(tmp_path):
    source = str(sound(tmp_path / "a.wav", seconds=4))
    full = 0.5 / 2**0.5
    quiet = film(tmp_path, "mkv", source=source, volume=0.5)
    assert loudness(quiet, 0.2, 1.4) == pytest.approx(full / 2, rel=0.05)
    faded = film(tmp_path, "mkv", source=source, fade=0.5)
    assert loudness(faded, 0.03, 0.09) < 0.2 * full
    assert loudness(faded, 0.6, 1.0) == pytest.approx(full, rel=0.05)
    assert loudness(faded, 1.6, 1.66) < 0.2 * full


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("low.wav", {"rate": 8000, "channels": 1}),
        ("surround.flac", {"codec": "flac", "rate": 48_000, "channels": 6}),
        ("silent.wav", {"wave": np.zeros_like}),
        ("music.mp3", {"codec": "libmp3lame"}),
        ("music.m4a", {"codec": "aac"}),
        ("music.ogg", {"codec": "libopus", "rate": 48_000}),
    ],
)
def test_sound_of_any_kind_is_taken(tmp_path, name, options):
    source = sound(tmp_path / name, seconds=2, **options)
    path = film(tmp_path, "mp4", source=str(source))
    assert facts(path).frames == 40
    assert loudness(path, 0.2, 1.4) > 0.2 or "silent" in name


def test_sound_is_taken_from_a_film(tmp_path):
    (tmp_path / "a").mkdir()
    first = film(tmp_path / "a", "mp4", source=str(sound(tmp_path / "a.wav")))
    assert loudness(film(tmp_path, "webm", source=str(first)), 0.2, 1.2) > 0.2


def test_only_formats_that_carry_sound_get_it(tmp_path):
    film(tmp_path, "mp4", formats=["gif"], source=str(sound(tmp_path / "a.wav")))
    assert facts(tmp_path / "film.mp4").audio
    assert facts(tmp_path / "film.gif").frames == 40


def test_the_same_sound_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for ending in ("mp4", "webm"):
            film(tmp_path / folder, ending, source=str(sound(tmp_path / "a.wav")))
    for ending in ("mp4", "webm"):
        assert (tmp_path / "a" / f"film.{ending}").read_bytes() == (tmp_path / "b" / f"film.{ending}").read_bytes()


def test_a_corrupt_tail_costs_sound_but_no_picture(tmp_path):
    source = sound(tmp_path / "a.flac", codec="flac", seconds=3, wave=lambda t: np.sin(2 * np.pi * 440 * t**1.2))
    data = bytearray(source.read_bytes())
    half = len(data) // 2
    data[half:] = np.random.default_rng(0).integers(0, 256, len(data) - half, np.uint8).tobytes()
    source.write_bytes(data)
    with pytest.raises(EncodeError, match="the sound is incomplete") as caught:
        film(tmp_path, "mp4", source=str(source))
    assert caught.value.exit_code == 6
    assert "film.mp4" in caught.value.remedy
    path = tmp_path / "film.mp4"
    assert (facts(path).frames, facts(path).audio.startswith("aac")) == (40, True)
    assert loudness(path, 0.1, 0.3) > 0.2, "what could be decoded is there"


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "picture only", "folder"])
def test_sound_that_cannot_be_read_is_said_before_anything_is_rendered(tmp_path, kind):
    source = tmp_path / "source"
    if kind == "text":
        source.write_text("#EXTM3U\nhttp://127.0.0.1:9/a.ts\n")
    elif kind == "empty":
        source.touch()
    elif kind == "picture only":
        (source,) = write(pictures(3), Output(path=str(tmp_path / "silent.mp4")), fps=NTSC)
    elif kind == "folder":
        source.mkdir()
    with pytest.raises(InputError) as caught:
        film(tmp_path, "mp4", source=str(source))
    assert (caught.value.exit_code, bool(caught.value.remedy)) == (4, True)


def test_a_start_beyond_the_end_is_said_before_anything_is_rendered(tmp_path):
    with pytest.raises(InputError, match="no sound after 7 s"):
        film(tmp_path, "mp4", source=str(sound(tmp_path / "a.wav")), start=7)
