"""Every film carries its storyboard, unharmed; what strangers put there is read with care or not at all."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from fractions import Fraction

import av
import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lcm_video.errors import EncodeError, InputError
from lcm_video.media import Output, about, facts, read_frames, write

FPS = Fraction(8)
ENDINGS = ["mp4", "mov", "mkv", "webm", "gif", "webp", "apng", "png", "jpg"]
STORYBOARD = """prompts:
  0: "a fox, \\"quoted\\", it's <b>bold</b> & ${braces} %s %(x)s ;=#\\\\ \ttab"
  2s: {text: 春の狐 🦊 👩‍👩‍👧 é naïve مرحبا, ease: smooth}
# ]]> <!-- --> &amp; &#13; \u2028 line separator
"""


def pictures(count=3):
    return (np.full((48, 64, 3), 40 * number, np.uint8) for number in range(count))


def written(tmp_path, ending, text, *, count=3, **options):
    (path,) = write(pictures(count), Output(path=str(tmp_path / f"film.{ending}"), **options), fps=FPS, about=text)
    return path


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_text_comes_back_letter_for_letter(tmp_path, ending):
    path = written(tmp_path, ending, STORYBOARD)
    assert about(path) == STORYBOARD
    assert facts(path).has_about


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_long_storyboard_comes_back_whole(tmp_path, ending):
    text = "".join(f"{frame}: a fox number {frame}\n" for frame in range(12_000 if ending != "jpg" else 2_000))
    assert len(text) > (250_000 if ending != "jpg" else 40_000)
    assert about(written(tmp_path, ending, text[:255_000])) == text[:255_000]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_text_beyond_the_limit_leaves_its_fingerprint(tmp_path, ending):
    text = "ü" * 200_000
    note = about(written(tmp_path, ending, text))
    assert hashlib.sha256(text.encode()).hexdigest() in note
    assert "400000 bytes were too many" in note
    assert len(note) < 200


@pytest.mark.parametrize("ending", ENDINGS)
def test_without_metadata_no_key_of_ours_is_left(tmp_path, ending):
    path = written(tmp_path, ending, STORYBOARD, metadata=False)
    for file in [path] if path.is_file() else path.iterdir():
        data = file.read_bytes().lower()
        for trace in (b"lcm_video", b"fox", b"parameters", b"lavf6", os.environ.get("HOME", "/root").encode()):
            assert trace not in data, trace
    assert about(path) is None


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_place_or_time_is_left_in_a_file(tmp_path, ending):
    path = written(tmp_path, ending, STORYBOARD)
    for file in [path] if path.is_file() else path.iterdir():
        data = file.read_bytes()
        assert str(tmp_path).encode() not in data
        assert b"creation_time" not in data


def test_every_png_frame_carries_the_storyboard_and_what_other_tools_read(tmp_path):
    output = Output(path=str(tmp_path / "film.png"))
    (folder,) = write(pictures(), output, fps=FPS, about=STORYBOARD, parameters=lambda frame: f"fox {frame}\nSteps: 4")
    for number, path in enumerate(sorted(folder.iterdir())):
        assert about(path) == STORYBOARD
        with Image.open(path) as image:
            assert image.text["parameters"] == f"fox {number}\nSteps: 4"
    assert about(folder) == STORYBOARD


def test_a_single_picture_carries_it_too(tmp_path):
    assert about(written(tmp_path, "png", STORYBOARD, count=1)) == STORYBOARD


def test_a_gif_comment_is_seen_by_pillow_and_pyav_alike(tmp_path):
    path = written(tmp_path, "gif", "prompts: {0: a fox}")
    with Image.open(path) as image:
        assert image.info["comment"] == b"lcm_video\nprompts: {0: a fox}"
    with av.open(str(path)) as container:
        assert container.metadata["comment"].endswith("prompts: {0: a fox}")
    data = path.read_bytes()
    assert data.index(b"NETSCAPE2.0") < data.index(b"lcm_video")


def test_a_gif_that_plays_once_carries_it_too(tmp_path):
    assert about(written(tmp_path, "gif", STORYBOARD, repeat=False)) == STORYBOARD


@pytest.mark.parametrize("text", ["a\0b", "a\x1bb", "a\rb", "\ud800"])
@pytest.mark.parametrize("ending", ["mp4", "webp"])
def test_control_characters_are_refused_rather_than_cut_at(tmp_path, text, ending):
    with pytest.raises(EncodeError, match="control character"):
        written(tmp_path, ending, text)


# Files by strangers.


def png(path, **texts):
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    iio.imwrite(path, np.zeros((8, 8, 3), np.uint8), extension=".png", plugin="pillow", pnginfo=info)
    return path


def test_a_file_without_our_key_carries_nothing(tmp_path):
    assert about(png(tmp_path / "a.png", parameters="a fox", comment="lcm_video\nx")) is None
    iio.imwrite(
        tmp_path / "a.gif", np.zeros((2, 8, 8, 3), np.uint8), plugin="pillow", comment=b"made with lcm_video\nx"
    )
    assert about(tmp_path / "a.gif") is None


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 900_000, "!!python/object/apply:os.system ['x']", "\0"])
def test_hostile_text_is_only_ever_text(tmp_path, text):
    assert about(png(tmp_path / "a.png", lcm_video=text)) == text


def test_more_text_than_anyone_needs_is_refused(tmp_path):
    with pytest.raises(InputError, match="6000000 characters"):
        about(png(tmp_path / "a.png", lcm_video="x" * 6_000_000))


def test_a_compressed_text_bomb_is_refused(tmp_path):
    path = png(tmp_path / "a.png", x="y")
    body = b"lcm_video\0\1\0\0\0" + zlib.compress(b"x" * 50_000_000)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])
    with pytest.raises(InputError):
        about(path)


def test_an_xml_bomb_in_a_webp_stays_text(tmp_path):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;">]><lcm_video:about>&b;&b;</lcm_video:about>'
    iio.imwrite(tmp_path / "a.webp", np.zeros((8, 8, 3), np.uint8), plugin="pillow", xmp=bomb)
    assert about(tmp_path / "a.webp") == "&b;&b;"


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files_give_an_answer_or_an_input_error(tmp_path, ending):
    path = written(tmp_path, ending, STORYBOARD, count=1 if ending in ("png", "jpg") else 3)
    whole = path.read_bytes()
    random = np.random.default_rng(5)
    for trial in range(30):
        data = bytearray(whole[: int(random.integers(1, len(whole)))] if trial % 2 else whole)
        for _ in range(8):
            data[int(random.integers(len(data)))] = int(random.integers(256))
        path.write_bytes(data)
        with suppress(InputError):
            assert isinstance(about(path), str | None)
            facts(path)
            for _ in read_frames(path):
                pass


SPY = """
import sys
import av, imageio.v3, PIL.PngImagePlugin
from lcm_video.media import about
about(sys.argv[1])
seen = []
watched = ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen")
sys.addaudithook(lambda event, args: seen.append(args[0]) if event in watched else None)
about(sys.argv[1])
print(*{str(name) for name in seen})
"""


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp", "apng"])
def test_reading_text_opens_no_socket_and_no_other_file(tmp_path, ending):
    path = written(tmp_path, ending, STORYBOARD)
    run = subprocess.run([sys.executable, "-c", SPY, path], capture_output=True, text=True, check=True)
    assert run.stdout == f"{path}\n"
