"""Films last exactly as long as they should, in every container."""

import itertools
import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from lcm_video.errors import StoryboardError
from lcm_video.media import Output, facts, preflight, write
from lcm_video.media.film import Film

NTSC = Fraction(24000, 1001)
RATES = [
    Fraction(8),
    Fraction(25, 2),
    NTSC,
    Fraction(30000, 1001),
    Fraction(60000, 1001),
    Fraction(1, 2),
    Fraction(120),
]


def moving(count):
    y, x = np.mgrid[:48, :64]
    for i in range(count):
        yield np.stack([(x * 2 + i * 9) % 256, (y * 3 + i * 5) % 256, (x + y + i * 20) % 256], -1).astype(np.uint8)


def written(tmp_path, ending, *, fps, count=13, loop=False, **options):
    (path,) = write(moving(count), Output(path=str(tmp_path / f"film.{ending}"), **options), fps=fps, loop=loop)
    return path


def stamps(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(packet.pts * stream.time_base for packet in container.demux(stream) if packet.size)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
@pytest.mark.parametrize("fps", RATES)
def test_mp4_declares_the_exact_rate_and_all_steps_are_equal(tmp_path, fps, codec):
    path = written(tmp_path, "mp4", fps=fps, codec=codec)
    times = stamps(path)
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {1 / fps}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == fps
        assert stream.frames == 13
        assert stream.duration * stream.time_base == 13 / fps
        assert (stream.start_time or 0) == 0


@pytest.mark.parametrize("ending", ["mkv", "webm"])
@pytest.mark.parametrize("fps", [*RATES, Fraction(997, 83)])
def test_matroska_declares_the_rate_to_the_nanosecond_and_is_right_to_the_millisecond(tmp_path, fps, ending):
    path = written(tmp_path, ending, fps=fps)
    assert facts(path).fps == pytest.approx(fps, rel=1e-8)
    assert facts(path).fps == fps or fps == Fraction(997, 83)
    for number, time in enumerate(stamps(path)):
        assert abs(time - number / fps) <= Fraction(1, 1000)


def test_another_ffmpeg_reads_the_same_rate_and_length(tmp_path):
    path = written(tmp_path, "mp4", fps=NTSC, count=48)
    run = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True)
    assert "23.98 fps" in run.stderr
    assert "Duration: 00:00:02.00" in run.stderr


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_the_index_comes_first_key_frames_are_closed_and_apple_knows_the_codec(tmp_path, codec):
    path = written(tmp_path, "mp4", fps=Fraction(8), count=60, codec=codec)
    found = facts(path)
    assert (found.faststart, found.closed_gop) == (True, True)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert (b"hvc1" if codec == "h265" else b"avc1") in data
    assert b"hev1" not in data
    with av.open(str(path)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe]
        step = 1 / (8 * container.streams.video[0].time_base)
    assert max(np.diff([*keys, 60 * step])) <= 16 * step, "a key frame at least every two seconds"


def test_an_open_group_of_pictures_is_noticed(tmp_path):
    path = str(tmp_path / "open.mp4")
    with av.open(path, "w") as container:
        params = {"x265-params": "log-level=none:open-gop=1:keyint=8:min-keyint=8"}
        stream = container.add_stream("libx265", rate=8, options=params)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in moving(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    found = facts(path)
    assert (found.closed_gop, found.faststart) == (False, False)


@pytest.mark.parametrize("preset", ["quality", "small"])
@pytest.mark.parametrize("fps", [Fraction(8), Fraction(25, 2), NTSC, Fraction(50)])
def test_gif_delays_alternate_so_that_the_length_is_exact(tmp_path, fps, preset):
    path = written(tmp_path, "gif", fps=fps, count=37, gif=preset)
    with Image.open(path) as image:
        delays = []
        for number in range(image.n_frames):
            image.seek(number)
            delays.append(image.info["duration"])
    assert len(delays) == 37
    assert abs(sum(delays) - 37 * 1000 / fps) <= 5
    assert max(delays) - min(delays) <= 10


def test_equal_frames_stay_frames_of_a_gif(tmp_path):
    still = next(moving(1))
    (path,) = write(iter([still] * 12), Output(path=str(tmp_path / "film.gif")), fps=Fraction(8))
    found = facts(path)
    assert (found.frames, found.duration) == (12, Fraction(3, 2))


def test_animated_webp_delays_average_exactly(tmp_path):
    found = facts(written(tmp_path, "webp", fps=NTSC, count=48))
    assert abs(found.duration - 48 / NTSC) <= Fraction(1, 2000)


@pytest.mark.parametrize("fps", RATES)
def test_apng_has_the_exact_rate(tmp_path, fps):
    found = facts(written(tmp_path, "apng", fps=fps))
    assert (found.fps, found.duration) == (fps, 13 / fps)


@given(
    fps=st.fractions(Fraction(1, 10), 100, max_denominator=2000),
    frames=st.integers(1, 400),
    tick=st.sampled_from([100, 1000]),
)
def test_whole_delays_never_drift(fps, frames, tick):
    film = Film(64, 48, fps, Output())
    total = 0
    for frame in range(frames):
        total += film.ticks(frame, tick)
        assert abs(total - (frame + 1) * tick / fps) <= Fraction(1, 2)


@pytest.mark.parametrize("ending", ["gif", "webp", "apng"])
def test_animated_images_repeat_unless_told_otherwise(tmp_path, ending):
    def plays(path):
        if ending == "gif":
            with Image.open(path) as image:
                return image.info.get("loop", 1)
        data = path.read_bytes()
        if ending == "webp":
            return int.from_bytes(data[data.index(b"ANIM") + 12 :][:2], "little")
        return int.from_bytes(data[data.index(b"acTL") + 8 :][:4], "big")

    assert plays(written(tmp_path, ending, fps=Fraction(8))) == 0, "0 = for ever"
    assert plays(written(tmp_path, ending, fps=Fraction(8), repeat=False)) == 1
    assert plays(written(tmp_path, ending, fps=Fraction(8), repeat=False, loop=True)) == 0, "a seamless film repeats"


def test_a_rate_that_gif_cannot_show_is_refused_before_anything_is_rendered():
    preflight(Output(path="a.gif"), width=64, height=48, fps=Fraction(50))
    with pytest.raises(StoryboardError, match="cannot show 60 frames a second") as caught:
        preflight(Output(path="a.mp4", formats=["gif"]), width=64, height=48, fps=Fraction(60))
    assert caught.value.exit_code == 3
