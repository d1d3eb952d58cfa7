"""Writes a film: one pass over its frames, any number of files, each under its name only when all are whole.

Frames are encoded on a thread of their own. Whoever stops a render finds what was drawn so far in a hidden file that
plays; whatever else goes wrong leaves nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from lcm_video.errors import EncodeError, Interrupted, LcmVideoError, ResourceError
from lcm_video.media.encoder_thread import EncoderThread
from lcm_video.media.encoders import ENCODERS, Sink, stopped
from lcm_video.media.failures import explained
from lcm_video.media.film import Film
from lcm_video.media.locking import held
from lcm_video.media.output import Output
from lcm_video.media.space import NoSpaceLeft, Room
from lcm_video.media.target import Target, publish
from lcm_video.media.verify import verify
from lcm_video.types import Frame

STOPS = (Interrupted, KeyboardInterrupt, NoSpaceLeft)
"""What ends a film early but in order: its frames so far are kept in a file that plays."""


class Written(tuple[Path, ...]):
    """The paths of what was written, ``output.path``'s first.

    encoding: seconds that the encoders' thread was at work
    waiting: seconds that drawing had to wait for it: where encoding is hidden behind drawing, next to nothing
    """

    encoding: float = 0.0
    waiting: float = 0.0


def write(
    frames: Iterable[Frame],
    output: Output,
    *,
    fps: Fraction,
    frames_expected: int | None = None,
    loop: bool = False,
    about: str | Callable[[str], str] = "",
    parameters: Callable[[int], str] | None = None,
) -> Written:
    """Writes all of ``frames`` to every file of ``output`` and returns their paths, ``output.path``'s first.

    Frames are taken one by one, and a few wait for the encoders at most. Until every file is complete, checked and on
    disk, none appears under its name, and older files stay as they are. When ``frames`` raises Interrupted or
    KeyboardInterrupt, or the disk is nearly full, the film so far is completed under its hidden name; a note on the
    error says where.

    frames_expected: another number of frames is an error
    loop: the last frame leads to the first, so animated images repeat whatever ``output.repeat`` says
    about: text that each file carries, or a function from a file's ending to it (unless ``output.metadata`` is off)
    parameters: per frame number, the text that PNG frames carry for other tools

    Raises EncodeError (also, after everything was written, when the sound was not), ResourceError, LockedError.
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
        with held(output), ExitStack() as cleanup:
            files = [_begun(ending, film, cleanup) for ending, film in films.items()]
            written = _write(chain([first], iterator), first, files)
        _report(files, written)
        return written


@dataclass
class _File:
    """One file as it grows."""

    target: Target
    film: Film
    sink: Sink
    finished: Path | None = None
    kept: bool = False

    def add(self, frame: Frame) -> None:
        with explained(self.target.path):
            self.sink.add(frame)

    def close(self, frames: int) -> Path:
        """Completes the file and reads it again; returns where it is."""
        with explained(self.target.path):
            self.finished = self.sink.close()
            self.finished.stat()  # a folder that was deleted meanwhile is no fault of the encoder's
            verify(self.finished, self.film, frames=frames, ending=self.target.ending)
            return self.finished

    def keep(self) -> Path | None:
        """Completes what there is, under the hidden name. None: that was not possible."""
        self.kept = True  # said first: if even this is interrupted, what is there so far stays
        try:
            return (self.finished or stopped(self.sink)).replace(self.target.partial)
        except (OSError, FFmpegError, LcmVideoError):
            self.kept = False
            return None

    def clear(self) -> None:
        self.target.clear(keep_partial=self.kept)


def _begun(ending: str, film: Film, cleanup: ExitStack) -> _File:
    """The file that is written for ``ending``, open; ``cleanup`` closes it and removes what it should not leave."""
    target = Target(film.output.path_of(ending), ending)
    with explained(target.path):
        target.prepare()
        try:
            file = _File(target, film, ENCODERS[ending](target.partial, film))
        except BaseException:
            target.clear()
            raise
    cleanup.callback(file.clear)
    cleanup.callback(file.sink.abandon)
    return file


def _write(frames: Iterator[Frame], first: Frame, files: list[_File]) -> Written:
    film = files[0].film
    room = Room(film)

    def encode(frame: Frame) -> None:
        for file in files:
            file.add(frame)
        room.check()

    thread, complete = EncoderThread(encode), False
    try:
        count = _feed(frames, first, thread)
        if film.expected not in (None, count):
            raise EncodeError(f"{count} frames came instead of {film.expected}", remedy="please report this")
        complete = True
        written = Written(publish({file.target: file.close(count) for file in files}))
    except (KeyboardInterrupt, LcmVideoError) as error:
        # A film that has all its frames and only lacks the room for its second copy is worth keeping, too.
        if isinstance(error, STOPS) or (complete and isinstance(error, ResourceError)):
            thread.drain()
            _keep(files, error)
        raise
    finally:
        thread.abandon()
    written.encoding, written.waiting = thread.seconds, thread.waited
    return written


def _feed(frames: Iterator[Frame], first: Frame, thread: EncoderThread) -> int:
    count = 0
    for frame in frames:
        _check(frame, first, number=count)
        thread.add(frame)
        count += 1
    thread.finish()
    return count


def _keep(files: list[_File], error: BaseException) -> None:
    if kept := [path for file in files if (path := file.keep())]:
        error.add_note(f"the film so far: {', '.join(map(str, kept))} (the next run removes it)")


def _check(frame: np.ndarray, first: np.ndarray, *, number: int) -> None:
    """Frames are never resized or converted silently."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise EncodeError(
            f"frame {number} is {frame.dtype} {frame.shape}", remedy="give uint8 arrays of (rows, columns, 3)"
        )
    if frame.shape != first.shape:
        sizes = [f"{shape[1]}×{shape[0]}" for shape in (frame.shape, first.shape)]
        raise EncodeError(f"frame {number} is {sizes[0]}, the first was {sizes[1]}", remedy="all frames need one size")


def _report(files: list[_File], written: Written) -> None:
    if troubles := dict.fromkeys(file.sink.trouble for file in files if file.sink.trouble):
        names = ", ".join(str(path) for path in written)
        raise EncodeError(f"{'; '.join(troubles)}", remedy=f"the pictures are complete: {names}; repair the sound file")


@contextmanager
def _closing(iterator: Iterator[Frame]) -> Iterator[None]:
    """Stops the producer of frames when writing stops."""
    try:
        yield
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
