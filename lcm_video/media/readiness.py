"""Everything that would stop a film from being written, found before a model is loaded."""

import os
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError

from lcm_video.errors import InputError, ResourceError, StoryboardError
from lcm_video.media import audio
from lcm_video.media.film import Film
from lcm_video.media.gif import TICKS
from lcm_video.media.opening import MAX_SIDE
from lcm_video.media.output import FORMATS, Output
from lcm_video.media.space import check_space
from lcm_video.media.target import Target
from lcm_video.media.video import CODECS, configure

GIF_LEAST_TICKS = 2
"""Browsers slow shorter delays down to a tenth of a second."""


def preflight(output: Output, *, width: int, height: int, fps: Fraction, frames: int | None = None) -> None:
    """Raises what `write` would raise late: sizes, rates, encoders, sound and the places to write to.

    StoryboardError for what the storyboard asks; InputError for an encoder that is not there or sound that cannot be
    read; ResourceError for a folder that cannot be written to, or a disk without the room for so many frames.
    """
    film = Film(width, height, fps, output, expected=frames)
    for ending in output.endings:
        _check_place(output.path_of(ending), ending, frames)
        if FORMATS[ending].is_video:
            _check_multiple(film, output.codec_of(ending))
            _check_encoder(film, output.codec_of(ending))
        if ending == "gif" and fps * GIF_LEAST_TICKS > TICKS:
            most = TICKS // GIF_LEAST_TICKS
            raise StoryboardError(
                f"a GIF cannot show {float(fps):g} frames a second", remedy=f"at most {most}, or webp", field="formats"
            )
        if (ending == "webp" and max(width, height) > 16383) or max(width, height) > MAX_SIDE:
            raise StoryboardError(f"{width}×{height} is too large for {ending}", remedy="smaller video", field="path")
    if output.audio.source and any(FORMATS[ending].audio for ending in output.endings):
        audio.check(output.audio)
    if frames is not None:
        check_space(output, width=width, height=height, fps=fps, frames=frames)


def _check_multiple(film: Film, codec: str) -> None:
    wide, high = CODECS[codec].multiple(film.output.chroma)
    if film.width % wide or film.height % high:
        sizes = {_nearest(film.width, wide, down) + "×" + _nearest(film.height, high, down) for down in (True, False)}
        other = "" if codec == "av1" else ", or output.chroma: 444"
        raise StoryboardError(
            f"{codec} in 4:2:0 needs even sizes, not {film.width}×{film.height}",
            remedy=f"{' or '.join(sorted(sizes))}{other}",
            field="chroma",
        )


def _nearest(value: int, multiple: int, down: bool) -> str:
    return str(value // multiple * multiple if down else -(-value // multiple) * multiple)


def _check_encoder(film: Film, name: str) -> None:
    """Opens the encoder with the film's size and settings, and closes it again."""
    encoder = CODECS[name].encoder
    usable = f"usable: {', '.join(other for other, codec in CODECS.items() if codec.encoder in av.codecs_available)}"
    if encoder not in av.codecs_available:
        raise InputError(f"the encoder {encoder} ({name}) is not in this build of PyAV", remedy=usable)
    context = av.VideoCodecContext.create(encoder, "w")
    assert isinstance(context, av.VideoCodecContext)
    try:
        configure(context, film, name)
        context.open()
    except FFmpegError as error:
        what = f"{encoder} refuses {film.width}×{film.height}: {error.strerror}"
        raise InputError(what, remedy=f"another size or codec; {usable}") from None


def _check_place(path: Path, ending: str, frames: int | None) -> None:
    if path.is_dir():
        raise StoryboardError(f"{path} is a folder", remedy="give a file name", field="path")
    if ending in ("png", "jpg") and frames != 1:
        Target(path, ending).check_folder()
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise StoryboardError(f"{nearest} is a file, not a folder", remedy="choose another path", field="path")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ResourceError(
            f"cannot write to {nearest}", remedy="change its permissions, or choose another output.path"
        )
