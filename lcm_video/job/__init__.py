"""A film drawn so that nothing that was computed is ever computed again.

    job = Job(plan(board), store=Store())
    write(job.frames(), board.output, fps=board.video.fps)

Shot by shot and chunk by chunk, frames that are in the store are read, the others are drawn and stored. So a render
that was stopped, in whatever way, goes on where it was; a changed shot is drawn alone; and another output format needs
no model at all, which is why the model is loaded when the first frame must be drawn, not before.

drawing  one shot                      watch  who is told, and what is counted    loading  models kept loaded
faults   what may go wrong             files  what the film says it was made from
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import KW_ONLY, dataclass, field
from functools import cache, cached_property, partial
from threading import Event
from typing import TYPE_CHECKING, Any

from lcm_video.chunks import chunks_of
from lcm_video.errors import Interrupted
from lcm_video.job.drawing import Drawing
from lcm_video.job.loading import Pipelines
from lcm_video.job.watch import Silent, Tally, Watch, Watches
from lcm_video.plan import Plan, ShotPlan
from lcm_video.storyboard import Scene
from lcm_video.types import Frame
from lcm_video.work import ShotWork, Sources, Store, facts_of, shot_key, sources_of

if TYPE_CHECKING:
    from lcm_video.pipeline import Pipeline

__all__ = ["Job", "Pipelines", "Tally", "Watch", "Watches"]


@dataclass
class Job:
    """One film to be drawn.

    planned: the film (`plan.plan`)
    load: gives the loaded model, when it is needed; by default the one that the storyboard names
    store: where frames are kept, and found; None keeps nothing
    watch: is told how it goes
    stop: once set, `frames` raises Interrupted after the present window, or between two frames
    fresh: forgets what the store holds of this film, and draws everything anew
    pin: keeps the work from being cleared away
    called: what the work is called where it is listed: the storyboard's name, say
    checkpoint_seconds: what a chunk needs to go on is kept after a turn, at most so often
    """

    planned: Plan
    _: KW_ONLY
    load: "Callable[[], Pipeline] | None" = None
    store: Store | None = None
    watch: Watch = field(default_factory=Silent)
    stop: Event = field(default_factory=Event)
    fresh: bool = False
    pin: bool = False
    called: Mapping[str, Any] = field(default_factory=dict)
    checkpoint_seconds: float = 2.0

    def __post_init__(self) -> None:
        self.tally = Tally()
        self._pipeline: Pipeline | None = None

    def frames(self) -> Iterator[Frame]:
        """Yields the film's frames in order, each once it is there.

        Raises Interrupted if it is to stop, CheckpointError if a model file changes meanwhile, ResourceError if memory
        or disk do not suffice, NumbersError for pictures that are none. Whatever it raises, or if it is closed: another
        job of the same plan goes on from there.
        """
        number = 0
        if self.fresh:
            self._forget()
        for planned, key in zip(self.planned.shots, self.keys, strict=True):
            self.look()
            with self._work(planned, key) as work:
                for frame in Drawing(self, planned, work).frames():
                    yield frame
                    self.watch.frame(number, frame)
                    number += 1
        self.check_files()

    @cached_property
    def sources(self) -> list[Sources]:
        """The files of each shot, as they are before anything is loaded: so what is loaded later is what was hashed."""
        of = cache(lambda source: sources_of(self.planned.board, self._first_from(source)))
        return [of(planned.shot.start.source) for planned in self.planned.shots]

    @cached_property
    def keys(self) -> list[str]:
        """What each shot is stored under."""
        facts = cache(lambda source: facts_of(self.planned.board, self._first_from(source)))
        return [
            shot_key(planned.course, files=sources.hashes, facts=facts(planned.shot.start.source))
            for planned, sources in zip(self.planned.shots, self.sources, strict=True)
        ]

    def _first_from(self, source: str) -> Scene:
        """The first shot that begins from ``source``: all that do depend on the same files."""
        return next(planned.shot for planned in self.planned.shots if planned.shot.start.source == source)

    def left(self) -> int:
        """How many frames are still to be drawn."""
        if self.store is None or self.fresh:
            return self.planned.frames
        missing = 0
        for planned, key in zip(self.planned.shots, self.keys, strict=True):
            with self._work(planned, key) as work:
                missing += sum(map(len, work.missing(chunks_of(planned.shot.frames)))) if work else 0
        return missing

    def pipeline(self) -> "Pipeline":
        """The model, loaded when it is first needed."""
        if self._pipeline is None:
            load = self.load or partial(Pipelines(), self.planned.board, self.sources)
            self.watch.stage("load model")
            with self.tally.timing("load model"), self.at_once():
                self._pipeline = load()
            self.check_files()
            for note in self._pipeline.notes:
                self.watch.note(note)
            self.look()
        return self._pipeline

    def look(self) -> None:
        """Raises Interrupted if the job is to stop."""
        if self.stop.is_set():
            raise Interrupted("interrupted", exit_code=getattr(self.stop, "exit_code", 130))

    def at_once(self) -> AbstractContextManager[None]:
        """Within, a stop that can does not wait: there is nothing that could be kept."""
        gently = getattr(self.stop, "gently", None)
        return gently(False) if gently else nullcontext()

    def check_files(self) -> None:
        """Raises CheckpointError if a file that the film depends on has changed."""
        for sources in self.sources:
            sources.check()

    def tell_fallbacks(self) -> None:
        """Passes on what the model could not do as it was asked to: where memory ran out, say."""
        for part in (self.pipeline().unet, self.pipeline().vae):
            notes = getattr(part, "notes", None)  # a part of one's own need not have any
            for sentence in notes.all if notes else ():
                if sentence not in self.tally.fallbacks:
                    self.tally.fallbacks.append(sentence)
                    self.watch.note(sentence)

    def tell_store(self) -> None:
        """Passes on what the store found to be damaged."""
        if self.store:
            while self.store.notes:
                self.watch.note(self.store.notes.pop(0))

    def _forget(self) -> None:
        for planned, key in zip(self.planned.shots, self.keys, strict=True):
            with self._work(planned, key) as work:
                if work:
                    work.forget()

    @contextmanager
    def _work(self, planned: ShotPlan, key: str) -> Iterator[ShotWork | None]:
        """Where a shot's frames are kept; nobody clears it away meanwhile."""
        if self.store is None:
            yield None
            return
        shot, video = planned.shot, self.planned.board.video
        about = {"shot": shot.name, "frames": shot.frames, "width": video.width, "height": video.height}
        with self.store.shot(key, {**self.called, **about}) as work:
            if self.pin:
                work.pin()
            self.tell_store()
            yield work
