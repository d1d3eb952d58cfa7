"""Whatever happens to the files of the work store, frames are never wrong: they are there or they are not."""

import os

import pytest
from hypothesis import given, settings, strategies as st
from test_work import ABOUT, CHUNK, KEY, LAST, drawn, same

from lcm_video.work import Store, framing


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "work")


@pytest.fixture
def work(store):
    with store.shot(KEY, ABOUT) as work:
        work.keep_frames(CHUNK, drawn(16))
        work.keep_frames(LAST, drawn(4, seed=1))
        yield work


@pytest.fixture
def chunk(work):
    return work.folder / "frames-000000-16"


FRAMES = drawn(16)
STATE = b"what a render was at"


def damaged(content, how, at, byte):
    """``content`` after something has happened to it."""
    at = int(at * len(content))
    if how == "flip":
        return content[:at] + bytes([content[at] ^ byte]) + content[at + 1 :]
    if how == "cut":
        return content[:at]
    if how == "zeros":
        return content[:at] + bytes(len(content) - at)
    if how == "grown":
        return content + bytes([byte])
    if how == "lost":
        return content[:at] + content[at + byte :]
    return content[:at] + bytes([byte]) + content[at:]


@given(
    how=st.sampled_from(["flip", "cut", "zeros", "grown", "lost", "inserted"]),
    at=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_no_damage_is_ever_taken_for_content(how, at, byte):
    label = f"{KEY}/live"
    whole = framing.framed(STATE, label)
    found = damaged(whole, how, at, byte)
    assert framing.unframed(whole, label) == STATE
    if found != whole:
        with pytest.raises(framing.Damaged):
            framing.unframed(found, label)


@given(
    name=st.sampled_from(["frames-000000-16", "live", "about.json", "lock"]),
    how=st.sampled_from(["flip", "cut", "zeros", "grown", "lost", "inserted", "removed"]),
    at=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_after_any_damage_frames_are_right_or_not_there(tmp_path_factory, name, how, at, byte):
    import torch

    store = Store(tmp_path_factory.mktemp("work"))
    with store.shot(KEY, ABOUT) as work:
        work.keep_frames(CHUNK, FRAMES)
        work.keep_live({"a": torch.arange(5)})
    path = work.folder / name
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif content:
        path.write_bytes(damaged(content, how, at, byte))
    store.entries()
    with store.shot(KEY, ABOUT) as work:
        found, live = work.frames(CHUNK), work.live()
        assert found is None or same(found, FRAMES)
        assert live is None or live["a"].tolist() == [0, 1, 2, 3, 4]
        if name in ("about.json", "lock"):
            assert found is not None
            assert live is not None
        work.keep_frames(CHUNK, FRAMES)
        assert same(work.frames(CHUNK), FRAMES)


def replaced_by_folder(path):
    path.unlink()
    (path / "inside").mkdir(parents=True)
    (path / "inside" / "file").write_text("x")


def replaced_by_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replaced_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def of_another_version(path):
    path.write_bytes(path.read_bytes().replace(b"work 1 ", b"work 2 ", 1))


DAMAGES = {
    "is empty": lambda path: path.write_bytes(b""),
    "is not a file of lcm-video's work": lambda path: path.write_bytes(b"PNG and so on\n" * 20),
    "is cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "is longer than it should be": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "is damaged, or another's": lambda path: path.write_bytes(damaged(path.read_bytes(), "flip", 0.9, 1)),
    "is not a file": replaced_by_folder,
    "is not a file ": replaced_by_pipe,
    "is a link": replaced_by_link,
    "is of another version of lcm-video": of_another_version,
}


@pytest.mark.parametrize("told", DAMAGES)
def test_only_the_damaged_chunk_is_lost_and_it_is_told(store, work, chunk, told):
    DAMAGES[told](chunk)
    assert work.frames(CHUNK) is None
    assert store.notes == [f"frames 0 to 15: the file in the work folder {told.strip()}; it is made anew"]
    assert work.missing([CHUNK, LAST]) == [CHUNK]  # it was removed
    assert same(work.frames(LAST), drawn(4, seed=1))
    assert work.frames(CHUNK) is None
    assert len(store.notes) == 1
    work.keep_frames(CHUNK, drawn(16))
    assert same(work.frames(CHUNK), drawn(16))


def test_what_a_link_points_to_is_neither_read_nor_removed(work, chunk, tmp_path):
    mine = tmp_path / "mine"
    mine.write_bytes(chunk.read_bytes())
    chunk.unlink()
    chunk.symlink_to(mine)
    assert work.frames(CHUNK) is None
    assert mine.exists()
    assert not chunk.is_symlink()


@pytest.mark.parametrize("obstacle", [replaced_by_folder, replaced_by_link, replaced_by_pipe])
def test_what_lies_in_a_file_s_place_is_replaced(work, chunk, obstacle):
    obstacle(chunk)
    work.keep_frames(CHUNK, drawn(16))
    assert same(work.frames(CHUNK), drawn(16))


@pytest.mark.parametrize("name", ["lock", "about.json"])
@pytest.mark.parametrize("obstacle", [replaced_by_folder, replaced_by_link, replaced_by_pipe])
def test_no_file_of_a_shot_can_keep_a_render_from_starting(store, work, name, obstacle):
    obstacle(work.folder / name)
    assert store.entries()
    with store.shot(KEY, ABOUT) as again:
        assert same(again.frames(CHUNK), drawn(16))


def test_a_link_in_the_place_of_a_shot_s_folder_is_not_followed(store, work, tmp_path):
    work.close()
    work.folder.rename(tmp_path / "mine")
    work.folder.symlink_to(tmp_path / "mine")
    with store.shot(KEY, ABOUT) as again:
        assert again.frames(CHUNK) is None
    assert (tmp_path / "mine" / "live").exists() or (tmp_path / "mine" / "frames-000000-16").exists()


def test_the_file_of_another_chunk_or_shot_is_not_taken_for_this_one(store, work, chunk):
    with store.shot("b" * 64, ABOUT) as other:
        other.keep_frames(CHUNK, drawn(16, seed=9))
        (other.folder / chunk.name).replace(chunk)
    assert work.frames(CHUNK) is None
    work.keep_frames(range(32, 48), drawn(16, seed=5))
    (work.folder / "frames-000032-16").replace(chunk)
    assert work.frames(CHUNK) is None
    assert ["another's" in note for note in store.notes] == [True, True]


def test_frames_of_another_size_or_number_are_not_taken(store, work, chunk):
    from lcm_video.media.lossless import packed

    for frames in (drawn(16, shape=(5, 7)), drawn(15)):
        framing.write(chunk, packed(frames), f"{KEY}/{chunk.name}")
        assert work.frames(CHUNK) is None
    framing.write(chunk, b"no frames at all", f"{KEY}/{chunk.name}")
    assert work.frames(CHUNK) is None
    assert ["other frames" in note for note in store.notes] == [True, True, False]
    assert "cannot be understood" in store.notes[-1]


def test_what_cannot_be_read_now_is_left_where_it_is(store, work, chunk, monkeypatch):
    """A limit on open files is no damage."""

    def refuse(path, *_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(framing.os, "open", refuse)
        assert work.frames(CHUNK) is None
    assert store.notes == [
        "frames 0 to 15: the file in the work folder cannot be read (Too many open files); it is made anew"
    ]
    assert same(work.frames(CHUNK), drawn(16))


@pytest.mark.parametrize("moment", [0, -(2**40), 2**33, 2**35])
def test_times_have_no_effect_on_what_is_read(store, work, moment):
    for path in [*work.folder.iterdir(), work.folder]:
        os.utime(path, (moment, moment))
    assert same(work.frames(CHUNK), drawn(16))
    assert [entry.done for entry in store.entries()] == [20]
    work.close()
    assert store.sweep(10**9).removed == 0
    assert store.sweep(0).removed == 1


def test_the_work_of_other_versions_is_left_alone_and_told_once(store):
    for name in ("v0", "v2"):
        (store.folder / name / KEY).mkdir(parents=True)
        (store.folder / name / KEY / "frames-000000-16").write_bytes(b"other")
    (store.folder / "mine").mkdir()
    for _ in range(2):
        with store.shot(KEY, ABOUT) as work:
            assert work.frames(CHUNK) is None
    assert store.notes == ["the work of another version (v0, v2) is ignored; `lcm-video cache gc --all` removes it"]
    store.sweep(0)
    assert (store.folder / "v0" / KEY / "frames-000000-16").read_bytes() == b"other"
    store.clear()
    assert [path.name for path in store.folder.iterdir()] == ["mine"]
