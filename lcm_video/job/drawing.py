"""One shot being drawn: what is stored is read, what is missing is computed, all in order."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lcm_video.chunks import chunks_of
from lcm_video.errors import Interrupted, ResourceError
from lcm_video.job.faults import Flat, explained
from lcm_video.plan import ShotPlan
from lcm_video.types import Frame, Latents

if TYPE_CHECKING:
    from lcm_video.job import Job
    from lcm_video.wave import Wave
    from lcm_video.work import ShotWork


class Drawing:
    """One shot of a job. ``work`` is where its chunks are stored; None keeps nothing."""

    def __init__(self, job: "Job", planned: ShotPlan, work: "ShotWork | None") -> None:
        self.job, self.planned, self.work = job, planned, work
        self.shot, self.board = planned.shot, planned.course.board
        self.label = f"{self.shot.name}: " if self.shot.name else ""
        self.wave: Wave | None = None  # what checkpoints are taken of
        self.present: Wave | None = None  # the same, or one that draws a damaged chunk again
        self._counted = 0
        self._kept_at = time.monotonic()

    def frames(self) -> Iterator[Frame]:
        """Yields the shot's frames in order. Where it stops early, what is done of the present chunk is kept."""
        chunks = chunks_of(self.shot.frames)
        missing = self._missing(chunks)
        drawn = self._drawn(missing, resume=True)
        stored = self.shot.frames - sum(map(len, missing))
        if not missing:
            self.job.watch.stage(f"{self.label}read", total=self.shot.frames)
        elif stored:
            self.job.watch.note(f"{self.label}resumed: {stored} of {self.shot.frames} frames were already drawn")
        flat = Flat(self.label, strict=self.board.runtime.strict)
        try:
            for chunk in chunks:
                for frame in next(drawn) if chunk in missing else self._read(chunk, progress=not missing):
                    flat.look(frame)
                    yield frame
                    self.job.look()
        except (Interrupted, GeneratorExit, ResourceError):
            # A disk that is full, or a model that changed, must not hide why this stops.
            with suppress(Exception):
                self._keep_live()
            raise
        flat.tell(self.job.watch)
        self.job.check_files()
        if self.work:
            self.work.forget_live()

    def _missing(self, chunks: list[range]) -> list[range]:
        if self.work is None:
            return chunks
        with self.job.tally.timing("store"):
            return self.work.missing(chunks)

    def _read(self, chunk: range, *, progress: bool) -> Iterator[Frame]:
        """A chunk from the store; drawn again, if it turns out to be damaged."""
        assert self.work is not None
        with self.job.tally.timing("store"):
            frames = self.work.frames(chunk)
        self.job.tell_store()
        if frames is None:
            (again,) = self._drawn([chunk], resume=False)
            yield from again
            return
        for number, frame in zip(chunk, frames, strict=True):
            self.job.tally.reused += 1
            yield frame
            if progress:
                self.job.watch.done(number + 1)

    def _drawn(self, chunks: list[range], *, resume: bool) -> Iterator[Iterator[Frame]]:
        """Yields the frames of each chunk, computed; with ``resume``, going on from and leaving checkpoints."""
        if not chunks:
            return
        pipeline = self.job.pipeline()
        live = self.work.live() if self.work and resume else None
        with windows_on(self.board.runtime.parallel_windows) as run:
            with self.job.at_once():  # prompts are encoded, and what the shot begins from
                wave = pipeline.wave(self.board, self.shot, chunks=chunks, live=live, map=self._between(run))
            self.present = wave
            if resume:
                self.wave = wave
            self.job.watch.stage(f"{self.label}draw", total=wave.windows)
            self._counted = wave.done
            for turn in self._timed(wave):
                self.job.watch.turn(self.shot, turn, pipeline)
                self._tell(wave)
                if resume:
                    self._keep_live_now_and_then()
                self.job.look()
                if turn.finished is not None:
                    yield self._decoded(pipeline, turn.stretch, turn.finished)

    def _timed(self, wave: "Wave") -> Iterator[Any]:
        """Yields the wave's turns, counting the time that each takes."""
        turns = iter(wave)
        while True:
            with self.job.tally.timing("denoise"), explained("drawing"):
                turn = next(turns, None)
            if turn is None:
                return
            yield turn

    def _tell(self, wave: "Wave") -> None:
        done = wave.done
        self.job.tally.windows += done - self._counted
        self._counted = done
        self.job.watch.done(done)
        self.job.tell_fallbacks()

    def _between(self, run: Callable[..., Iterable]) -> Callable[..., Iterator]:
        """A ``map`` that looks between two windows whether to stop."""

        def looking(function: Callable, *arguments: Iterable) -> Iterator:
            for result in run(function, *arguments):
                yield result
                if self.present is not None:
                    self._tell(self.present)
                self.job.look()

        return looking

    def _decoded(self, pipeline: Any, chunk: range, latents: Latents) -> Iterator[Frame]:
        """Yields a chunk's frames as they are decoded; then they are stored."""
        from lcm_video.decoder import decode

        frames: list[Frame] = []
        decoding = decode(pipeline.vae, latents, batch=self.board.runtime.decode_batch)
        while True:
            with self.job.tally.timing("decode"), explained("decoding"):
                frame = next(decoding, None)
            if frame is None:
                break
            self.job.tell_fallbacks()
            frames.append(frame)
            self.job.tally.drawn += 1
            yield frame
        if self.work:
            self.job.check_files()
            with self.job.tally.timing("store"):
                self.work.keep_frames(chunk, frames)

    def _keep_live_now_and_then(self) -> None:
        if time.monotonic() - self._kept_at >= self.job.checkpoint_seconds:
            self._keep_live()

    def _keep_live(self) -> None:
        if self.work and self.wave:
            self.job.check_files()
            with self.job.tally.timing("store"):
                self.work.keep_live(self.wave.live())
            self._kept_at = time.monotonic()


@contextmanager
def windows_on(threads: int) -> Iterator[Callable[..., Iterable]]:
    """The built-in ``map``, or one that runs on so many threads."""
    if threads == 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map
