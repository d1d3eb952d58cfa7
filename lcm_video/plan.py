"""What a render would do, worked out without loading a weight: `lcm-video plan`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lcm_video.course import Course, course_of
from lcm_video.errors import StoryboardError
from lcm_video.models import Card, card_for
from lcm_video.models.approximate import approximations
from lcm_video.models.slots import faults
from lcm_video.samplers import Betas
from lcm_video.storyboard import Scene, Storyboard, check, shots, warnings
from lcm_video.timeline import Timeline
from lcm_video.types import FrameNumbers
from lcm_video.windows import Settled, plan_windows


@dataclass(frozen=True)
class ShotPlan:
    """One shot: its prompts on its frames, its noise levels, and the windows of every step."""

    course: Course
    prompts: Timeline
    negative: Timeline
    windows: tuple[tuple[FrameNumbers, ...], ...]
    settled: Settled

    @property
    def shot(self) -> Scene:
        """The shot that is planned."""
        return self.course.shot

    @cached_property
    def curves(self) -> dict[str, Sequence[float]]:
        """The numbers that change within the shot, frame by frame; the storyboard's own curves as ``@name``."""
        every = {"guidance": self.course.guidance, **self.course.varying}
        if self.shot.start.source:
            every["strength"] = self.shot.values(self.shot.start.strength)
        every |= {f"@{name}": self.shot.values(f"@{name}") for name in self.shot.film.curves}
        return {name: numbers for name, numbers in every.items() if len(set(numbers)) > 1}

    def weights(self, frame: int) -> dict[str, float]:
        """How much of each prompt a frame shows, in the order of travel; they add up to 1."""
        left, right, mix = self.prompts.frames[frame]
        texts = self.prompts.prompts
        return {texts[left]: 1 - mix, texts[right]: mix} if mix else {texts[left]: 1.0}

    def calls(self) -> int:
        """How often the UNet runs: once for a window whose frames all have guidance 1, twice for others."""
        guided = [guidance != 1 for guidance in self.course.guidance]
        once = sum(1 + any(guided[frame] for frame in window) for step in self.windows for window in step)
        return once * (1 + self.course.board.freeinit.rounds)

    def coverage(self, step: int) -> tuple[int, int]:
        """In how many windows a frame lies, at least and at most."""
        times = Counter(frame for window in self.windows[step] for frame in window)
        counts = [times[frame] for frame in range(self.shot.frames)]
        return min(counts), max(counts)


@dataclass(frozen=True)
class Plan:
    """The whole film, shot by shot, and what its author should know before rendering it."""

    board: Storyboard
    card: Card | None
    shots: tuple[ShotPlan, ...]
    warnings: tuple[str, ...]

    @property
    def frames(self) -> int:
        """The film's length in frames."""
        return sum(planned.shot.frames for planned in self.shots)

    @property
    def seconds(self) -> float:
        """The film's length in seconds."""
        return float(self.frames / self.board.video.fps)


def plan(board: Storyboard) -> Plan:
    """The plan of a film. Raises StoryboardError where the storyboard asks for what cannot be."""
    check(board, sounds=True)
    card = card_for(board.model.motion, folders=board.runtime.folders)
    planned = tuple(_planned(board, shot, card) for shot in shots(board))
    longest = max(len(window) for shot in planned for step in shot.windows for window in step)
    if card and longest > card.max_frames:
        message = f"windows.length: the motion module {board.model.motion} sees {card.max_frames} frames, not {longest}"
        raise StoryboardError(message, remedy=f"set windows.length to {card.window}", field="windows.length")
    return Plan(board, card, planned, (*warnings(board), *_of_models(board, card, planned)))


def _planned(board: Storyboard, shot: Scene, card: Card | None) -> ShotPlan:
    betas = Betas(card.betas.start, card.betas.end, card.betas.schedule) if card else Betas()
    course = course_of(board, shot, betas)
    window = card.window if card else None
    windows = plan_windows(board.windows, frames=shot.frames, levels=course.levels, loop=course.loop, window=window)
    return ShotPlan(
        course=course,
        prompts=course.prompts.timeline,
        negative=course.negative.timeline,
        windows=tuple(tuple(windows(level.timestep)) for level in course.levels[:-1]),
        settled=windows.options,
    )


def _of_models(board: Storyboard, card: Card | None, planned: Sequence[ShotPlan]) -> Iterator[str]:
    """Yields what may disappoint about the models asked for."""
    if not board.model.motion and any(shot.shot.frames > 1 for shot in planned):
        yield "no motion module: every frame is drawn alone, and the film will flicker (model.motion)"
    if card and card.lcm and any(shot.shot.sampling.sampler == "lcm" for shot in planned):
        yield f"{card.name} with LCM: {card.lcm}"
    if not board.model.checkpoint:
        yield "no model: add `extends: embedded`, or name a checkpoint (model.checkpoint)"
    yield from approximations(board.model, board.runtime.folders)
    yield from _early(board, card, planned)
    yield from (error.message for error in faults(board.model, board.runtime.folders))


def _early(board: Storyboard, card: Card | None, planned: Sequence[ShotPlan]) -> Iterator[str]:
    """Yields what `Windows.early` saves and what it costs, where it does either."""
    windows = board.windows
    if not windows.early:
        return
    usual = replace(board, windows=replace(windows, early=0))
    calls = sum(shot.calls() for shot in planned)
    whole = sum(_planned(usual, shot, card).calls() for shot in shots(usual))
    if calls < whole:
        yield (
            f"windows.early: {calls} UNet calls instead of {whole}; frames resemble those that all steps would draw in "
            "overlapping windows, they are not the same (34 dB at 2 of 4 steps)"
        )
        if any(windows.early >= len(shot.windows) for shot in planned):
            yield "windows.early: no step is left that blends the windows, so their borders will show"


def as_data(plan: Plan) -> dict[str, Any]:
    """The plan for machines: plain maps, lists, numbers and texts."""
    return {
        "frames": plan.frames,
        "fps": str(plan.board.video.fps),
        "seconds": plan.seconds,
        "width": plan.board.video.width,
        "height": plan.board.video.height,
        "unet_calls": sum(planned.calls() for planned in plan.shots),
        "shots": [_shot_data(planned) for planned in plan.shots],
        "warnings": [*plan.warnings],
    }


def _shot_data(planned: ShotPlan) -> dict[str, Any]:
    shot, course = planned.shot, planned.course
    return {
        "name": shot.name,
        "first_frame": shot.first,
        "frames": shot.frames,
        "seed": shot.seed,
        "seeds": [list(blend) for blend in shot.seeds()],
        "timesteps": [level.timestep for level in course.levels[:-1]],
        "window_length": planned.settled.length,
        "window_overlap": planned.settled.overlap,
        "windows": [[list(window) for window in step] for step in planned.windows],
        "unet_calls": planned.calls(),
        "weights": [planned.weights(frame) for frame in range(shot.frames)],
        "guidance": list(course.guidance),
        "drawn": list(course.notes),
        "curves": {name: list(values) for name, values in {**course.varying, **planned.curves}.items()},
    }
