"""What is settled about a shot before a weight is loaded: what `plan` shows is what the pipeline does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from lcm_video.prompts.scripts import Prompted, Scale, Script, script, travelled
from lcm_video.prompts.wildcards import draw
from lcm_video.samplers import Betas, Level, schedule
from lcm_video.samplers.levels import TRAINED
from lcm_video.storyboard import Scene, Storyboard
from lcm_video.storyboard.called import called_name
from lcm_video.timeline import Point, Prompts, values


@dataclass(frozen=True)
class Course:
    """One shot's noise levels, and every number of each of its frames.

    levels: one noise level per step, and the one that the last step lands on
    begins: the step at which each frame begins to be drawn (0, unless ``start.strength`` varies)
    varying: numbers by frame that the UNet needs (see `types.Encoding`)
    stepwise: such numbers that also change over steps: by step, by frame
    prompts, negative: what is drawn and what is not, with their wildcards drawn
    notes: what was drawn
    """

    board: Storyboard
    shot: Scene
    levels: tuple[Level, ...]
    begins: tuple[int, ...]
    guidance: tuple[float, ...]
    varying: Mapping[str, Sequence[float]]
    stepwise: Mapping[str, Sequence[Sequence[float]]]
    loop: bool
    prompts: Prompted
    negative: Prompted
    notes: tuple[str, ...]

    @property
    def stages(self) -> int:
        """As many steps as must be told apart for the UNet's numbers."""
        return len(self.levels) - 1 if self.stepwise else 1

    def numbers(self, step: int) -> dict[str, Sequence[float]]:
        """All numbers by frame that the UNet needs at a step."""
        return {**self.varying, **{name: values[step] for name, values in self.stepwise.items()}}

    def scripts(self, acting: frozenset[str] = frozenset()) -> tuple[Script, Script]:
        """The texts that are encoded, of prompts and of negative prompts; ``acting`` LoRAs change the text encoder."""
        scales = {name: scale for name, scale in self._scales.items() if name in acting}
        away = {name: Scale(values, False) for name, values in travelled(self.prompts, scales, "text").items()}
        return script(self.prompts, scales), script(self.negative, away)

    @property
    def _scales(self) -> dict[str, Scale]:
        return lora_scales(self.board, self.shot, len(self.levels) - 1)


def course_of(board: Storyboard, shot: Scene, betas: Betas) -> Course:
    """The course of one shot. ``betas`` are the motion module's; the storyboard's ``sampling.betas`` go before them."""
    alphas = (shot.sampling.betas or betas).alphas()
    strengths = shot.values(shot.start.strength) if shot.start.source else (1.0,) * shot.frames
    strongest = max(strengths)
    levels = schedule(shot.sampling, alphas, strength=strongest)
    steps = len(levels) - 1
    prompts, drawn = prompted(board, shot, shot.prompts, steps)
    negative, drawn_negative = prompted(board, shot, shot.negative, steps)
    strong = travelled(prompts, lora_scales(board, shot, steps), "unet")
    steady = {name: rows[0] for name, rows in strong.items() if all(row == rows[0] for row in rows)}
    changing = {f"lora:{name}": row for name, row in steady.items()}
    if board.model.motion_scale != 1:
        changing["motion_scale"] = shot.values(board.model.motion_scale)
    changing |= {name: shot.values(curve) for name, curve in board.model.size.given()}
    return Course(
        board=board,
        shot=shot,
        levels=levels,
        begins=tuple(_first_step(levels, strength, strongest) for strength in strengths),
        guidance=shot.values(shot.sampling.guidance),
        varying=changing,
        stepwise={f"lora:{name}": rows for name, rows in strong.items() if name not in steady},
        loop=shot.loop,
        prompts=prompts,
        negative=negative,
        notes=(*drawn, *drawn_negative),
    )


def lora_scales(board: Storyboard, shot: Scene, steps: int) -> dict[str, Scale]:
    """The strengths of LoRAs that vary, by step and by frame."""
    found = {}
    for name, lora in board.model.loras.items():
        if lora.varies:
            by_frame = shot.values(lora.scale)
            points = {at: Point(value) for at, value in lora.steps.items()}
            shares = values(points, fps=1, frames=steps) if points else (1.0,) * steps
            rows = {share: tuple(share * value for value in by_frame) for share in shares}
            found[name] = Scale([rows[share] for share in shares], lora.called)
    return found


def prompted(board: Storyboard, shot: Scene, prompts: Prompts, steps: int) -> tuple[Prompted, tuple[str, ...]]:
    """A shot's prompts, ready to be read, and a note on each word that was drawn."""
    drawn = {key.text: draw(key.text, board.wildcards, seed=(shot.seed, shot.name)) for key in prompts.values()}
    plain = {at: replace(key, text=drawn[key.text].text) for at, key in prompts.items()}
    curves = cache(lambda name: shot.values(f"@{name}"))
    name = partial(called_name, board.model)
    brackets = board.model.emphasis == "a1111"
    notes = tuple(note for each in drawn.values() for note in each.notes)
    return Prompted(shot.timeline(plain), curves, name, steps, editing=brackets), notes


def _first_step(levels: Sequence[Level], strength: float, strongest: float) -> int:
    """The step at which a frame begins: the first within its share of the noise. The strongest begin at once."""
    if strength == strongest:
        return 0
    within = (step for step, level in enumerate(levels[:-1]) if level.timestep < TRAINED * strength)
    return next(within, len(levels) - 1)
