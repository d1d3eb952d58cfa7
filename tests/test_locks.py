"""One render to one file: locks beside the targets, held by the living only."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

from lcm_video.errors import LockedError, ResourceError
from lcm_video.media import Output, locked, write
from lcm_video.media.locking import Holder, holder, lock_of

HOLDING = """
import sys, time
from lcm_video.media import Output, locked
with locked(Output(path=sys.argv[1], formats=tuple(sys.argv[2:]))) as notes:
    print(*notes or ["locked"], flush=True)
    sys.stdin.read()
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Other:
    """Another process that holds locks until it is told to let go, or killed."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDING, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def test_a_second_render_to_one_file_is_told_who_is_at_it(tmp_path):
    film = tmp_path / "fox.mp4"
    with Other(film) as other, pytest.raises(LockedError) as caught, locked(Output(path=str(film))):
        pass
    error = caught.value
    assert error.exit_code == 7
    assert f"process {other.process.pid} on {socket.gethostname()}, since 20" in error.message
    assert f"stop it (kill {other.process.pid}), or choose another output.path" in error.remedy
    assert names(tmp_path) == [], "the other has let go, and we never held anything"


def test_a_lock_is_gone_with_its_render_and_the_next_one_may_begin(tmp_path):
    output = Output(path=str(tmp_path / "fox.mp4"))
    for _ in range(3):
        with locked(output) as notes:
            assert notes == []
            assert names(tmp_path) == [".fox.mp4.lock"]
            assert holder(tmp_path / "fox.mp4").pid == os.getpid()
        assert names(tmp_path) == []


def test_a_lock_goes_when_its_render_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(Output(path=str(tmp_path / "fox.mp4"))):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_one_process_does_not_render_twice_to_one_file(tmp_path):
    output = Output(path=str(tmp_path / "fox.mp4"))
    with locked(output), pytest.raises(LockedError, match=f"process {os.getpid()}"), locked(output):
        pass


def test_formats_share_locks_and_other_targets_do_not_care(tmp_path):
    with Other(tmp_path / "fox.mp4", "gif"):
        for ending in ("mp4", "gif"):
            with (
                pytest.raises(LockedError, match=rf"fox\.{ending}"),
                locked(Output(path=str(tmp_path / f"fox.{ending}"))),
            ):
                pass
        with locked(Output(path=str(tmp_path / "hare.mp4"), formats=("gif",))):
            assert len(names(tmp_path)) == 4
        with locked(Output(path=str(tmp_path / "fox.webm"))):
            pass
        with pytest.raises(LockedError), locked(Output(path=str(tmp_path / "fox.apng"), formats=("gif",))):
            pass
        assert names(tmp_path) == [".fox.gif.lock", ".fox.mp4.lock"], "what we could lock of it is free again"


def test_the_lock_of_a_killed_render_is_taken_over_and_that_is_said(tmp_path):
    film = tmp_path / "fox.mp4"
    with Other(film) as other:
        other.kill()
        assert names(tmp_path) == [".fox.mp4.lock"]
        with locked(Output(path=str(film))) as notes:
            assert holder(film).pid == os.getpid()
    (note,) = notes
    assert note.startswith(f"took over fox.mp4 from process {other.process.pid} on ")
    assert note.endswith("which is gone")
    assert names(tmp_path) == []


def test_a_dead_owner_whose_number_lives_again_is_dead_all_the_same(tmp_path):
    """The system knows who holds a lock; a process number that is in use again proves nothing."""
    film = tmp_path / "fox.mp4"
    lock_of(film).write_text(json.dumps({"pid": os.getppid(), "host": socket.gethostname(), "since": "2020"}))
    with locked(Output(path=str(film))) as notes:
        assert len(notes) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 1, "since": 2}', "\0" * 100])
def test_a_lock_that_says_nothing_is_taken_when_nobody_holds_it(tmp_path, content):
    film = tmp_path / "fox.mp4"
    lock_of(film).write_text(content)
    with locked(Output(path=str(film))) as notes:
        assert notes == []
    assert names(tmp_path) == []


def test_the_lock_of_another_host_is_respected_unless_told(tmp_path):
    film = tmp_path / "fox.mp4"
    foreign = json.dumps({"pid": 12, "host": "elsewhere", "since": "2026-11-25T01:02:03+00:00"})
    lock_of(film).write_text(foreign)
    with (
        pytest.raises(LockedError, match="process 12 on elsewhere, since 2026") as caught,
        locked(Output(path=str(film))),
    ):
        pass
    assert str(lock_of(film)) in caught.value.remedy
    assert lock_of(film).read_text() == foreign
    with locked(Output(path=str(film)), take_over=True) as notes:
        assert notes == ["took over fox.mp4 from process 12 on elsewhere, since 2026-11-25T01:02:03+00:00, as told"]
    assert names(tmp_path) == []


def test_without_locks_in_the_file_system_the_process_number_decides(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    film = tmp_path / "fox.mp4"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid, free in ((gone.pid, True), (os.getppid(), False)):
        lock_of(film).write_text(json.dumps({"pid": pid, "host": socket.gethostname(), "since": "2020"}))
        if free:
            with locked(Output(path=str(film))):
                pass
        else:
            with pytest.raises(LockedError), locked(Output(path=str(film))):
                pass


def test_a_new_folder_is_made_for_the_lock_and_removed_if_nothing_came_into_it(tmp_path):
    output = Output(path=str(tmp_path / "a" / "b" / "fox.mp4"))
    with locked(output):
        assert names(tmp_path / "a" / "b") == [".fox.mp4.lock"]
    assert names(tmp_path) == []
    with locked(output):
        (tmp_path / "a" / "b" / "fox.mp4").write_bytes(b"a film")
    assert names(tmp_path / "a" / "b") == ["fox.mp4"]


def test_a_place_without_permission_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write"), locked(Output(path=str(tmp_path / "file" / "fox.mp4"))):
        pass


def test_a_lock_taken_away_by_somebody_does_not_hurt(tmp_path):
    film = tmp_path / "fox.mp4"
    with locked(Output(path=str(film))):
        lock_of(film).unlink()
        lock_of(film).write_text("somebody else's")
    assert lock_of(film).read_text() == "somebody else's"


def test_of_many_renders_at_once_one_at_a_time_holds_the_lock(tmp_path):
    """The file is removed at every end: nobody may hold one without a name while another holds a new one."""
    output, at_work, most, turns = Output(path=str(tmp_path / "fox.mp4")), [], [], []

    def render():
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            try:
                with locked(output):
                    at_work.append(1)
                    most.append(len(at_work))
                    time.sleep(0)
                    at_work.pop()
                    turns.append(1)
            except LockedError:
                pass

    threads = [threading.Thread(target=render) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(turns) > 20
    assert names(tmp_path) == []


def frames(count=3):
    return (np.full((48, 64, 3), 40 * number, np.uint8) for number in range(count))


def test_writing_locks_by_itself_where_nobody_has(tmp_path):
    film = tmp_path / "fox.gif"
    seen = []

    def watched():
        for frame in frames():
            seen.append(holder(film))
            yield frame

    write(watched(), Output(path=str(film)), fps=Fraction(8))
    assert seen[0] is None, "before the first frame there is nothing to write"
    assert seen[-1].pid == os.getpid()
    assert names(tmp_path) == ["fox.gif"]
    with locked(Output(path=str(film))):
        write(frames(), Output(path=str(film)), fps=Fraction(8))
        assert names(tmp_path) == [".fox.gif.lock", "fox.gif"], "the lock stays with who took it"


def test_writing_where_another_process_writes_is_refused(tmp_path):
    film = tmp_path / "fox.gif"
    film.write_bytes(b"an older film")
    with Other(film), pytest.raises(LockedError):
        write(frames(), Output(path=str(film)), fps=Fraction(8))
    assert names(tmp_path) == ["fox.gif"]
    assert film.read_bytes() == b"an older film"


def test_a_holder_is_described_for_people():
    assert str(Holder(7, "north", "noon")) == "process 7 on north, since noon"
