"""Disks that are really full, read-only or gone: exit code 5, the older film untouched, and the next run works."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lcm_video.errors import LcmVideoError, ResourceError
from lcm_video.media import Output, facts, read_frames, sheet, write
from lcm_video.media.space import NoSpaceLeft, Room
from lcm_video.report import write_report

FPS = Fraction(8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def tiny_disk(tmp_path):
    """Mounts a disk of so many bytes."""
    mounted = []

    def mount(size):
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tiny", str(place)]
        try:
            run = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if run.returncode:
            pytest.skip(f"cannot mount: {run.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)  # an exception may hold an open file


def noise(count, side=96):
    random = np.random.default_rng(0)
    return (random.integers(0, 256, (side, side, 3), np.uint8) for _ in range(count))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm", "gif", "webp", "apng", "png"])
def test_on_a_disk_that_is_really_full_the_old_film_stays_and_the_next_run_works(
    tmp_path, tiny_disk, monkeypatch, ending
):
    """Without the watch over free space, so that the system itself has to say it, in the midst of a frame."""
    monkeypatch.setattr(Room, "check", lambda self: None)
    disk = tiny_disk(400_000)
    output = Output(path=str(disk / f"film.{ending}"))
    (path,) = write(noise(2), output, fps=FPS)
    before = facts(path)
    with pytest.raises(ResourceError, match=rf"no space left for .*film\.{ending}") as caught:
        write(noise(150), output, fps=FPS)
    assert caught.value.exit_code == 5
    assert facts(path) == before
    assert names(disk) == [path.name], "what could not be ended takes no room"
    assert write(noise(3), output, fps=FPS) == (path,)
    assert facts(path).frames == 3


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_when_only_the_second_copy_does_not_fit_the_first_one_stays(tmp_path, tiny_disk, monkeypatch, ending):
    monkeypatch.setattr(Room, "check", lambda self: None)
    (path,) = write(noise(20), Output(path=str(tmp_path / f"film.{ending}")), fps=FPS)
    disk = tiny_disk(round(1.5 * path.stat().st_size) // 4096 * 4096)
    output = Output(path=str(disk / f"film.{ending}"))
    with pytest.raises(ResourceError, match="no space left") as caught:
        write(noise(20), output, fps=FPS)
    (partial,) = disk.iterdir()
    assert facts(partial).frames == 20
    assert str(partial) in str(caught.value)
    subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
    assert write(noise(20), output, fps=FPS) == (disk / path.name,)
    assert (disk / path.name).read_bytes() == path.read_bytes()
    assert names(disk) == [path.name]


def test_the_watch_leaves_room_to_end_the_film_on_a_real_disk(tiny_disk):
    disk = tiny_disk(3_000_000)
    (disk / "film.mp4").write_bytes(b"an older film")
    with pytest.raises(NoSpaceLeft):
        write(noise(600, side=128), Output(path=str(disk / "film.mp4")), fps=FPS)
    assert (disk / "film.mp4").read_bytes() == b"an older film"
    (partial,) = disk.glob(".film.*.part.mp4")
    shown = [*read_frames(partial)]
    assert 20 < len(shown) < 600
    assert facts(partial).frames == len(shown)


def test_a_disk_that_became_read_only_is_a_resource_error(tiny_disk):
    disk = tiny_disk(2_000_000)
    output = Output(path=str(disk / "film.gif"))
    write(noise(2), output, fps=FPS)
    before = (disk / "film.gif").read_bytes()

    def frames():
        yield from noise(3)

    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(ResourceError, match="Read-only file system"):
        write(frames(), output, fps=FPS)
    assert (disk / "film.gif").read_bytes() == before


LOST = """
import os, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from lcm_video.errors import ResourceError
from lcm_video.media import Output, write
folder = Path(sys.argv[1])
def frames():
    for number in range(6):
        if number == 3:
            os.chmod(folder, 0o555)
        yield np.full((48, 64, 3), number * 30, np.uint8)
os.chown(folder, 4321, 4321) if os.getuid() == 0 else None
os.setuid(4321) if os.getuid() == 0 else None
try:
    write(frames(), Output(path=str(folder / sys.argv[2])), fps=Fraction(8))
except ResourceError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("ending", ["mp4", "gif", "png", "webp"])
def test_permission_that_is_lost_in_the_middle_is_a_resource_error(ending):
    # Not below pytest's own folder, which only its owner may enter.
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        place = Path(folder) / "out"
        place.mkdir()
        command = [sys.executable, "-c", LOST, str(place), f"film.{ending}"]
        run = subprocess.run(command, capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (5, "")
        assert f"film.{ending}" in run.stdout
        assert not [name for name in names(place) if name.startswith("film")]


@pytest.mark.parametrize("ending", ["mp4", "webm", "gif", "webp", "png"])
def test_a_folder_that_is_deleted_under_us_is_a_resource_error(tmp_path, ending):
    import shutil

    def frames():
        yield from noise(3)
        shutil.rmtree(tmp_path / "out")
        yield from noise(3)

    with pytest.raises(LcmVideoError) as caught:
        write(frames(), Output(path=str(tmp_path / "out" / f"film.{ending}")), fps=FPS)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "out").exists()


def test_a_report_and_a_sheet_that_do_not_fit_are_resource_errors_and_leave_the_older_ones(tiny_disk):
    disk = tiny_disk(64_000)
    (film,) = write(noise(1, side=16), Output(path=str(disk / "film.png")), fps=FPS)
    large = [(number, frame, "noise") for number, frame in enumerate(noise(4))]
    for name, make in (
        ("film.png.lcm.json", lambda path: write_report(path, "{}", films=[film], facts={"notes": "x" * 100_000})),
        ("film.sheet.png", lambda path: sheet(large, path, title="film", fps=8.0)),
    ):
        (disk / name).write_bytes(b"an older one")
        with pytest.raises(ResourceError, match=rf"no space left for .*{name}"):
            make(disk / name)
        assert (disk / name).read_bytes() == b"an older one"
    assert names(disk) == ["film.png", "film.png.lcm.json", "film.sheet.png"]
