"""Pictures by anyone come back upright and right, or are refused before they can do harm."""

import os
import re
import socket
import struct
import subprocess
import sys
import zlib
from fractions import Fraction

import av
import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from lcm_video.errors import InputError
from lcm_video.media import Output, facts, read_frames, write

FPS = Fraction(8)


def gradient(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 90)], -1).astype(np.uint8)


def only(path):
    (frame,) = read_frames(path)
    return frame


MODES = [
    *(("png", mode) for mode in ("RGB", "L", "P", "1", "LA", "I;16")),
    *(("tiff", mode) for mode in ("RGB", "L", "P", "1", "CMYK", "I;16")),
    *(("jpg", mode) for mode in ("RGB", "L", "CMYK")),
]


@pytest.mark.parametrize(("ending", "mode"), MODES)
def test_pictures_of_any_mode_become_rgb(tmp_path, ending, mode):
    grey = Image.fromarray(gradient()).convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = (grey if mode in ("LA", "1") else Image.fromarray(gradient())).convert(mode)
    image.save(tmp_path / f"a.{ending}", **({"quality": 98, "subsampling": 0} if ending == "jpg" else {}))
    expected = (grey if mode in ("LA", "I;16") else image).convert("RGB")
    difference = np.abs(only(tmp_path / f"a.{ending}").astype(int) - np.asarray(expected)).max()
    assert difference <= (5 if ending == "jpg" else 0)


def test_16_bit_grey_keeps_its_brightness(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only(tmp_path / "a.png")[..., 1], values >> 8)


def test_transparency_is_laid_on_white(tmp_path):
    picture = np.dstack([np.full((4, 4, 3), 100, np.uint8), np.array([[0, 255, 128, 0]] * 4, np.uint8)])
    iio.imwrite(tmp_path / "a.png", picture)
    assert [*only(tmp_path / "a.png")[0, :, 0]] == [255, 100, 177, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = gradient()
    transposed = upright.transpose(1, 0, 2)
    turned = np.rot90(upright, 2)
    undo = [
        upright, np.fliplr(upright), turned, np.flipud(upright),
        transposed, np.rot90(upright), np.rot90(transposed, 2), np.rot90(upright, -1),
    ]  # fmt: skip
    stored = np.ascontiguousarray(undo[orientation - 1])
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(only(tmp_path / "a.png"), upright)


def ffmpeg(*arguments):
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *arguments], check=True)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_video_rotation_is_applied(tmp_path, degrees):
    (path,) = write(iter([gradient()] * 3), Output(path=str(tmp_path / "a.mp4")), fps=FPS)
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", path, "-c", "copy", turned)
    ffmpeg("-i", turned, "-frames:v", "1", tmp_path / "oracle.png")  # ffmpeg turns it by itself
    frame = next(read_frames(turned))
    assert np.abs(frame.astype(int) - iio.imread(tmp_path / "oracle.png")).max() < 12


def test_animated_images_and_folders_give_all_their_frames_in_order(tmp_path):
    frames = [np.full((8, 8, 3), 20 * number, np.uint8) for number in range(12)]
    iio.imwrite(tmp_path / "a.gif", frames, duration=100)
    (tmp_path / "folder").mkdir()
    for number, frame in enumerate(frames):
        iio.imwrite(tmp_path / "folder" / f"shot_{number}.png", frame)  # 10 after 9, not after 1
    (tmp_path / "folder" / "notes.txt").write_text("not a picture")
    for path in (tmp_path / "a.gif", tmp_path / "folder"):
        assert [int(frame.mean()) for frame in read_frames(path)] == [20 * number for number in range(12)]
    assert len([*read_frames(tmp_path / "a.gif", limit_frames=5)]) == 5
    assert facts(tmp_path / "folder").frames == 12


def test_uneven_timing_is_read_frame_by_frame(tmp_path):
    path = tmp_path / "vfr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for time in (0, 1, 7, 8, 30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), time * 8, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    means = [frame.mean() for frame in read_frames(path)]
    assert means == pytest.approx([0, 8, 56, 64, 240], abs=3)


def test_a_video_without_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(InputError):
        read_frames(tmp_path / "a.mkv")


