"""Frames become files: every ending, whole or not at all, the same bytes every time."""

import os
import subprocess
import sys
import weakref
from fractions import Fraction

import av
import imageio.v3 as iio
import numpy as np
import pytest
from pydantic import ValidationError

from lcm_video.errors import EncodeError, InputError, ResourceError, StoryboardError
from lcm_video.media import FORMATS, Output, facts, preflight, read_frames, write
from lcm_video.media.encoders import ENCODERS
from lcm_video.media.readiness import CODECS

FPS = Fraction(8)
VIDEOS = [
    ("mp4", "h264"), ("mp4", "h265"), ("mp4", "av1"), ("mov", "h264"), ("mov", "h265"), ("mov", "prores"),
    ("mkv", "h264"), ("mkv", "h265"), ("mkv", "av1"), ("webm", "vp9"), ("webm", "av1"),
]  # fmt: skip
IMAGES = ["gif", "webp", "apng", "png", "jpg"]


def moving(count, height=48, width=64):
    """A gradient that wanders: every frame differs from the one before."""
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        yield np.stack([(x * 2 + i * 9) % 256, (y * 3 + i * 5) % 256, (x + y + i * 20) % 256], -1).astype(np.uint8)


def problem(**options):
    """The first complaint about an output section."""
    with pytest.raises(ValidationError) as caught:
        Output(**options)
    return caught.value.errors()[0]["ctx"]["error"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("ending", "codec"), [*VIDEOS, *((ending, "") for ending in IMAGES)])
def test_every_format_holds_every_frame_in_its_size(tmp_path, ending, codec):
    output = Output(path=str(tmp_path / f"film.{ending}"), codec=codec)
    (path,) = write(moving(11), output, fps=FPS, frames_expected=11)
    back = [*read_frames(path)]
    assert [frame.shape for frame in back] == [(48, 64, 3)] * 11
    found = facts(path)
    assert (found.frames, found.width, found.height) == (11, 64, 48)
    assert names(tmp_path) == [path.name], "nothing hidden stays behind"
    for frame, original in zip(back, moving(11), strict=True):
        assert np.abs(frame.astype(int) - original).mean() < (12 if ending != "gif" else 20), (
            "in order, and that picture"
        )


@pytest.mark.parametrize("ending", ["apng", "png"])
def test_png_and_apng_are_lossless(tmp_path, ending):
    (path,) = write(moving(4), Output(path=str(tmp_path / f"film.{ending}")), fps=FPS)
    np.testing.assert_array_equal([*read_frames(path)], [*moving(4)])


def test_webp_at_quality_0_is_lossless(tmp_path):
    (path,) = write(moving(4), Output(path=str(tmp_path / "film.webp"), quality=0), fps=FPS)
    np.testing.assert_array_equal([*read_frames(path)], [*moving(4)])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp", "apng"])
def test_the_shortest_films_are_whole(tmp_path, ending, count):
    codec = "h265" if ending == "mp4" else ""
    (path,) = write(moving(count), Output(path=str(tmp_path / f"film.{ending}"), codec=codec), fps=FPS)
    assert facts(path).frames == count


def test_one_frame_makes_a_single_picture_and_more_make_a_folder(tmp_path):
    output = Output(path=str(tmp_path / "film.png"))
    assert write(moving(1), output, fps=FPS) == (tmp_path / "film.png",)
    assert write(moving(3), output, fps=FPS) == (tmp_path / "film",)
    assert names(tmp_path / "film") == ["00000.png", "00001.png", "00002.png"]


def test_a_shorter_film_replaces_a_folder_of_frames_as_a_whole(tmp_path):
    output = Output(path=str(tmp_path / "film.png"))
    write(moving(5), output, fps=FPS)
    write(moving(2), output, fps=FPS)
    assert names(tmp_path / "film") == ["00000.png", "00001.png"]


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "film").mkdir()
    (tmp_path / "film" / "diary.txt").write_text("dear")
    output = Output(path=str(tmp_path / "film.png"))
    with pytest.raises(StoryboardError, match=r"diary\.txt"):
        preflight(output, width=64, height=48, fps=FPS)
    with pytest.raises(StoryboardError, match=r"diary\.txt"):
        write(moving(2), output, fps=FPS)
    assert (tmp_path / "film" / "diary.txt").read_text() == "dear"
    assert names(tmp_path) == ["film"]


