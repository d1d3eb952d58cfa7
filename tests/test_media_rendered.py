"""What must hold of every finished film: loops that close, the same bytes again, no word that was not asked for.

Odd sizes, encoders that are missing and rates: test_media_formats, test_media_timing. Colours and their tags:
test_media_colour. Texts, own and hostile: test_media_metadata.
"""

import getpass
import shutil
import socket
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from lcm_video.cli.commands import app
from lcm_video.media import Output, about, facts, read_frames, write

FPS = Fraction(8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def content(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def turning(count):
    """A film that closes: frame ``count`` would be frame 0."""
    y, x = np.mgrid[:48, :64]
    for i in range(count):
        wave = 127 + 100 * np.sin(2 * np.pi * (i / count + x / 64))
        yield np.stack([wave, 255 - wave, wave * 0 + y * 4], -1).astype(np.uint8)


@pytest.mark.parametrize("ending", ["gif", "webp", "apng"])
def test_a_seamless_loop_shows_its_first_frame_once_a_turn(tmp_path, ending):
    """The first frame is the one after the last: it is not written again, and each turn lasts what it should."""
    (path,) = write(turning(12), Output(path=str(tmp_path / f"film.{ending}"), repeat=False), fps=FPS, loop=True)
    found = facts(path)
    assert found.frames == 12
    assert abs(found.duration - Fraction(12, 8)) <= Fraction(1, 100)
    shown = [frame.astype(int) for frame in read_frames(path)]
    steps = [np.abs(one - other).mean() for one, other in zip(shown, [*shown[1:], shown[0]], strict=True)]
    assert steps[-1] < 1.2 * np.median(steps[:-1]), "the step across the seam is like the others"
    assert steps[-1] > 0.5 * np.median(steps[:-1]), "and it is a step: no picture stands twice as long"


@pytest.mark.parametrize("gif", ["quality", "small"])
def test_nothing_of_the_last_frame_shines_through_when_a_gif_begins_again(tmp_path, gif):
    (path,) = write(turning(5), Output(path=str(tmp_path / "film.gif"), gif=gif), fps=FPS)
    with Image.open(path) as image:
        first = next(iter(ImageSequence.Iterator(image)))
        assert first.tile[0][1] == (0, 0, 64, 48), "it covers the whole picture"
        assert "transparency" not in image.info


BOARD = """\
extends: embedded
video: {fps: 8, width: 64, height: 64}
sampling: {steps: 1, seed: 5}
prompts:
  0: a red circle on a blue background
  2: a green circle on a white background
"""
ENDINGS = ("mp4", "mov", "mkv", "webm", "gif", "webp", "apng", "png")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The same storyboard, rendered by the command line in every format: twice, and once without metadata."""
    here = tmp_path_factory.mktemp("films")
    (here / "board.yaml").write_text(BOARD)
    for folder, *more in (("one",), ("two",), ("bare", "output.metadata=false")):
        arguments = [
            "render", str(here / "board.yaml"), "-o", str(here / folder / "film.mp4"),
            f"output.formats=[{', '.join(ENDINGS[1:])}]", "--allow-path", str(here), *more,
        ]  # fmt: skip
        # Each with a store of its own: everything is drawn anew.
        done = CliRunner().invoke(app, arguments, env={"LCM_VIDEO_WORK": str(here / f"work {folder}")})
        assert done.exit_code == 0, done.output
    return here


def films_of(folder):
    """The films themselves, without the report."""
    return {name: data for name, data in content(folder).items() if not name.endswith(".json")}


def test_the_same_job_twice_gives_the_same_bytes_in_every_format(films):
    assert len(films_of(films / "one")) == len(ENDINGS) - 1 + facts(films / "one" / "film").frames
    assert films_of(films / "one") == films_of(films / "two")


def test_without_metadata_a_rendered_film_holds_no_word_of_ours(films):
    for name, data in films_of(films / "bare").items():
        for trace in (b"lcm_video", b"circle", b"seed", b"parameters", b"sampling", b"embedded"):
            assert trace not in data, (name, trace)
    for ending in ENDINGS[:-1]:
        assert about(films / "bare" / f"film.{ending}") is None
        assert "circle" in (about(films / "one" / f"film.{ending}") or "")
        pictures = zip(
            read_frames(films / "bare" / f"film.{ending}"), read_frames(films / "one" / f"film.{ending}"), strict=True
        )
        assert all((bare == full).all() for bare, full in pictures), "the pictures are the same"


def test_no_film_tells_of_this_machine(films):
    secrets = {str(films), str(Path.home()), str(Path.cwd()), socket.gethostname(), getpass.getuser()}
    secrets = {secret for secret in secrets if len(secret) > 4}  # "root" and "vm" may stand in any file by chance
    for name, data in films_of(films / "one").items():
        for secret in secrets:
            assert secret.encode() not in data, (name, secret)


def test_nothing_hidden_is_left_beside_finished_films(films):
    for folder in ("one", "two", "bare"):
        assert not [name for name in names(films / folder) if name.startswith(".")]


def test_the_older_film_is_replaced_in_one_step(films, tmp_path):
    """Whoever has the older film open keeps reading it."""
    path = tmp_path / "film.mp4"
    shutil.copy(films / "one" / "film.mp4", path)
    with path.open("rb") as reader:
        half = reader.read(1000)
        write(turning(5), Output(path=str(path)), fps=FPS)
        assert half + reader.read() == (films / "one" / "film.mp4").read_bytes()
