"""Kept work is cleared away when nobody needs it, the longest unused first."""

import json
import os

import pytest
from test_work import ABOUT, CHUNK, LAST, drawn
from typer.testing import CliRunner

from lcm_video.cli.cache_commands import in_bytes
from lcm_video.cli.commands import app
from lcm_video.work import Store, framing

KEYS = [letter * 64 for letter in "abc"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Three shots of equal size, used one after the other."""
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / "work"))
    store = Store()
    for age, key in enumerate(KEYS):
        with store.shot(key, {**ABOUT, "shot": key[0]}) as work:
            work.keep_frames(CHUNK, drawn(16))
        os.utime(work.folder / "about.json", (1e9 + age, 1e9 + age))
    return store


@pytest.fixture
def one(store):
    """The size of one shot."""
    return store.entries()[0].size


def kept(store):
    return "".join(sorted(entry.key[0] for entry in store.entries()))


def test_entries_tell_what_is_there(store):
    entries = store.entries()
    assert [entry.key for entry in entries] == KEYS[::-1]
    assert [(entry.about["shot"], entry.done, entry.busy, entry.pinned) for entry in entries] == [
        (letter, 16, False, False) for letter in "cba"
    ]
    folder = entries[0].folder
    assert entries[0].size == sum(path.stat().st_size for path in folder.iterdir()) > 0
    assert [entry.used for entry in entries] == [1e9 + 2, 1e9 + 1, 1e9]


def test_a_store_that_is_not_there_is_empty(tmp_path):
    store = Store(tmp_path / "nothing")
    assert store.entries() == []
    assert store.sweep(0) == store.clear()
    assert not store.folder.exists()


@pytest.mark.parametrize(("shots", "left"), [(3, "abc"), (2.9, "bc"), (2, "bc"), (1, "c"), (0.5, "")])
def test_the_longest_unused_goes_first_until_the_limit_is_met(store, one, shots, left):
    swept = store.sweep(int(shots * one))
    assert kept(store) == left
    assert swept.removed == 3 - len(left)
    assert swept.freed == swept.removed * one
    assert swept.left == len(left) * one


def test_using_work_again_makes_it_the_last_to_go(store, one):
    with store.shot(KEYS[0], ABOUT):
        pass
    store.sweep(one * 2)
    assert kept(store) == "ac"


def test_what_a_render_is_at_work_on_stays(store):
    with store.shot(KEYS[0], ABOUT) as work:
        assert [entry.busy for entry in store.entries()] == [True, False, False]
        assert Store(store.folder).sweep(0).removed == 2
        assert work.frames(CHUNK) is not None
        assert Store(store.folder).clear().removed == 0
        work.keep_frames(LAST, drawn(4))
    store.sweep(0)
    assert kept(store) == ""


def test_pinned_work_stays_until_everything_goes(store):
    with store.shot(KEYS[1], ABOUT) as work:
        work.pin()
    assert [entry.pinned for entry in store.entries()] == [True, False, False]
    store.sweep(0, keep=[KEYS[0]])
    assert kept(store) == "ab"
    swept = store.clear()
    assert swept.removed == 2
    assert swept.left == 0
    assert not any(store.folder.iterdir())


def test_what_a_killed_clearing_has_left_goes(store):
    version = store.folder / "v1"
    half = version / f".gone{framing.mark()}"
    (half / "inside").mkdir(parents=True)
    (version / KEYS[0] / ".live.0123456789ab.1.0.part").touch()
    os.utime(version / KEYS[0] / ".live.0123456789ab.1.0.part", (0, 0))
    store.sweep()
    assert kept(store) == "abc"
    assert not half.exists()
    assert not [*version.rglob("*.part")]


def run(*words):
    return CliRunner().invoke(app, ["cache", *words])


def test_ls_shows_a_table(store, one):
    with store.shot(KEYS[1], {**ABOUT, "storyboard": "a \x1b[31mred\nfox", "shot": "b"}) as work:
        work.pin()
        lines = run("ls").stdout.splitlines()
    assert lines[0].split() == ["storyboard", "shot", "frames", "size", "used"]
    assert lines[1].split("  ")[0] == "a ?[31mred?fox"
    assert "16/20" in lines[1]
    assert "just now" in lines[1]
    assert lines[1].endswith("rendering, pinned")
    assert lines[2].split()[:3] == ["fox", "c", "16/20"]
    assert "days ago" in lines[2]
    assert lines[-1].endswith(f"in {store.folder}")


def test_ls_tells_machines_all_it_knows(store, one):
    found = json.loads(run("ls", "--json").stdout)["work"]
    first = {"key": KEYS[2], **ABOUT, "shot": "c", "done": 16, "bytes": one, "used": 1e9 + 2}
    assert found[0] == {**first, "busy": False, "pinned": False}
    assert len(found) == 3


def test_ls_bears_what_it_cannot_read(store):
    for key, text in zip(KEYS, ("{", "[1]", '{"frames": 1e999, "shot": {}}'), strict=True):
        (store.folder / "v1" / key / "about.json").write_text(text)
    assert run("ls").exit_code == 0
    assert run("ls", "--json").exit_code == 0


def test_an_empty_store_is_said_to_be_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("LCM_VIDEO_WORK", str(tmp_path / "nothing"))
    assert run("ls").stdout == f"no work is kept in {tmp_path / 'nothing'}\n"
    assert json.loads(run("ls", "--json").stdout) == {"work": []}
    assert run("gc").stdout == "0 shots removed, 0 B freed; 0 B left\n"


def test_gc_clears_to_a_size(store, one):
    assert run("gc").stdout.startswith("0 shots removed")
    told = json.loads(run("gc", "--limit", f"{2 * one / 1000}kB", "--json").stdout)
    assert told == {"removed": 1, "freed": one, "left": 2 * one}
    assert kept(store) == "bc"
    assert run("gc", "--all").stdout.startswith("2 shots removed, ")
    assert kept(store) == ""


def test_gc_takes_one_of_its_options(store):
    both = run("gc", "--all", "--limit", "1GB")
    assert both.exit_code == 2
    assert "--all" in both.stderr
    assert run("gc", "--limit", "much").exit_code == 2
    assert kept(store) == "abc"


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("10GB", 10**10), ("1.5 g", 15 * 10**8), ("500mb", 5 * 10**8), (" 7 kB ", 7000), ("12", 12)],
)
def test_sizes_are_read_as_people_write_them(text, count):
    assert in_bytes(text) == count