def test_several_formats_come_from_one_pass_and_frames_arrive_one_by_one(tmp_path):
    output = Output(path=str(tmp_path / "film.mp4"), formats="gif, webm apng")
    handed = []

    def frames():
        for number, frame in enumerate(moving(6)):
            handed.append(number)
            yield frame

    paths = write(frames(), output, fps=FPS)
    assert [path.name for path in paths] == ["film.mp4", "film.gif", "film.webm", "film.apng"]
    assert handed == [*range(6)]
    assert {facts(path).frames for path in paths} == {6}


def test_the_growing_film_can_be_played(tmp_path):
    """What a killed process leaves behind shows most of what was rendered."""
    seen = []

    def frames():
        for number, frame in enumerate(moving(120)):
            if number == 110:
                (partial,) = tmp_path.glob(".film.*.part.mp4")
                with av.open(str(partial)) as container:
                    seen.append(sum(1 for _ in container.decode(video=0)))
            yield frame

    write(frames(), Output(path=str(tmp_path / "film.mp4")), fps=Fraction(4))
    assert seen[0] >= 40


def test_memory_does_not_grow_with_the_film(tmp_path):
    """Frames are dropped as soon as every sink has taken them, whatever the format."""
    alive = []

    def frames():
        for frame in moving(40):
            alive.append(weakref.ref(frame))
            yield frame
            assert sum(1 for other in alive if other() is not None) <= 3, "frames pile up"

    output = Output(path=str(tmp_path / "film.gif"), formats=("webp", "apng", "png", "mp4"), gif="small")
    write(frames(), output, fps=FPS)
    assert len(alive) == 40


@pytest.mark.parametrize(
    "options",
    [{"path": f"film.{ending}", "codec": codec} for ending, codec in VIDEOS]
    + [{"path": f"film.{ending}"} for ending in IMAGES]
    + [{"path": "film.gif", "gif": "small"}],
    ids=lambda options: "-".join(options.values()),
)
def test_the_same_film_has_the_same_bytes(tmp_path, options):
    files = []
    for folder in ("a", "b"):
        output = Output(**{**options, "path": str(tmp_path / folder / options["path"])})
        (path,) = write(moving(9), output, fps=FPS, about="prompts: {0: a fox}")
        files.append([p.read_bytes() for p in sorted(path.iterdir())] if path.is_dir() else path.read_bytes())
    assert files[0] == files[1]


PERTURBED = """
import hashlib, sys
from fractions import Fraction
import numpy as np
from lcm_video.media import Output, write
def film(width, height, count, codec, chroma, expected):
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([x * 2 + i * 9, y * 3 + i * 5, x + y + i * 20], -1).astype(np.uint8) for i in range(count)]
    path = f"{sys.argv[1]}/film.{'webm' if codec == 'vp9' else 'mp4'}"
    write(iter(frames), Output(path=path, codec=codec, chroma=chroma), fps=Fraction(8), frames_expected=expected)
    print(width, height, count, codec, chroma, hashlib.sha256(open(path, "rb").read()).hexdigest()[:12])
for width, height in [(64, 48), (64, 64), (128, 48), (192, 64), (320, 64)]:
    for codec, chroma in [("h264", "420"), ("h265", "420"), ("h264", "444"), ("h265", "444"), ("vp9", "420")]:
        film(width, height, 9, codec, chroma, 9)
for count in (1, 2, 3):
    for expected in (count, None):
        film(256, 256, count, "h265", "420", expected)
"""


def test_files_do_not_depend_on_what_was_in_memory(tmp_path):
    """x264 and x265 read memory that they never wrote at some widths, x265 also in films shorter than its reordering.

    glibc fills memory here with two different values.
    """
    runs = [
        subprocess.run(
            [sys.executable, "-c", PERTURBED, tmp_path],
            capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_PERTURB_": filling},
        ).stdout.splitlines()
        for filling in ("0", "85")
    ]  # fmt: skip
    assert len(runs[0]) == 31
    assert runs[0] == runs[1]


def test_a_small_gif_is_smaller(tmp_path):
    sizes = {}
    for preset in ("quality", "small"):
        (path,) = write(moving(8), Output(path=str(tmp_path / f"{preset}.gif"), gif=preset), fps=FPS)
        sizes[preset] = path.stat().st_size
    assert sizes["small"] < 0.8 * sizes["quality"]


