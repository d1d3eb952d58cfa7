"""A small picture of a film while it is being drawn: a sheet of a few of its frames, or a film of those there are.

Decoding is a third of a render's work, so previews do without: each pixel of a latent is turned into one colour by a
linear map, which is fitted once to what this very VAE makes of two of the latents. (A VAE that is itself small decodes
the frames shown.) Nothing that is drawn depends on it.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lcm_video.errors import LcmVideoError, StoryboardError
from lcm_video.media import FORMATS, Output, picked, sheet, write
from lcm_video.plan import Plan, ShotPlan
from lcm_video.storyboard import Scene
from lcm_video.types import Array, Frame, Latents, UInt8, Vae

if TYPE_CHECKING:
    from lcm_video.pipeline import Pipeline
    from lcm_video.wave import Turn

TILES = 12
"""Frames on the sheet, at most."""
FILM_FRAMES = 240
"""Frames of a preview that is a film, at most: a longer one leaves some out and keeps its pace."""
SECONDS = 1.0
"""Between two states of the preview, at least."""
SHARE = 0.02
"""Of the time that passes, what a preview may take."""
SIDE = 24
"""Latent pixels a side that the colours are fitted on, from the middle of the picture."""
TILE = 128
"""Pixels along the longer side of a preview's pictures."""
GREY = 96

Picture: TypeAlias = UInt8[Array, "high wide 3"]
"""A frame at the size of the preview's pictures."""

Colours: TypeAlias = Callable[[Latents], list[Picture]]
"""Latents to small pictures, one for each."""


@dataclass(frozen=True)
class Tile:
    """The latest known of a frame: how many steps it has taken (all: it is drawn), and what it looks like."""

    step: int
    latents: Latents | None = None
    picture: Picture | None = None


class Preview:
    """Watches a render (see `job.Watch`) and keeps a picture of it at ``path``, whole whenever it is looked at.

    path: .png is a sheet of at most 12 frames; .mp4, .gif, .webp and other formats of films are a film of those there
        are, written whenever some are finished
    planned: the film that is drawn
    note: is told if previewing has to stop; the render goes on
    """

    def __init__(self, path: Path, planned: Plan, *, note: Callable[[str], None] = lambda text: None) -> None:
        self.path, self.planned, self._tell = path, planned, note
        self.is_film = ending_of(path) != "png"
        self.tiles: dict[int, Tile | None] = dict.fromkeys(
            picked(planned.frames, FILM_FRAMES if self.is_film else TILES)
        )
        self.size = small(planned.board.video.width, planned.board.video.height)
        self.seconds = 0.0  # that previewing has taken so far
        self._next = time.monotonic() + SECONDS
        self._colours: Colours | None = None
        self._changed = self._refined = self._off = False

    def turn(self, shot: Scene, turn: "Turn", pipeline: "Pipeline") -> None:
        """Some frames took a step: those that are shown are kept."""
        rows = {shot.first + frame: row for row, frame in enumerate(turn.frames) if shot.first + frame in self.tiles}
        for number, row in rows.items():
            self.tiles[number] = Tile(turn.step + 1, turn.denoised[row : row + 1].clone())
            self._changed = True
        if turn.finished is not None and not self._refined:
            self._colours, self._refined = None, True  # what was fitted to the first, faint pictures is not exact
        if turn.finished is not None or not self.is_film:
            self._show_soon(pipeline.vae)

    def frame(self, number: int, frame: Frame) -> None:
        """A frame of the film is there, drawn now or before."""
        if number in self.tiles:
            self.tiles[number] = Tile(self._steps(number), picture=resized(frame, self.size))
            self._changed = True
            self._show_soon(None)

    def close(self) -> None:
        """Shows the last state. The file stays."""
        if self._changed and not self._off:
            self._show(None)

    def _show_soon(self, vae: Vae | None) -> None:
        if self._changed and time.monotonic() >= self._next and not self._off:
            self._show(vae)

    def _show(self, vae: Vae | None) -> None:
        """Writes the present state; what fails is told once, and never stops the render."""
        began, cpu = time.monotonic(), time.thread_time()
        try:
            if self._colours is None and vae is not None:
                self._colours = self._fitted(vae)
            (self._write_film if self.is_film else self._write_sheet)()
        except (OSError, RuntimeError, LcmVideoError) as error:
            told = error.message if isinstance(error, LcmVideoError) else str(error).partition("\n")[0]
            self._off = True
            self._tell(f"no preview from here on: {told}")
        self._changed = False
        self.seconds += time.thread_time() - cpu
        self._next = time.monotonic() + max(SECONDS, (time.monotonic() - began) / SHARE)

    def _fitted(self, vae: Vae) -> Colours | None:
        latents = [tile.latents for tile in self.tiles.values() if tile and tile.latents is not None]
        if not latents:
            return None
        means = [row.mean(dim=(-2, -1)) for row in latents]
        apart = [float((mean - means[0]).norm()) for mean in means]
        # The more two pictures differ, the more colours the map is fitted to.
        return colours_of(vae, latents[0], latents[apart.index(max(apart))])

    def _pictures(self) -> dict[int, tuple[Tile, Picture]]:
        """The frames that something is known of, as small pictures."""
        found = {}
        for number, tile in self.tiles.items():
            if tile and tile.picture is None and tile.latents is not None and self._colours:
                (picture,) = self._colours(tile.latents)
                tile = self.tiles[number] = Tile(tile.step, tile.latents, resized(picture, self.size))
            if tile and tile.picture is not None:
                found[number] = tile, tile.picture
        return found

    def _write_sheet(self) -> None:
        there = self._pictures()
        nothing = np.full((*self.size[::-1], 3), GREY, np.uint8)
        tiles = []
        for number in self.tiles:
            tile, picture = there.get(number, (None, nothing))
            steps = self._steps(number)
            told = "…" if tile is None else "done" if tile.step == steps and tile.latents is None else ""
            tiles.append((number, picture, told or f"step {tile.step if tile else 0}/{steps}"))
        sheet(tiles, self.path, title=f"{self.planned.frames} frames", aim=TILE)

    def _write_film(self) -> None:
        pictures = self._pictures()
        ready = [picture for number, (tile, picture) in pictures.items() if tile.step == self._steps(number)]
        if ready:
            fps = self.planned.board.video.fps * len(self.tiles) / self.planned.frames
            hidden = self.path.with_name(f".{self.path.stem}.{os.getpid()}.preview{self.path.suffix}")
            try:
                write(ready, Output(path=str(hidden), metadata=False, quality=28), fps=fps)
                hidden.replace(self.path)
            finally:
                hidden.unlink(missing_ok=True)

    def _steps(self, number: int) -> int:
        """The steps of the shot that a frame belongs to."""
        return len(self._shot(number).course.levels) - 1

    def _shot(self, number: int) -> ShotPlan:
        return next(planned for planned in reversed(self.planned.shots) if planned.shot.first <= number)