# What could do harm.


def image_bomb(path, side):
    """A PNG of side² pixels in a few kilobytes; its data are never reached."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [8193, 12_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_image_bombs_are_refused_by_their_header(tmp_path, side):
    with pytest.raises(InputError) as caught:
        read_frames(image_bomb(tmp_path / "bomb.png", side))
    assert caught.value.exit_code == 4


def test_64_megapixels_are_the_limit(tmp_path):
    with pytest.raises(InputError, match="8192×8192"):
        read_frames(image_bomb(tmp_path / "bomb.png", 8192))


def test_video_bombs_are_refused_by_their_header(tmp_path):
    path = tmp_path / "bomb.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 8200, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(8200, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="8200×16"):
        read_frames(path)
    with pytest.raises(InputError, match="8200×16"):
        facts(path)


REFUSED = """
import sys
from lcm_video.errors import InputError
from lcm_video.media import about, facts, read_frames
for read in (read_frames, about, facts):
    try:
        read(sys.argv[1].replace("NUL", chr(0)))
        sys.exit(1)
    except InputError as error:
        assert error.remedy
"""


@pytest.mark.parametrize(
    "what", ["fifo", "/dev/zero", "directory", "socket", "missing", "empty", "link to a fifo", "nul"]
)
def test_what_is_not_a_file_is_refused_at_once(tmp_path, what):
    path = tmp_path / "input.mp4"
    with socket.socket(socket.AF_UNIX) as listener:
        if what in ("fifo", "link to a fifo"):
            os.mkfifo(path)
            if "link" in what:
                (tmp_path / "link.mp4").symlink_to(path)
                path = tmp_path / "link.mp4"
        elif what == "directory":
            path.mkdir()
        elif what == "socket":
            listener.bind(str(path))
        elif what == "empty":
            path.touch()
        name = {"/dev/zero": "/dev/zero", "nul": "a NUL b"}.get(what, str(path))
        assert subprocess.run([sys.executable, "-c", REFUSED, name], timeout=30).returncode == 0


@pytest.mark.parametrize(
    "name",
    ["http://127.0.0.1:{port}/a.mp4", "concat:{file}|{file}", "imageio:chelsea.png", "file:{file}", "subfile,,:{file}",
     "lavfi:testsrc", "data:image/png;base64,AAAA", "-"],
)  # fmt: skip
def test_names_are_never_protocols(tmp_path, name):
    (file,) = write(iter([gradient()] * 2), Output(path=str(tmp_path / "a.mp4")), fps=FPS)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        with pytest.raises(InputError):
            read_frames(name.format(file=file, port=server.getsockname()[1]))
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXTINF:1,\n{file}\n", "ffconcat version 1.0\nfile '{file}'\n", "<svg><image href='file:///etc/passwd'/></svg>",
     "%!PS-Adobe\n", "<?xml version='1.0'?><MPD/>"],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["mp4", "png"])
def test_playlists_and_scripts_in_disguise_are_refused(tmp_path, text, ending):
    (file,) = write(iter([gradient()] * 2), Output(path=str(tmp_path / "a.mp4")), fps=FPS)
    path = tmp_path / f"list.{ending}"
    path.write_text(text.format(file=file))
    with pytest.raises(InputError, match="not an image, video or sound"):
        read_frames(path)


def test_a_wrong_ending_does_not_matter(tmp_path):
    (path,) = write(iter([gradient()] * 2), Output(path=str(tmp_path / "a.mp4")), fps=FPS)
    path.rename(tmp_path / "a.png")
    assert len([*read_frames(tmp_path / "a.png")]) == 2


def test_a_truncated_film_gives_an_input_error_that_names_it(tmp_path):
    (path,) = write(iter([gradient()] * 9), Output(path=str(tmp_path / "a.gif")), fps=FPS)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=re.escape(str(path))):
        [*read_frames(path)]


def test_a_near_name_is_offered(tmp_path):
    (tmp_path / "foxes.png").touch()
    with pytest.raises(InputError) as caught:
        read_frames(tmp_path / "foxs.png")
    assert "foxes.png" in caught.value.remedy
