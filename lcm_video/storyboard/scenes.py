"""What a storyboard means for every shot."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from lcm_video import timeline
from lcm_video.errors import StoryboardError
from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard.shot import Shot
from lcm_video.timeline import Blend, Curve, Film, Heard, Keyframe, Prompts, Timeline, natural_length

if TYPE_CHECKING:
    from lcm_video.storyboard.board import Storyboard


class Scene(NamedTuple):
    """One shot with nothing left open: what `shots` makes of a storyboard."""

    name: str  # "" for the only shot of a storyboard without shots
    first: int  # its first frame's number in the film
    frames: int
    prompts: Prompts
    negative: Prompts  # empty: no negative prompt
    sampling: Sampling
    start: Start
    fps: Fraction
    loop: bool
    film: Film  # the tempo, named curves and sounds that its moments and curves refer to

    def values(self, curve: Curve) -> tuple[float, ...]:
        """A curve's value in each of its frames; ``"@name"`` is the storyboard's curve of that name."""
        return timeline.values(curve, fps=self.fps, frames=self.frames, loop=self.loop, film=self.film)

    def timeline(self, prompts: Prompts) -> Timeline:
        """Which two prompts each of its frames blends."""
        return timeline.plan(prompts, fps=self.fps, frames=self.frames, loop=self.loop, film=self.film)

    def seeds(self) -> tuple[Blend, ...]:
        """The two seeds that the noise of each of its frames lies between."""
        return timeline.seeds(self.sampling.seed, fps=self.fps, frames=self.frames, loop=self.loop, film=self.film)

    def seed_at(self, frame: int) -> int:
        """The seed of one of its frames; where noise travels, the one it comes from."""
        return self.sampling.seed if isinstance(self.sampling.seed, int) else self.seeds()[frame].left

    @property
    def seed(self) -> int:
        """The seed of its first frame."""
        return self.seed_at(0)


def shots(board: "Storyboard") -> tuple[Scene, ...]:
    """Every shot in film order, completed by the storyboard's own prompts, negative, length, sampling and start."""
    scenes: list[Scene] = []
    for name, shot in (board.shots or {"": Shot()}).items():
        prompts = shot.prompts or board.prompts
        negative = board.negative if shot.negative is None else shot.negative
        sampling = shot.sampling or board.sampling
        first = scenes[-1].first + scenes[-1].frames if scenes else 0
        scenes.append(
            Scene(
                name=name,
                first=first,
                frames=shot.frames or board.video.frames or _natural_length(board, name, prompts, first),
                prompts=prompts,
                negative=negative if isinstance(negative, dict) else {"0": Keyframe(negative)} if negative else {},
                sampling=sampling if shot.seed is None else replace(sampling, seed=shot.seed),
                start=shot.start or board.start,
                fps=board.video.fps,
                loop=board.video.loop and not board.shots,
                film=Film(first, board.video.tempo, board.curves, _hear),
            )
        )
    return tuple(scenes)


def own(board: "Storyboard", name: str, field: str) -> str:
    """The path of the field that shot ``name`` uses: its own if it has one, else the storyboard's."""
    return f"shots.{name}.{field}" if name and getattr(board.shots[name], field) not in (None, {}) else field


def _natural_length(board: "Storyboard", name: str, prompts: Prompts, first: int) -> int:
    try:
        return natural_length(prompts, fps=board.video.fps, tempo=board.video.tempo, first=first)
    except StoryboardError as error:
        field = f"{own(board, name, 'prompts')}.{error.field}"
        raise StoryboardError(error.message, remedy=error.remedy, field=field) from None


def _hear(heard: Heard, fps: Fraction, first: int, frames: int) -> Sequence[float]:
    """What a curve hears in a shot: nothing that reads sound is loaded before."""
    from lcm_video.media.loudness import levels

    return levels(heard, fps=fps, first=first, frames=frames).tolist()
