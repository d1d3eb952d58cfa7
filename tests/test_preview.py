"""A preview shows the film as it is drawn, is whole whenever it is looked at, and changes nothing."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import lcm_video as lv
from lcm_video import preview
from lcm_video.cli.commands import app
from lcm_video.errors import StoryboardError
from lcm_video.job import Job, Watches
from lcm_video.media import facts, read_frames
from lcm_video.media.contact_sheet import arranged
from lcm_video.plan import plan
from lcm_video.preview import GREY, Preview, colours_of, ending_of, small

PROMPTS = "prompts={0: a large red circle on a blue background, -1: a large green circle on a white background}"
SMALL = ["video.width=96", "video.height=64", "sampling.steps=2", "output.path=film.mp4"]


@pytest.fixture(scope="module")
def embedded():
    return lv.Pipeline.load(lv.load("embedded", [PROMPTS, "video.frames=2"]).model)


@pytest.fixture
def often(monkeypatch):
    """Previews are shown at every chance."""
    monkeypatch.setattr(preview, "SECONDS", 0.0)
    monkeypatch.setattr(preview, "SHARE", 1e9)


class Looking(Preview):
    """A preview that looks at its own file after each time it is written."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.seen = []

    def _show(self, vae):
        super()._show(vae)
        assert [file.name for file in self.path.parent.iterdir()] == [self.path.name], "nothing half-written beside it"
        self.seen.append(list(read_frames(self.path)))


def planned(*changes):
    return plan(lv.load("embedded", [PROMPTS, *SMALL, *changes]))


def drawn(pipeline, film, *watches):
    return list(Job(film, load=lambda: pipeline, watch=Watches(*watches)).frames())


def test_a_preview_changes_no_bit_of_the_film(embedded, often, tmp_path):
    film = planned("video.frames=20")
    watching = Preview(tmp_path / "p.png", film)
    assert all(map(np.array_equal, drawn(embedded, film), drawn(embedded, film, watching)))
    assert watching.path.exists()


def tiles(picture, film):
    """The pictures on a sheet."""
    layout = arranged(
        [(0, np.zeros((*film.size[::-1], 3), np.uint8), "x")] * 12, columns=0, title="t", aim=preview.TILE
    )
    corners = map(layout.place, range(12))
    width, height = layout.thumb
    return [picture[top : top + height, left : left + width] for left, top in corners]


def test_the_sheet_goes_from_grey_over_sketches_to_the_film(embedded, often, tmp_path):
    film = planned("video.frames=40", "windows.length=16", "windows.overlap=4")
    watching = Looking(tmp_path / "p.png", film)
    frames = drawn(embedded, film, watching)
    watching.close()
    sheets = [tiles(picture, watching) for (picture,) in watching.seen]
    grey = [[bool((tile == GREY).all()) for tile in sheet] for sheet in sheets]
    assert grey[0][-1], "a later frame has not begun"
    assert not grey[0][0]
    assert not any(grey[-1])
    for before, after in pairwise(grey):
        assert not any(now and not was for was, now in zip(before, after, strict=True)), "what is there stays"
    last = sheets[-1][0].astype(float)
    real = np.asarray(Image.fromarray(frames[0]).resize(watching.size)).astype(float)
    assert np.abs(last - real).mean() < 6, "the frame itself"
    sketch = sheets[0][0].astype(float)
    assert 2 < np.abs(sketch - real).mean() < 80, "a sketch of it"


def test_colours_are_fitted_exactly_to_a_vae_that_is_linear():
    torch.manual_seed(0)
    map_, bias = torch.randn(4, 3) / 8, torch.tensor([0.1, -0.2, 0.0])

    class Linear:
        channels, factor, encode = 4, 8, len

        def decode(self, latents, /):
            colours = torch.einsum("fchw,cr->frhw", latents, map_) + bias[:, None, None]
            return colours.repeat_interleave(8, 2).repeat_interleave(8, 3)

    latents = torch.randn(5, 4, 10, 12)
    found = colours_of(Linear(), latents[:1], latents[1:2])(latents)
    true = ((torch.einsum("fchw,cr->fhwr", latents, map_) + bias + 1) * 127.5).clamp(0, 255)
    assert np.abs(np.stack(found).astype(float) - true.numpy()).max() <= 1


def test_colours_of_the_embedded_vae_are_those_of_its_frames(embedded, often, tmp_path):
    film = planned("video.frames=12")
    latents = []
    watch = type("Watch", (), {"turn": lambda self, shot, turn, pipeline: latents.append(turn.finished)})()
    frames = np.stack(drawn(embedded, film, watch)).astype(float)
    final = torch.cat([rows for rows in latents if rows is not None])
    found = np.stack(colours_of(embedded.vae, final[:1], final[-1:])(final)).astype(float)
    means = frames.reshape(12, found.shape[1], 8, found.shape[2], 8, 3).mean(axis=(2, 4))
    assert 1 - ((found - means) ** 2).mean() / means.var() > 0.9