def ending_of(path: Path) -> str:
    """A preview's format. Raises StoryboardError for one that is no picture and no film."""
    ending = path.suffix.lower().removeprefix(".")
    fits = [known for known in FORMATS if known != "jpg"]
    if ending not in fits:
        raise StoryboardError(
            f"a preview cannot be written to {path.name}", remedy=f"end it in one of {', '.join(fits)}"
        )
    return ending


def colours_of(vae: Vae, *latents: Latents) -> Colours:
    """How latents of ``vae`` look, about, without decoding them: fitted to these few, decoded in part.

    The map from a latent pixel to the mean colour of the pixels it stands for is nearly linear in the VAEs of Stable
    Diffusion: least squares of the colours on the channels and a constant. A small VAE (``vae.tiny``) decodes itself.
    """
    import torch
    from einops import rearrange, reduce

    def pixels(images: Any) -> list[Picture]:
        small = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return [*rearrange(small, "frames rgb rows columns -> frames rows columns rgb").cpu().numpy()]

    if getattr(vae, "tiny", False):
        return lambda rows: pixels(vae.decode(rows))
    known = torch.cat([_middle(row) for row in latents])
    decoded = vae.decode(known).float()
    size = {"high": vae.factor, "wide": vae.factor}
    colours = reduce(decoded, "frames rgb (rows high) (columns wide) -> (frames rows columns) rgb", "mean", **size)
    map_, bias = _least_squares(
        rearrange(known.float(), "frames channels rows columns -> (frames rows columns) channels"), colours
    )

    def coloured(rows: Latents) -> list[Frame]:
        return pixels(torch.einsum("fchw,cr->frhw", rows.float(), map_) + bias[:, None, None])

    return coloured


def _middle(latents: Latents) -> Latents:
    """At most SIDE pixels a side from the middle of the picture."""
    height, width = latents.shape[-2:]
    top, left = max(height - SIDE, 0) // 2, max(width - SIDE, 0) // 2
    return latents[..., top : top + SIDE, left : left + SIDE]


def _least_squares(inputs: Any, outputs: Any) -> tuple[Any, Any]:
    """The matrix and constant that come nearest to ``outputs`` from ``inputs``, rows being cases."""
    import torch

    whole = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    # The normal equations, a little held back: a plain picture does not tell all channels apart.
    square = whole.T @ whole
    held = square + torch.eye(len(square)) * square.diagonal().mean() * 1e-4
    solved = torch.linalg.solve(held, whole.T @ outputs)
    return solved[:-1], solved[-1]


def resized(frame: Frame, size: tuple[int, int]) -> Picture:
    """A picture at another width and height, smooth."""
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def small(width: int, height: int) -> tuple[int, int]:
    """The size of preview pictures: even, as videos want it, and TILE pixels along the longer side."""
    scale = TILE / max(width, height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
