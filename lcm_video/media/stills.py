"""Frames as pictures: a folder of PNG or JPG, or a single picture when the film has one frame. All by imageio."""

from pathlib import Path
from typing import Any

import imageio.v3 as iio
from PIL.PngImagePlugin import PngInfo

from lcm_video.media.embedded_text import KEY, fitting
from lcm_video.media.film import Film
from lcm_video.types import Frame


class FramesSink:
    """Frames to numbered pictures in a hidden folder; every one carries the storyboard."""

    def __init__(self, path: Path, film: Film) -> None:
        self.path, self.film, self.trouble = path, film, ""
        self.ending = path.suffix.removeprefix(".")
        self.count = 0
        path.mkdir()

    def add(self, frame: Frame) -> None:
        """Writes the next picture."""
        options = png_options(self.film, self.count) if self.ending == "png" else jpg_options(self.film)
        path = self.path / f"{self.count:05d}.{self.ending}"
        growing = path.with_name(f".{path.name}")
        iio.imwrite(growing, frame, plugin="pillow", **options)
        growing.rename(path)  # so a process that is killed leaves none that is cut off
        self.count += 1

    def close(self) -> Path:
        """The folder, or its picture if there is only one."""
        return self.path if self.count > 1 else self.path / f"00000.{self.ending}"

    def stop(self) -> Path:
        """The folder as it is."""
        return self.path

    def abandon(self) -> None:
        """Nothing is open between pictures."""


def png_options(film: Film, frame: int) -> dict[str, Any]:
    """imageio's arguments for a PNG."""
    return {"pnginfo": png_info(film, frame)}


def jpg_options(film: Film) -> dict[str, Any]:
    """imageio's arguments for a JPG."""
    options: dict[str, Any] = {
        "quality": jpeg_quality(film.output.quality),
        "subsampling": int(film.output.chroma == "420") * 2,
    }
    if film.about:
        options["comment"] = f"{KEY}\n{fitting(film.about, 'jpg')}".encode()
    return options


def png_info(film: Film, frame: int | None) -> PngInfo:
    """Text chunks: the storyboard, and for a numbered frame `parameters`, where A1111 and others look."""
    info = PngInfo()
    if film.about:
        info.add_itxt(KEY, fitting(film.about, "png"))
    if film.parameters and frame is not None and film.output.metadata:
        info.add_itxt("parameters", film.parameters(frame))
    return info


def jpeg_quality(quality: int) -> int:
    """JPEG's and WebP's percentage for a constant rate factor: 18 → 88, 51 → 66.

    >>> jpeg_quality(0), jpeg_quality(18), jpeg_quality(51)
    (100, 88, 66)
    """
    return round(100 - quality * 2 / 3)
