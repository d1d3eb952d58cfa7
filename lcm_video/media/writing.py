"""Writes a film: one pass over its frames, any number of files, each under its name only when it is whole."""

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from lcm_video.errors import EncodeError, ResourceError
from lcm_video.media.encoders import ENCODERS, Sink
from lcm_video.media.film import Film
from lcm_video.media.output import Output
from lcm_video.media.target import Target
from lcm_video.media.verify import verify
from lcm_video.types import Frame


def write(
    frames: Iterable[Frame],
    output: Output,
    *,
    fps: Fraction,
    frames_expected: int | None = None,
    loop: bool = False,
    about: str | Callable[[str], str] = "",
    parameters: Callable[[int], str] | None = None,
) -> tuple[Path, ...]:
    """Writes all of ``frames`` to every file of ``output`` and returns their paths, ``output.path``'s first.

    Frames are taken one by one and never kept. Until every file is complete, checked and on disk, none appears under
    its name, and older files stay as they are.

    frames_expected: another number of frames is an error
    loop: the last frame leads to the first, so animated images repeat whatever ``output.repeat`` says
    about: text that each file carries, or a function from a file's ending to it (unless ``output.metadata`` is off)
    parameters: per frame number, the text that PNG frames carry for other tools

    Raises EncodeError (also, after everything was written, when the sound was not), ResourceError.
    """
    iterator = iter(frames)
    with _closing(iterator):
        first = next(iterator, None)
        if first is None:
            raise EncodeError("there are no frames to write", remedy="video.frames must be at least 1")
        _check(first, first, number=0)
        film = Film(
            width=first.shape[1], height=first.shape[0], fps=fps, output=output,
            repeat=output.repeat or loop,
            expected=frames_expected, parameters=parameters,
        )  # fmt: skip
        carried = about if callable(about) else lambda ending: about
        films = {ending: replace(film, about=carried(ending) if output.metadata else "") for ending in output.endings}
        return _write(chain([first], iterator), first, films)


def _write(frames: Iterator[Frame], first: Frame, films: dict[str, Film]) -> tuple[Path, ...]:
    """Writes each of ``films``, which are by ending and differ in what they carry."""
    film = next(iter(films.values()))
    output = film.output
    targets = {ending: Target(output.path_of(ending), ending) for ending in output.endings}
    sinks: dict[str, Sink] = {}
    with ExitStack() as cleanup:
        for ending, target in targets.items():
            with _explained(target.path):
                target.prepare()
                cleanup.callback(target.clear)
                sinks[ending] = ENCODERS[ending](target.partial, films[ending])
                cleanup.callback(sinks[ending].abandon)
        count = _feed(frames, first, targets, sinks)
        if film.expected not in (None, count):
            raise EncodeError(f"{count} frames came instead of {film.expected}", remedy="please report this")
        finished = {}
        for ending, target in targets.items():
            with _explained(target.path):
                finished[ending] = sinks[ending].close()
                verify(finished[ending], films[ending], frames=count, ending=ending)
        paths = []
        for ending, target in targets.items():
            with _explained(target.path):
                paths.append(target.commit(finished[ending]))
    _report(sinks.values(), paths)
    return tuple(paths)


def _feed(frames: Iterator[Frame], first: Frame, targets: dict[str, Target], sinks: dict[str, Sink]) -> int:
    count = 0
    for frame in frames:
        _check(frame, first, number=count)
        for ending, sink in sinks.items():
            with _explained(targets[ending].path):
                sink.add(frame)
        count += 1
    return count


def _check(frame: np.ndarray, first: np.ndarray, *, number: int) -> None:
    """Frames are never resized or converted silently."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise EncodeError(
            f"frame {number} is {frame.dtype} {frame.shape}", remedy="give uint8 arrays of (rows, columns, 3)"
        )
    if frame.shape != first.shape:
        sizes = [f"{shape[1]}×{shape[0]}" for shape in (frame.shape, first.shape)]
        raise EncodeError(f"frame {number} is {sizes[0]}, the first was {sizes[1]}", remedy="all frames need one size")


def _report(sinks: Iterable[Sink], paths: list[Path]) -> None:
    if troubles := dict.fromkeys(sink.trouble for sink in sinks if sink.trouble):
        written = ", ".join(str(path) for path in paths)
        raise EncodeError(
            f"{'; '.join(troubles)}", remedy=f"the pictures are complete: {written}; repair the sound file"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what the system and FFmpeg raise into our errors."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = "free space there, or choose another output.path"
            raise ResourceError(f"no space left for {path}: {reason}", remedy=remedy) from error
        if isinstance(error, OSError):
            raise ResourceError(f"cannot write {path}: {reason}", remedy="choose another output.path") from error
        raise EncodeError(f"{path.name}: the encoder failed: {reason}", remedy="try another codec or format") from error


@contextmanager
def _closing(iterator: Iterator[Frame]) -> Iterator[None]:
    """Stops the producer of frames when writing stops."""
    try:
        yield
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
