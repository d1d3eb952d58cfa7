"""What a render keeps comes back bit for bit, or not at all."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lcm_video.errors import ResourceError
from lcm_video.media.lossless import packed, unpacked
from lcm_video.work import Store, framing, locks

KEY = "a" * 64
ABOUT = {"storyboard": "fox", "shot": "", "target": "fox.mp4", "frames": 20, "width": 6, "height": 5}
CHUNK, LAST = range(16), range(16, 20)


def drawn(count, *, shape=(5, 6), seed=0):
    noise = np.random.default_rng(seed)
    return [noise.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(count)]


def same(frames, others):
    return len(frames) == len(others) and all(a.tobytes() == b.tobytes() for a, b in zip(frames, others, strict=True))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "work")


@pytest.fixture
def work(store):
    with store.shot(KEY, ABOUT) as work:
        yield work


@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), count=st.integers(1, 17), seed=st.integers(0, 9),
    flat=st.booleans(),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_frames_of_any_size_come_back_bit_for_bit(rows, columns, count, seed, flat):
    frames = drawn(count, shape=(rows, columns), seed=seed)
    frames = [frame // 255 * 255 for frame in frames] if flat else frames
    found = unpacked(packed(frames))
    assert same(found, frames)
    assert all(frame.shape == (rows, columns, 3) and frame.dtype == np.uint8 for frame in found)


def test_frames_that_are_views_of_others_come_back(work):
    whole = np.stack(drawn(16, shape=(12, 10)))
    views = [frame[::-2, 1:7][:5] for frame in whole]
    work.keep_frames(CHUNK, views)
    assert same(work.frames(CHUNK), views)


def test_what_was_kept_is_there_in_another_process(store, work):
    frames = drawn(16)
    assert work.missing([CHUNK, LAST]) == [CHUNK, LAST]
    assert work.frames(CHUNK) is None
    work.keep_frames(CHUNK, frames)
    assert work.missing([CHUNK, LAST]) == [LAST]
    with Store(store.folder).shot(KEY, ABOUT) as other:
        assert same(other.frames(CHUNK), frames)
        assert other.frames(range(0, 8)) is None  # other chunks are other files
    assert store.notes == []


def test_another_shot_has_frames_of_its_own(store, work):
    work.keep_frames(CHUNK, drawn(16))
    with store.shot("b" * 64, ABOUT) as other:
        assert other.missing([CHUNK]) == [CHUNK]


def test_a_chunk_takes_as_many_frames_as_it_has_places(work):
    with pytest.raises(ValueError, match="15 frames are not 16"):
        work.keep_frames(CHUNK, drawn(15))


def test_the_state_of_a_render_comes_back_bit_for_bit(work):
    import torch

    whole = torch.randn(10, 4, 2, 2)
    live = {
        "latents:3": whole[2:5], "over it": whole[3:6], "turned": whole.transpose(0, 1),
        "nan": torch.tensor([torch.nan]), "half": whole.half(), "bf16": whole.bfloat16(), "number": torch.tensor(7),
        "done": torch.tensor([True, False]), "nothing": torch.empty(0, 4), "one for many": torch.zeros(1).expand(5),
    }  # fmt: skip
    assert work.live() is None
    work.keep_live(live)
    found = work.live()
    assert found.keys() == live.keys()
    for name, tensor in live.items():
        assert found[name].dtype == tensor.dtype
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, equal_nan=True)
    work.keep_live({})
    assert work.live() == {}
    work.forget_live()
    assert work.live() is None
    work.forget_live()


# --- power loss, killed processes (reliability.md C6, 40 and 41)

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_work import *
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
work = Store(Path(sys.argv[1])).shot(KEY, ABOUT)
work.keep_frames(CHUNK, drawn(16))
if sys.argv[2] == "rename": Path.replace = die
if sys.argv[2] == "fsync": os.fsync = die
if sys.argv[2] == "done": framing.flush = die
work.keep_frames(LAST, drawn(4, seed=1))
"""


@pytest.mark.parametrize(("moment", "there"), [("fsync", False), ("rename", False), ("done", True)])
def test_a_process_that_is_killed_leaves_nothing_half(store, moment, there):
    code = KILLED.format(tests=str(Path(__file__).parent))
    ended = subprocess.run([sys.executable, "-c", code, str(store.folder), moment], check=False)
    assert ended.returncode == -signal.SIGKILL
    folder = store.folder / "v1" / KEY
    assert any(path.name.endswith(".part") for path in folder.iterdir()) is not there
    with store.shot(KEY, ABOUT) as work:
        assert not any(path.name.endswith(".part") for path in folder.iterdir())
        assert same(work.frames(CHUNK), drawn(16))
        assert work.missing([CHUNK, LAST]) == ([] if there else [LAST])
        assert not there or same(work.frames(LAST), drawn(4, seed=1))
    assert store.notes == []


def test_partial_files_are_swept_only_when_nobody_writes_them(store, work, monkeypatch):
    living, elsewhere, old = (work.folder / name for name in ("living", "elsewhere", "old"))
    living = living.with_name(f".live{framing.mark()}")
    dead = subprocess.Popen(["true"])
    dead.wait()
    gone = living.with_name(f".live{framing.mark()}".replace(f".{os.getpid()}.", f".{dead.pid}."))
    with monkeypatch.context() as patch:
        patch.setattr(framing, "node", lambda: "another machine")
        elsewhere, old = (work.folder / f".live{framing.mark()}" for _ in range(2))
    mine = work.folder / ".notes.part"
    for path in (living, gone, elsewhere, old, mine):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    framing.sweep(work.folder)
    assert [path.exists() for path in (living, gone, elsewhere, old, mine)] == [True, False, True, False, True]


# --- no space, no permission, no folder (42, 43)

LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_work import *
work = Store(Path(sys.argv[1])).shot(KEY, ABOUT)
work.keep_frames(CHUNK, drawn(16))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    work.keep_frames(LAST, drawn(4, shape=(5, 600)))
except ResourceError as error:
    print(error.exit_code, error)
"""


def test_a_file_that_grows_too_large_is_told(store):
    code = LIMITED.format(tests=str(Path(__file__).parent))
    ended = subprocess.run([sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("5 no space left for the work in ")
    assert "LCM_VIDEO_WORK" in ended.stdout
    with store.shot(KEY, ABOUT) as work:
        assert same(work.frames(CHUNK), drawn(16))
        assert work.missing([LAST]) == [LAST]


@pytest.mark.parametrize(
    ("number", "told", "remedy"),
    [
        (errno.ENOSPC, "no space left", "cache gc"), (errno.EDQUOT, "no space left", "cache gc"),
        (errno.EROFS, "cannot keep work", "writable"), (errno.EACCES, "cannot keep work", "writable"),
        (errno.EIO, "cannot keep work", "writable"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["open", "fsync", "replace"])
def test_what_the_system_refuses_is_told_and_harms_nothing(work, monkeypatch, number, told, remedy, place):
    before, after = drawn(4), drawn(4, seed=1)
    work.keep_frames(LAST, before)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os if place == "fsync" else Path, place, refuse)
        with pytest.raises(ResourceError, match=told) as caught:
            work.keep_frames(LAST, after)
    assert caught.value.exit_code == 5
    assert remedy in caught.value.remedy
    assert "LCM_VIDEO_WORK" in caught.value.remedy
    assert not [path.name for path in work.folder.iterdir() if path.name.endswith(".part")]
    assert same(work.frames(LAST), before)
    work.keep_frames(LAST, after)  # after space is freed
    assert same(work.frames(LAST), after)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told(store):
    store.folder.mkdir()
    store.folder.chmod(0o500)
    with pytest.raises(ResourceError, match="cannot keep work"):
        store.shot(KEY, ABOUT)


def test_a_file_in_the_folder_s_place_is_told(tmp_path):
    (tmp_path / "work").write_text("mine")
    with pytest.raises(ResourceError, match="cannot keep work"):
        Store(tmp_path / "work").shot(KEY, ABOUT)
    assert (tmp_path / "work").read_text() == "mine"


def test_a_work_folder_that_is_removed_under_a_render_is_told(store, work):
    work.keep_frames(CHUNK, drawn(16))
    framing.remove(store.folder)
    assert work.frames(CHUNK) is None
    assert work.missing([CHUNK]) == [CHUNK]
    for keep in (lambda: work.keep_frames(CHUNK, drawn(16)), lambda: work.keep_live({})):
        with pytest.raises(ResourceError, match="was removed while it was in use") as caught:
            keep()
        assert caught.value.remedy
    work.forget_live()
    assert not store.folder.exists()


def test_the_work_folder_is_the_user_s_unless_they_say_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LCM_VIDEO_WORK", raising=False)
    assert Store().folder == tmp_path / "cache" / "lcm-video" / "work"
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / "elsewhere"))
    assert Store().folder == tmp_path / "elsewhere"
    assert not any(tmp_path.iterdir())  # nothing is made before it is needed


# --- several at once

BESIDE = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_work import *
store = Store(Path(sys.argv[1]))
for _ in range(8):
    with store.shot(KEY, ABOUT) as work:
        for chunk, frames in ((CHUNK, drawn(16)), (LAST, drawn(4, seed=1))):
            found = work.frames(chunk)
            assert found is None or same(found, frames)
            work.keep_frames(chunk, frames)
assert store.notes == [], store.notes
"""


def test_two_renders_of_one_shot_do_not_disturb_each_other(store):
    code = BESIDE.format(tests=str(Path(__file__).parent))
    both = [subprocess.Popen([sys.executable, "-c", code, str(store.folder)]) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]


def test_clearing_away_never_meets_a_render_at_its_beginning(store):
    """Opening a shot and clearing it away, over and over, at the same time."""
    over, wrong = threading.Event(), []

    def clear():
        other = Store(store.folder)
        while not over.is_set():
            other.sweep(0)

    thread = threading.Thread(target=clear)
    thread.start()
    try:
        cleared = 0
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            with store.shot(KEY, ABOUT) as work:
                cleared += work.missing([LAST]) == [LAST]
                work.keep_frames(LAST, drawn(4))
                if not same(work.frames(LAST) or [], drawn(4)):
                    wrong.append("lost")
            time.sleep(0.001)
    finally:
        over.set()
        thread.join()
    assert not wrong
    assert cleared > 3  # it was cleared away in between, or this shows nothing


def test_a_lock_ends_with_its_holder(store):
    with store.shot(KEY, ABOUT) as work:
        assert locks.exclusive(work.folder) is None
        with store.shot(KEY, ABOUT):
            assert locks.exclusive(work.folder) is None
        assert locks.exclusive(work.folder) is None
    lock = locks.exclusive(work.folder)
    assert lock is not None
    lock.release()
    lock.release()


def test_a_folder_that_was_made_anew_meanwhile_is_not_cleared_away(store, monkeypatch):
    """Between opening a lock and holding it, another process may clear the folder away, and a render begin anew."""
    with store.shot(KEY, ABOUT) as work:
        pass
    locking = locks._lock

    def meanwhile(handle, *, exclusive):
        monkeypatch.setattr(locks, "_lock", locking)
        work.folder.rename(work.folder.with_name("away"))
        store.shot(KEY, ABOUT)
        locking(handle, exclusive=exclusive)

    monkeypatch.setattr(locks, "_lock", meanwhile)
    assert locks.exclusive(work.folder) is None
