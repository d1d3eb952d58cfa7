"""Where a shot begins: noise, or an image or video that is noised part of the way."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic.dataclasses import dataclass

from lcm_video.errors import InputError
from lcm_video.scratch import room
from lcm_video.timeline import Curve, within
from lcm_video.types import STRICT, Frame, Latents, Vae

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, config=STRICT)
class Start:
    """What the film begins from.

    source: an image or a video; empty begins from noise. A short video holds its last frame
    strength: share of the schedule that is run, 0 to 1: 1 keeps nothing of the source, 0.6 its composition
    fit: what to do with a source of another size: refuse it (exact), cut its edges off (crop), or distort it (stretch)
    """

    source: str = ""
    strength: Annotated[Curve, within(0, 1)] = 1.0
    fit: Literal["exact", "crop", "stretch"] = "exact"


def fitted(frames: Iterable[Frame], *, width: int, height: int, fit: str, name: str) -> Iterator[Frame]:
    """Yields ``frames`` at the film's size. Raises InputError if they have another and ``fit`` is ``exact``."""
    import numpy as np
    from PIL import Image, ImageOps

    def sized(picture: "Image") -> "Image":
        if fit == "crop":
            return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    for frame in frames:
        rows, columns, _ = frame.shape
        if (columns, rows) == (width, height):
            yield frame
        elif fit == "exact":
            raise InputError(
                f"start.source: {name} is {columns}x{rows}, the film is {width}x{height}",
                remedy=f"set start.fit to crop or stretch, or video.width={columns} and video.height={rows}",
            )
        else:
            yield np.asarray(sized(Image.fromarray(frame)))


def latents_of(vae: Vae, frames: Iterable[Frame], *, count: int, batch: int = 4) -> Latents:
    """The latents of the first ``count`` frames; fewer frames are filled up with the last one.

    Every frame is read once and encoded once, ``batch`` together. A still image takes the room of one frame, many
    frames of a video that of a file (`scratch`).
    """
    import numpy as np
    import torch
    from einops import rearrange

    def encoded(pictures: list[Frame]) -> Latents:
        pixels = torch.from_numpy(np.stack(pictures)).float() / 127.5 - 1
        return vae.encode(rearrange(pixels, "frames rows columns rgb -> frames rgb rows columns"))

    given = islice(frames, count)
    batches = chain(iter(lambda: [*islice(given, batch)], []), [[]])
    first, second = next(batches), next(batches, [])
    if not first:
        raise InputError("start.source holds no frames", remedy="choose another image or video")
    rows = encoded(first)
    if len(first) == 1 and not second:
        return rows.contiguous().expand(count, -1, -1, -1)
    # A VAE may lay its latents out in another order: here they always lie alike, for a UNet's rounding depends on it.
    every, done = room(count, *rows.shape[1:]), len(rows)
    every[:done] = rows
    for pictures in filter(None, chain([second], batches)):
        every[done : done + len(pictures)] = encoded(pictures)
        done += len(pictures)
    every[done:] = every[done - 1]
    return every