def test_quality_changes_the_size_of_every_lossy_format(tmp_path):
    for ending, codec in [*VIDEOS, ("webp", ""), ("jpg", "")]:
        sizes = []
        for quality in (5, 40):
            output = Output(path=str(tmp_path / f"{codec}{quality}.{ending}"), codec=codec, quality=quality)
            (path,) = write(moving(3, 128, 128), output, fps=FPS)
            sizes.append(sum(p.stat().st_size for p in path.iterdir()) if path.is_dir() else path.stat().st_size)
        assert sizes[0] > 1.15 * sizes[1], (ending, codec)


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, MemoryError, GeneratorExit])
@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp", "apng", "png"])
def test_an_exception_between_frames_leaves_the_old_film_and_nothing_else(tmp_path, ending, error):
    output = Output(path=str(tmp_path / f"film.{ending}"))
    (path,) = write(moving(3), output, fps=FPS)
    before = path.read_bytes() if path.is_file() else names(path)

    def frames():
        yield from moving(5)
        raise error

    with pytest.raises(error):
        write(frames(), output, fps=FPS)
    assert (path.read_bytes() if path.is_file() else names(path)) == before
    assert names(tmp_path) == [path.name]


def test_the_producer_is_stopped_when_writing_fails(tmp_path):
    stopped = []

    def frames():
        try:
            yield from moving(2)
            yield next(moving(1, 50, 64))
            yield from moving(9)
        finally:
            stopped.append(True)

    with pytest.raises(EncodeError, match="frame 2 is 64×50, the first was 64×48"):
        write(frames(), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert stopped
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([], "no frames"),
        ([np.zeros((8, 8, 3), np.float32)], "float32"),
        ([np.zeros((8, 8), np.uint8)], r"\(8, 8\)"),
    ],
)
def test_frames_that_are_none_are_refused(tmp_path, frames, complaint):
    with pytest.raises(EncodeError, match=complaint):
        write(iter(frames), Output(path=str(tmp_path / "film.mp4")), fps=FPS)


def test_a_film_of_another_length_than_planned_is_not_kept(tmp_path):
    with pytest.raises(EncodeError, match="3 frames came instead of 4"):
        write(moving(3), Output(path=str(tmp_path / "film.mp4")), fps=FPS, frames_expected=4)
    assert names(tmp_path) == []


