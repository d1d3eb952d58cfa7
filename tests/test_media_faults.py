"""Faults while files get their names: older films stay, and no film that is not whole ever has one.

Full disks: test_media_space. Stops and kills: test_media_stops. Failing encoders: test_media_thread.
"""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lcm_video.errors import EncodeError, ResourceError, StoryboardError
from lcm_video.media import Output, facts, read_frames, write
from lcm_video.media.encoders import ENCODERS
from lcm_video.media.stills import FramesSink
from lcm_video.media.video import VideoSink

FPS = Fraction(8)


def moving(count, height=48, width=64):
    y, x = np.mgrid[:height, :width]
    for i in range(count):
        yield np.stack([(x * 2 + i * 9) % 256, (y * 3 + i * 5) % 256, (x + y + i * 20) % 256], -1).astype(np.uint8)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def content(folder):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("with_old", [True, False])
@pytest.mark.parametrize("fails", ["film.mp4", "film.gif", "film", "film.webp"])
def test_several_files_get_their_names_together_or_not_at_all(tmp_path, monkeypatch, with_old, fails):
    output = Output(path=str(tmp_path / "film.mp4"), formats=("gif", "png", "webp"))
    if with_old:
        write(moving(4), output, fps=FPS)
    before = content(tmp_path)
    replace = Path.replace

    def failing(self, target):
        if Path(target).name == fails and (".part." in self.name or ".done." in self.name):
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(ResourceError, match="Input/output error"):
        write(moving(7), output, fps=FPS)
    monkeypatch.undo()
    found = {name: data for name, data in content(tmp_path).items() if ".part." not in name}
    assert found == before, "the older films, all of them, and no newer one"
    write(moving(7), output, fps=FPS)
    assert names(tmp_path) == ["film", "film.gif", "film.mp4", "film.webp"]
    assert {facts(path).frames for path in tmp_path.iterdir()} == {7}


def test_a_file_system_without_links_still_replaces_in_one_step(tmp_path, monkeypatch):
    def none(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", none)
    output = Output(path=str(tmp_path / "film.gif"), formats=("webp",))
    for count in (2, 3):
        write(moving(count), output, fps=FPS)
        assert {facts(path).frames for path in tmp_path.iterdir()} == {count}
    assert names(tmp_path) == ["film.gif", "film.webp"]


@pytest.mark.parametrize("place", ["the file", "its folder"])
@pytest.mark.parametrize("ending", ["mp4", "png", "gif"])
def test_what_cannot_be_put_on_disk_gets_no_name(tmp_path, monkeypatch, ending, place):
    output = Output(path=str(tmp_path / f"film.{ending}"))
    write(moving(2), output, fps=FPS)
    before = content(tmp_path)
    sync = os.fsync

    def failing(handle):
        if os.path.samestat(os.fstat(handle), tmp_path.stat()) == (place == "its folder"):
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(ResourceError, match="no space left"):
        write(moving(3), output, fps=FPS)
    assert {name: data for name, data in content(tmp_path).items() if ".part." not in name} == before


def test_files_are_on_disk_before_they_get_their_names_and_the_folder_after(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, Path.replace

    def synced(handle):
        place = Path(os.readlink(f"/proc/self/fd/{handle}")) if Path("/proc").exists() else tmp_path
        order.append("folder" if place == tmp_path else "file")
        sync(handle)

    def replaced(self, target):
        order.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write(moving(2), Output(path=str(tmp_path / "film.gif"), formats=("webp",)), fps=FPS)
    assert order == ["file", "file", "name", "name", "folder"]


@pytest.mark.parametrize("when", ["add", "close", "verify"])
def test_an_exception_in_the_middle_never_finalises_a_film_under_its_name(tmp_path, monkeypatch, when):
    """The trap of `with av.open(final)`: leaving it by an exception completes a file that looks whole."""

    class Broken(VideoSink):
        def add(self, frame):
            if when == "add" and self.count == 20:
                raise RuntimeError("broken")
            super().add(frame)

        def close(self):
            if when == "close":
                raise RuntimeError("broken")
            return super().close()

    def broken(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setitem(ENCODERS, "mp4", Broken)
    if when == "verify":
        monkeypatch.setattr("lcm_video.media.writing.verify", broken)
    with pytest.raises(RuntimeError, match="broken"):
        write(moving(40), Output(path=str(tmp_path / "film.mp4"), formats=("webm",)), fps=FPS)
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", ["mp4", "webm", "mov"])
def test_an_exception_while_the_finished_film_is_muxed_leaves_no_film(tmp_path, monkeypatch, ending):
    from lcm_video.media import muxing

    def cut(packets):
        for number, packet in enumerate(muxing_from_zero(packets)):
            if number == 20:
                raise RuntimeError("broken")
            yield packet

    muxing_from_zero = muxing._from_zero
    monkeypatch.setattr(muxing, "_from_zero", cut)
    with pytest.raises(RuntimeError, match="broken"):
        write(moving(40), Output(path=str(tmp_path / f"film.{ending}")), fps=FPS)
    assert names(tmp_path) == []


def lost_frame(path):
    """Writes a video again without its last frame."""
    again = path.with_name("again" + path.suffix)
    write([*read_frames(path)][:-1], Output(path=str(again)), fps=FPS)
    again.replace(path)


def index_last(path):
    again = path.with_name("again" + path.suffix)
    with av.open(str(path)) as source, av.open(str(again), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    again.replace(path)


def broken_end(path):
    data = bytearray(path.read_bytes())
    data[-len(data) // 3 :] = bytes(len(data) // 3 + (len(data) % 3 > 0))
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [lost_frame, index_last, broken_end])
def test_a_video_that_is_not_what_it_should_be_gets_no_name(tmp_path, monkeypatch, damage):
    """Count of frames, first and last picture, index first: each is looked at."""

    class Damaged(VideoSink):
        def close(self):
            path = super().close()
            damage(path)
            return path

    (tmp_path / "film.mp4").write_bytes(b"an older film")
    with monkeypatch.context() as patch:
        patch.setitem(ENCODERS, "mp4", VideoSink)
        sink = ENCODERS["mp4"]
        patch.setitem(ENCODERS, "mp4", lambda path, film: (Damaged if "again" not in path.name else sink)(path, film))
        with pytest.raises(EncodeError) as caught:
            write(moving(20), Output(path=str(tmp_path / "film.mp4")), fps=FPS)
    assert caught.value.exit_code == 6
    assert content(tmp_path) == {"film.mp4": b"an older film"}


def test_frames_never_replace_a_folder_of_other_things_that_came_meanwhile(tmp_path):
    def frames():
        yield from moving(3)
        (tmp_path / "film").mkdir()
        (tmp_path / "film" / "diary.txt").write_text("dear")

    with pytest.raises(StoryboardError, match=r"diary\.txt"):
        write(frames(), Output(path=str(tmp_path / "film.png"), formats=("gif",)), fps=FPS)
    assert content(tmp_path) == {"film/diary.txt": b"dear"}


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    class Full(FramesSink):
        def add(self, frame):
            if self.count == 2:
                raise OSError(28, "No space left on device")
            super().add(frame)

    monkeypatch.setitem(ENCODERS, "png", Full)
    with pytest.raises(ResourceError):
        write(moving(9), Output(path=str(tmp_path / "film.png")), fps=FPS)
    assert names(tmp_path) == []