def test_a_small_vae_decodes_what_is_shown():
    class Tiny:
        channels, factor, encode, tiny = 4, 8, len, True

        def decode(self, latents, /):
            return latents[:, :3] * 0 + latents[:, :1]

    (found,) = colours_of(Tiny(), torch.zeros(1, 4, 2, 2))(torch.ones(1, 4, 2, 2))
    assert (found == 255).all()


def test_it_is_written_once_a_second_and_takes_a_fiftieth_of_the_time_at_most(monkeypatch, tmp_path):
    film = planned("video.frames=100")
    now = [0.0]
    monkeypatch.setattr(preview.time, "monotonic", lambda: now[0])
    watching, shown = Preview(tmp_path / "p.png", film), []

    def write():
        shown.append(now[0])
        now[0] += cost

    monkeypatch.setattr(watching, "_write_sheet", write)
    cost = 0.001
    for _ in range(100):
        watching.frame(0, np.zeros((64, 96, 3), np.uint8))
        now[0] += 0.1
    assert len(shown) == pytest.approx(10, abs=1)
    shown.clear()
    cost = 1.0
    for _ in range(2000):
        watching.frame(0, np.zeros((64, 96, 3), np.uint8))
        now[0] += 0.1
    assert 3 <= len(shown) <= 5


def test_what_fails_is_told_once_and_the_film_goes_on(embedded, often, tmp_path):
    film, told = planned("video.frames=4"), []
    (tmp_path / "file").write_text("in the way")
    watching = Preview(tmp_path / "file" / "p.png", film, note=told.append)
    assert len(drawn(embedded, film, watching)) == 4
    watching.close()
    assert len(told) == 1
    assert told[0].startswith("no preview from here on: ")


def test_a_film_shows_the_frames_so_far_at_their_pace(embedded, often, tmp_path):
    film = planned("video.frames=40", "video.fps=10")
    watching = Looking(tmp_path / "p.mp4", film)
    drawn(embedded, film, watching)
    watching.close()
    lengths = [len(frames) for frames in watching.seen]
    assert lengths[0] == 16, "a chunk"
    assert lengths == sorted(lengths)
    assert lengths[-1] == 40
    assert facts(watching.path).fps == 10
    assert watching.seen[-1][0].shape == (*small(96, 64)[::-1], 3)


def test_a_long_film_leaves_frames_out_and_keeps_its_pace(monkeypatch, often, tmp_path):
    monkeypatch.setattr(preview, "FILM_FRAMES", 10)
    film = planned("video.frames=40", "video.fps=10")
    watching = Preview(tmp_path / "p.gif", film)
    for number in range(40):
        watching.frame(number, np.full((64, 96, 3), number, np.uint8))
    watching.close()
    assert len(list(read_frames(watching.path))) == 10
    assert float(facts(watching.path).duration) == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("name", ["p.txt", "p", "p.jpg"])
def test_a_preview_that_is_no_picture_and_no_film_is_refused(name, tmp_path):
    with pytest.raises(StoryboardError, match="a preview cannot be written to"):
        ending_of(tmp_path / name)


def test_sizes_are_even_and_keep_the_shape():
    assert small(512, 512) == (128, 128)
    assert small(512, 520) == (126, 128)
    assert small(8192, 64) == (128, 2)
    assert small(64, 64) == (128, 128)


def test_the_command_line_shows_a_preview_and_the_film_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = [
        PROMPTS,
        "video.width=64",
        "video.height=64",
        "video.frames=3",
        "sampling.steps=1",
    ]
    for name, options in zip(("plain", "seen", "other"), ([], ["--preview"], ["--preview-to", "x.gif"]), strict=True):
        done = CliRunner().invoke(app, ["render", "embedded", *changes, "-o", f"{name}.mp4", "--fresh", *options])
        assert done.exit_code == 0, done.output
        if options:
            assert f"preview in {'seen.preview.png' if name == 'seen' else 'x.gif'}" in done.stderr
    assert len({(tmp_path / f"{name}.mp4").read_bytes() for name in ("plain", "seen", "other")}) == 1
    assert (tmp_path / "seen.preview.png").exists()
    assert len(list(read_frames(tmp_path / "x.gif"))) == 3
    assert not (tmp_path / "plain.preview.png").exists()
    done = CliRunner().invoke(app, ["render", "embedded", *changes, "-o", "no.mp4", "--preview-to", "x.txt"])
    assert (done.exit_code, (tmp_path / "no.mp4").exists()) == (3, False)
