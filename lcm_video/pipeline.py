"""The whole path, top to bottom: storyboard, timeline, denoiser, sampler, frames. Read this file first.

film = write(decode(vae, last(sampler(windowed(guided(unet_denoiser(unet, travel(timeline)))), noise))))
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from lcm_video import models
from lcm_video.conditioning import travel, travel_on_demand, varying
from lcm_video.course import Course, course_of
from lcm_video.decoder import decode
from lcm_video.denoiser import by_step, guided, held, unet_denoiser
from lcm_video.media import read_frames
from lcm_video.models import Model, ModelFile, Runtime
from lcm_video.models.needs import windows_at_once
from lcm_video.noise import frame_noise, shared
from lcm_video.prompts.scripts import Script
from lcm_video.samplers import Betas, Step
from lcm_video.start import fitted, latents_of
from lcm_video.storyboard import Scene, Storyboard, shots
from lcm_video.timeline import Timeline
from lcm_video.types import Conditioning, Denoiser, Frame, FrameNumbers, Latents, TextEncoder, Unet, Vae
from lcm_video.wave import Live, Take, Wave, again, breadth
from lcm_video.wave.take import Map
from lcm_video.windows import plan_windows

MANY = 128
"""Texts that are all kept encoded, each a quarter of a megabyte. A weight that is a curve makes one of every frame."""


@dataclass(frozen=True)
class Pipeline:
    """Loaded parts, ready to render. Swap one with ``dataclasses.replace(pipeline, vae=...)``."""

    text: TextEncoder
    unet: Unet
    vae: Vae
    betas: Betas = Betas()
    files: tuple[ModelFile, ...] = ()
    notes: tuple[str, ...] = ()
    window: int | None = None  # frames that the motion module draws best at once

    @classmethod
    def load(cls, model: Model, runtime: Runtime = Runtime()) -> "Pipeline":
        """Reads the weights that ``model`` names. Raises CheckpointError for what is missing or does not fit."""
        parts = models.load(model, runtime)
        betas = Betas(parts.betas.start, parts.betas.end, parts.betas.schedule)
        window = parts.card.window if parts.card else None
        return cls(parts.text, parts.unet, parts.vae, betas, parts.files, parts.notes, window)

    def frames(self, board: Storyboard, *, map: Map = map) -> Iterator[Frame]:
        """Renders the film, yielding frames as they are decoded, while later ones are still to be drawn.

        Memory does not grow with the film: see `wave`.
        """
        for shot in shots(board):
            for turn in self.wave(board, shot, map=map):
                if turn.finished is not None:
                    yield from decode(self.vae, turn.finished, batch=board.runtime.decode_batch)

    def wave(
        self,
        board: Storyboard,
        shot: Scene,
        *,
        chunks: Sequence[range] | None = None,
        live: Live | None = None,
        map: Map = map,
    ) -> Wave:
        """Draws one shot, or some chunks of it, with few latents alive at any moment: see `Wave`."""
        take = self.take(board, shot, map=map)
        return Wave(take, chunks, live=live, map=map, breadth=breadth(take, threads=board.runtime.parallel_windows))

    def steps(self, board: Storyboard, *, map: Map = map) -> Iterator[Step]:
        """Denoises every shot in turn, yielding after each step; a shot's last latents are its film."""
        return chain.from_iterable(self.shot_steps(board, shot, map=map) for shot in shots(board))

    def shot_steps(self, board: Storyboard, shot: Scene, *, map: Map = map) -> Iterator[Step]:
        """Denoises one shot, yielding after each step; the last step's latents are its frames."""
        return self.take(board, shot, map=map).steps(map=map)

    def take(self, board: Storyboard, shot: Scene, *, map: Map = map) -> Take:
        """A shot with everything a sampler needs to draw it; ``map`` runs what is drawn before it begins."""
        course = course_of(board, shot, self.betas)
        levels, own = course.levels, board.windows
        windows = plan_windows(own, frames=shot.frames, levels=levels, loop=course.loop, window=self.window)
        shape = (self.vae.channels, board.video.height // self.vae.factor, board.video.width // self.vae.factor)

        length, stride = windows.options.length, windows.options.length - windows.options.overlap
        around = shot.frames if course.loop else 0
        alike = shared(own.noise, length=length, stride=stride, seed=shot.seed, shot=shot.name, loop=around)
        noise = frame_noise(shot.seeds(), shape, shot=shot.name, alike=alike)

        toward, away = course.scripts(acting=getattr(self.text, "loras", frozenset()))
        positive = self._towards(course, toward)
        # At guidance 1 the negative prompt is never asked for: it is not even encoded.
        negative = positive if set(course.guidance) == {1} else self._towards(course, away)
        take = Take(
            frames=shot.frames,
            shape=shape,
            levels=levels,
            sampler=shot.sampling.sampler,
            denoise=guided(positive, negative, course.guidance),
            windows=windows,
            begin=noise,
            noise=noise,
            blend=own.blend,
            batch=board.runtime.window_batch or windows_at_once(self.unet, length, *shape[1:]),
        )
        take = self._begun(take, course) if shot.start.source else take
        return again(take, board.freeinit, map=map, breadth=breadth(take, threads=board.runtime.parallel_windows))

    def _begun(self, take: Take, course: Course) -> Take:
        """A take that begins from the image or video that the shot names."""
        source = self._source(course.board, course.shot)
        signal = course.levels[0].alpha

        def begin(number: int, frames: FrameNumbers) -> Latents:
            return signal**0.5 * source[[*frames]] + (1 - signal) ** 0.5 * take.noise(number, frames)

        around = partial(held, source=source, begins=course.begins, levels=course.levels)
        return replace(take, begin=begin, around=around)

    def _towards(self, course: Course, script: Script) -> Denoiser:
        """A denoiser that draws the prompts of ``script``, travelling between them."""
        travelling = self._travelling(script.texts)
        count = max(len(script.steps), course.stages)

        def at(step: int) -> Denoiser:
            timeline = Timeline(script.texts, script.steps[min(step, len(script.steps) - 1)])
            conditioning = travelling(timeline, blend=course.board.travel.blend)
            return unet_denoiser(self.unet, varying(conditioning, course.numbers(step)))

        return by_step([at(step) for step in range(count)], course.levels)

    def _travelling(self, texts: Sequence[str]) -> Callable[..., Conditioning]:
        """What turns a timeline of ``texts`` into encodings: encoded all at once, or where they are many on demand."""
        on_demand = getattr(self.text, "on_demand", None)
        if len(texts) > MANY and on_demand:
            return partial(travel_on_demand, encode=on_demand(texts))
        return partial(travel, encoded=self.text(texts))

    def _source(self, board: Storyboard, shot: Scene) -> Latents:
        """The latents of the image or video that the shot begins from."""
        video, start = board.video, shot.start
        path = Path(start.source)
        frames = fitted(read_frames(path), width=video.width, height=video.height, fit=start.fit, name=path.name)
        return latents_of(self.vae, frames, count=shot.frames, batch=board.runtime.decode_batch)
