"""Colours come back as they went in, from our reader and from another FFmpeg, and say what they are."""

import subprocess
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest

from lcm_video.errors import InputError
from lcm_video.media import Output, facts, read_frames, write

FPS = Fraction(8)
SIDE, MARGIN = 32, 10
"""Pixels of a patch and of its rim, where neighbours' chroma bleeds in."""

LOSSY = [
    ("mp4", "h264"), ("mp4", "h265"), ("mp4", "av1"), ("mov", "prores"), ("mkv", "h264"),
    ("webm", "vp9"), ("webm", "av1"),
]  # fmt: skip


def patches():
    """64 flat patches: all combinations of four levels, the corners of the colour cube among them."""
    levels = np.array([0, 85, 170, 255], np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(8, 8, 3)
    return colours.repeat(SIDE, 0).repeat(SIDE, 1)


def middles(frame):
    grid = frame.reshape(8, SIDE, 8, SIDE, 3)
    return grid[:, MARGIN:-MARGIN, :, MARGIN:-MARGIN].mean((1, 3))


def error(frame):
    return np.abs(middles(frame) - middles(patches())).max()


def saved(tmp_path, ending, frame, **options):
    (path,) = write(iter([frame] * 3), Output(path=str(tmp_path / f"film.{ending}"), **options), fps=FPS)
    return path


def other_ffmpeg(path):
    """The first frame by the ffmpeg of imageio-ffmpeg, which reads the tags for itself."""
    exact = "scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-vf", exact, "-frames:v", "1"]
    run = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    return np.frombuffer(run.stdout, np.uint8).reshape(patches().shape)


@pytest.mark.parametrize(("ending", "codec"), LOSSY)
def test_420_keeps_flat_colours_within_3_for_everyone(tmp_path, ending, codec):
    path = saved(tmp_path, ending, patches(), codec=codec, quality=12)
    assert error(next(read_frames(path))) <= 3
    assert error(other_ffmpeg(path)) <= 3


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "h264"), ("mp4", "h265"), ("mov", "prores")])
def test_444_keeps_flat_colours_within_1_for_everyone(tmp_path, ending, codec):
    path = saved(tmp_path, ending, patches(), codec=codec, chroma="444", quality=8)
    assert error(next(read_frames(path))) <= 1
    assert error(other_ffmpeg(path)) <= 1


def test_vp9_444_keeps_flat_colours_within_what_8_bits_allow(tmp_path):
    path = saved(tmp_path, "webm", patches(), chroma="444")
    assert error(next(read_frames(path))) <= 2


@pytest.mark.parametrize("ending", ["gif", "webp", "apng", "png", "jpg"])
def test_images_keep_flat_colours(tmp_path, ending):
    limit = {"gif": 4, "webp": 3, "jpg": 3}.get(ending, 0)
    assert error(next(read_frames(saved(tmp_path, ending, patches())))) <= limit


@pytest.mark.parametrize(("ending", "codec"), [("mp4", "h264"), ("mp4", "h265"), ("webm", "vp9"), ("mov", "prores")])
def test_ten_generations_of_saving_and_loading_do_not_drift(tmp_path, ending, codec):
    frame = patches()
    errors = []
    for _ in range(10):
        frame = next(read_frames(saved(tmp_path, ending, frame, codec=codec, quality=10)))
        errors.append(error(frame))
    assert max(errors) <= errors[0] + 2


@pytest.mark.parametrize(("ending", "codec"), LOSSY)
def test_stream_and_frames_are_tagged_bt709_limited(tmp_path, ending, codec):
    path = saved(tmp_path, ending, patches(), codec=codec)
    assert facts(path).colour == "bt709 limited"
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        frame = next(container.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (1, 1, 1, 1)


def foreign(path, *, codec="libx264", pixels="yuv420p", tags=None, convert=None):
    """A video by someone else, with whatever tags."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8, options={"crf": "4"} if codec == "libx264" else {})
        stream.height, stream.width = patches().shape[:2]
        stream.pix_fmt = pixels
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        frame = av.VideoFrame.from_ndarray(patches(), format="rgb24").reformat(format=pixels, **(convert or {}))
        for name, value in (tags or {}).items():
            setattr(frame, name, value)
        for number in range(3):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


BT601 = {"src_colorspace": "ITU601", "dst_colorspace": "ITU601", "src_color_range": "JPEG"}


@pytest.mark.parametrize(
    ("tags", "convert"),
    [
        ({}, {**BT601, "dst_color_range": "MPEG"}),  # small and untagged
        ({"colorspace": 6, "color_range": 1}, {**BT601, "dst_color_range": "MPEG"}),
        ({"colorspace": 5, "color_range": 2}, {**BT601, "dst_color_range": "JPEG"}),
    ],
)
def test_films_by_others_are_read_as_they_say(tmp_path, tags, convert):
    assert error(next(read_frames(foreign(tmp_path / "a.mp4", tags=tags, convert=convert)))) <= 3


def test_rgb_video_is_read_exactly(tmp_path):
    path = foreign(tmp_path / "a.mkv", codec="ffv1", pixels="bgr0")
    np.testing.assert_array_equal(next(read_frames(path)), patches())


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_rather_than_shown_wrong(tmp_path, transfer, name):
    path = foreign(tmp_path / "a.mp4", tags={"color_trc": transfer, "colorspace": 9})
    with pytest.raises(InputError, match=name):
        next(read_frames(path))