FULL_DISK = """
import resource, sys
from fractions import Fraction
import numpy as np
from lcm_video.errors import ResourceError
from lcm_video.media import Output, write
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
noise = np.random.default_rng(0)
try:
    write((noise.integers(0, 256, (96, 96, 3), np.uint8) for _ in range(60)), Output(path=sys.argv[1]), fps=Fraction(8))
except ResourceError as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp", "apng", "png"])
def test_a_full_disk_is_said_and_leaves_the_old_film(tmp_path, ending):
    path = tmp_path / f"film.{ending}"
    path.write_bytes(b"the old film")
    code = FULL_DISK.replace("96, 96", "400, 400") if ending == "png" else FULL_DISK  # the limit is for one file
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert run.returncode == ResourceError.exit_code, run.stderr[-800:]
    assert path.read_bytes() == b"the old film"
    assert names(tmp_path) == [path.name]


def test_a_vanished_folder_is_a_resource_error(tmp_path):
    def frames():
        yield from moving(2)
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        (tmp_path / "out").rmdir()
        yield from moving(2)

    with pytest.raises(ResourceError, match=r"film\.gif"):
        write(frames(), Output(path=str(tmp_path / "out" / "film.gif")), fps=FPS)


def test_what_killed_processes_left_is_swept_but_not_what_living_ones_write(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".film.{dead.pid}.part.mp4").write_bytes(b"x")
    (tmp_path / f".film.{os.getppid()}.part.mp4").write_bytes(b"x")
    (tmp_path / ".film.notes.part.mp4").write_bytes(b"x")
    write(moving(2), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert names(tmp_path) == sorted([f".film.{os.getppid()}.part.mp4", ".film.notes.part.mp4", "film.mp4"])


def test_a_file_that_fails_its_check_gets_no_name(tmp_path, monkeypatch):
    from lcm_video.media.gif import GifSink

    whole = GifSink.close

    def cut(sink):
        path = whole(sink)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
        return path

    monkeypatch.setitem(ENCODERS, "gif", type("Cut", (GifSink,), {"close": cut}))
    with pytest.raises(EncodeError):
        write(moving(6), Output(path=str(tmp_path / "film.gif"), formats=["mp4"]), fps=FPS)
    assert names(tmp_path) == [], "and neither do the others"


def test_every_ending_has_an_encoder_and_every_codec_a_container():
    assert ENCODERS.keys() == FORMATS.keys()
    assert {codec for known in FORMATS.values() for codec in known.codecs} == CODECS.keys()


def test_wrong_options_are_explained():
    assert "did you mean 'mp4'" in problem(path="film.mp5").remedy
    assert (problem(path="film").field, problem(formats="giff").field) == ("path", "formats")
    assert "vp9 goes into webm; mp4 takes h264, h265, av1" in problem(path="a.mp4", codec="vp9").remedy
    assert problem(path="a.gif", codec="h265").message == "h265 does not fit into gif"
    assert problem(path="a.mp4", formats="webm", codec="vp9").field == "codec", "path must take the codec"
    assert problem(path="a.webm", codec="av1", chroma="444").field == "chroma"
    assert problem(path="a.gif", formats="webp", audio={"source": "a.wav"}).message == "gif and webp cannot carry sound"
    assert problem(path="a.png", formats="jpg").field == "formats"


def test_further_formats_keep_their_own_codec_where_they_do_not_take_the_chosen_one():
    output = Output(path="a.mp4", formats="webm,mkv", codec="h265")
    assert [output.codec_of(ending) for ending in output.endings] == ["h265", "vp9", "h265"]


@pytest.mark.parametrize(("width", "height"), [(255, 256), (256, 255)])
def test_odd_sizes_are_refused_before_anything_is_rendered(width, height):
    with pytest.raises(StoryboardError) as caught:
        preflight(Output(path="a.mp4"), width=width, height=height, fps=FPS)
    assert "254×256" in caught.value.remedy or "256×254" in caught.value.remedy
    assert "444" in caught.value.remedy
    preflight(Output(path="a.mp4", chroma="444"), width=width, height=height, fps=FPS)
    preflight(Output(path="a.gif", formats="webp apng png"), width=width, height=height, fps=FPS)


def test_odd_sizes_work_where_they_are_allowed(tmp_path):
    output = Output(path=str(tmp_path / "a.mp4"), formats="gif webp apng png webm", chroma="444")
    for path in write(moving(3, 47, 61), output, fps=FPS):
        assert next(read_frames(path)).shape == (47, 61, 3)


def test_a_missing_encoder_is_said_before_anything_is_rendered(monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(CODECS, "av1", replace(CODECS["av1"], encoder="libaom-av1"))
    with pytest.raises(InputError, match=r"libaom-av1 .* not in this build") as caught:
        preflight(Output(path="a.mp4", codec="av1"), width=64, height=48, fps=FPS)
    assert caught.value.remedy == "usable: h264, h265, vp9, prores"
    assert caught.value.exit_code == 4


def test_a_size_the_encoder_refuses_is_said_before_anything_is_rendered():
    with pytest.raises(InputError, match="refuses"):
        preflight(Output(path="a.mp4"), width=20_000, height=20_000, fps=FPS)


def test_places_that_cannot_be_written_are_said_before_anything_is_rendered(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoryboardError, match="is a folder"):
        preflight(Output(path=str(tmp_path / "film.mp4")), width=64, height=48, fps=FPS)
    with pytest.raises(StoryboardError, match="is a file, not a folder"):
        preflight(Output(path=str(tmp_path / "file" / "film.mp4")), width=64, height=48, fps=FPS)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root every folder can be written to
    with pytest.raises(ResourceError, match="cannot write"):
        preflight(Output(path=str(tmp_path / "new" / "film.mp4")), width=64, height=48, fps=FPS)


QUIET = """
import sys
import weakref
from fractions import Fraction
import numpy as np
from lcm_video.media import Output, preflight, write
for ending, codec in [("mp4", "h264"), ("mkv", "h265"), ("mp4", "av1"), ("mov", "prores"), ("webm", ""), ("gif", "")]:
    output = Output(path=f"{sys.argv[1]}/film.{ending}", codec=codec)
    preflight(output, width=64, height=64, fps=Fraction(8))
    write(iter([np.zeros((64, 64, 3), np.uint8)] * 6), output, fps=Fraction(8))
"""


def test_encoders_print_nothing(tmp_path):
    run = subprocess.run([sys.executable, "-c", QUIET, tmp_path], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_planning_loads_neither_pyav_nor_imageio():
    heavy = "{'av', 'imageio', 'PIL', 'torch'}"
    code = f"import sys, lcm_video.media; lcm_video.media.Output(); print({{*sys.modules}} & {heavy})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("ending", ["gif", "webp", "apng", "mp4"])
def test_imageio_reads_the_same_frames(tmp_path, ending):
    (path,) = write(moving(5), Output(path=str(tmp_path / f"film.{ending}"), chroma="444"), fps=FPS)
    others = [
        *iio.imiter(
            path, plugin="pyav" if ending == "mp4" else "pillow", **({} if ending == "mp4" else {"mode": "RGB"})
        )
    ]
    for frame, other in zip(read_frames(path), others, strict=True):
        assert np.abs(frame.astype(int) - other).mean() < 3
