"""What is settled about a shot before a weight is loaded: what `plan` shows is what the pipeline does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from lcm_video.samplers import Betas, Level, schedule
from lcm_video.samplers.levels import TRAINED
from lcm_video.storyboard import Scene, Storyboard
from lcm_video.timeline import Curve, values


@dataclass(frozen=True)
class Course:
    """One shot's noise levels, and every number of each of its frames.

    levels: one noise level per step, and the one that the last step lands on
    begins: the step at which each frame begins to be drawn (0, unless ``start.strength`` varies)
    varying: numbers by frame that the UNet needs (see `types.Encoding`)
    """

    board: Storyboard
    shot: Scene
    levels: tuple[Level, ...]
    begins: tuple[int, ...]
    guidance: tuple[float, ...]
    varying: Mapping[str, Sequence[float]]
    loop: bool


def course_of(board: Storyboard, shot: Scene, betas: Betas) -> Course:
    """The course of one shot. ``betas`` are the motion module's; the storyboard's ``sampling.betas`` go before them."""
    loop = board.video.loop and not board.shots
    by_frame = partial(values, fps=board.video.fps, frames=shot.frames, loop=loop)
    alphas = (shot.sampling.betas or betas).alphas()
    strengths = by_frame(shot.start.strength) if shot.start.source else (1.0,) * shot.frames
    strongest = max(strengths)
    levels = schedule(shot.sampling, alphas, strength=strongest)
    numbers: dict[str, Curve] = {f"lora:{name}": lora.scale for name, lora in board.model.loras.items()}
    changing = {name: by_frame(curve) for name, curve in numbers.items() if not isinstance(curve, float)}
    if board.model.motion_scale != 1:
        changing["motion_scale"] = by_frame(board.model.motion_scale)
    return Course(
        board=board,
        shot=shot,
        levels=levels,
        begins=tuple(_first_step(levels, strength, strongest) for strength in strengths),
        guidance=by_frame(shot.sampling.guidance),
        varying=changing,
        loop=loop,
    )


def _first_step(levels: Sequence[Level], strength: float, strongest: float) -> int:
    """The step at which a frame begins: the first within its share of the noise. The strongest begin at once."""
    if strength == strongest:
        return 0
    within = (step for step, level in enumerate(levels[:-1]) if level.timestep < TRAINED * strength)
    return next(within, len(levels) - 1)
