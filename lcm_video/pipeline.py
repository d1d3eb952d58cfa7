"""The whole path, top to bottom: storyboard, timeline, denoiser, sampler, frames. Read this file first.

film = write(decode(vae, last(sampler(windowed(guided(unet_denoiser(unet, travel(timeline)))), noise))))
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from lcm_video import models
from lcm_video.conditioning import travel, varying
from lcm_video.course import Course, course_of
from lcm_video.decoder import decode
from lcm_video.denoiser import by_step, guided, held, unet_denoiser
from lcm_video.media import read_frames
from lcm_video.models import Model, ModelFile, Runtime
from lcm_video.noise import frame_noise
from lcm_video.prompts.scripts import Script
from lcm_video.samplers import SAMPLERS, Betas, Step
from lcm_video.start import fitted, latents_of
from lcm_video.storyboard import Scene, Storyboard, shots
from lcm_video.timeline import Timeline
from lcm_video.types import Denoiser, Frame, Latents, TextEncoder, Unet, Vae
from lcm_video.windows import plan_windows, windowed

Map = Callable[..., Any]
"""What runs windows: the built-in ``map``, a thread pool's, or one that also counts them for a progress bar."""


@dataclass(frozen=True)
class Pipeline:
    """Loaded parts, ready to render. Swap one with ``dataclasses.replace(pipeline, vae=...)``."""

    text: TextEncoder
    unet: Unet
    vae: Vae
    betas: Betas = Betas()
    files: tuple[ModelFile, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, model: Model, runtime: Runtime = Runtime()) -> "Pipeline":
        """Reads the weights that ``model`` names. Raises CheckpointError for what is missing or does not fit."""
        parts = models.load(model, runtime)
        betas = Betas(parts.betas.start, parts.betas.end, parts.betas.schedule)
        return cls(parts.text, parts.unet, parts.vae, betas, parts.files, parts.notes)

    def frames(self, board: Storyboard, *, map: Map = map) -> Iterator[Frame]:
        """Renders the film, yielding frames as they are decoded, while later shots are still to be drawn."""
        for shot in shots(board):
            (last,) = deque(self.shot_steps(board, shot, map=map), maxlen=1)
            yield from decode(self.vae, last.latents, batch=board.runtime.decode_batch)

    def steps(self, board: Storyboard, *, map: Map = map) -> Iterator[Step]:
        """Denoises every shot in turn, yielding after each step; a shot's last latents are its film."""
        return chain.from_iterable(self.shot_steps(board, shot, map=map) for shot in shots(board))

    def shot_steps(self, board: Storyboard, shot: Scene, *, map: Map = map) -> Iterator[Step]:
        """Denoises one shot, yielding after each step; the last step's latents are its frames."""
        course = course_of(board, shot, self.betas)
        shape = (self.vae.channels, board.video.height // self.vae.factor, board.video.width // self.vae.factor)
        noise = frame_noise(shot.seeds(), shape, shot=shot.name)

        toward, away = course.scripts(acting=getattr(self.text, "loras", frozenset()))
        positive = self._towards(course, toward)
        # At guidance 1 the negative prompt is never asked for: it is not even encoded.
        negative = positive if set(course.guidance) == {1} else self._towards(course, away)
        denoise = guided(positive, negative, course.guidance)
        denoise = windowed(
            denoise,
            plan_windows(board.windows, frames=shot.frames, levels=course.levels, loop=course.loop),
            blend=board.windows.blend,
            map=map,
            batch=board.runtime.window_batch,
        )
        latents = noise(0, range(shot.frames))
        if shot.start.source:
            source = self._source(board, shot)
            denoise = held(denoise, source, course.begins, course.levels)
            signal = course.levels[0].alpha
            latents = signal**0.5 * source + (1 - signal) ** 0.5 * latents
        yield from SAMPLERS[shot.sampling.sampler].sample(denoise, latents, course.levels, noise)

    def _towards(self, course: Course, script: Script) -> Denoiser:
        """A denoiser that draws the prompts of ``script``, travelling between them."""
        encoded = self.text(script.texts)
        count = max(len(script.steps), course.stages)

        def at(step: int) -> Denoiser:
            timeline = Timeline(script.texts, script.steps[min(step, len(script.steps) - 1)])
            conditioning = travel(timeline, encoded, blend=course.board.travel.blend)
            return unet_denoiser(self.unet, varying(conditioning, course.numbers(step)))

        return by_step([at(step) for step in range(count)], course.levels)

    def _source(self, board: Storyboard, shot: Scene) -> Latents:
        """The latents of the image or video that the shot begins from."""
        video, start = board.video, shot.start
        path = Path(start.source)
        frames = fitted(read_frames(path), width=video.width, height=video.height, fit=start.fit, name=path.name)
        return latents_of(self.vae, frames, count=shot.frames, batch=board.runtime.decode_batch)
