"""Samplers: how latents are drawn, at which noise levels, and what a storyboard may say about it.

To add a sampler, write a generator like `generators.lcm` and list it in SAMPLERS with the schedules it offers.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.samplers import generators, schedules
from lcm_video.samplers.generators import Sample, Step, clean, noised
from lcm_video.samplers.levels import Alphas, Betas, Level
from lcm_video.samplers.schedules import Levels, Schedule
from lcm_video.timeline import Curve, Seeds, within
from lcm_video.types import STRICT

__all__ = [
    "SAMPLERS",
    "Alphas",
    "Betas",
    "Level",
    "Levels",
    "Sampler",
    "Sampling",
    "Step",
    "clean",
    "noised",
    "schedule",
]


class Sampler(NamedTuple):
    """A way to draw latents, and the schedules it may follow by name; ``diffusers`` is the usual one.

    looks_back: whether a step asks what the one before predicted, which must then be kept for every frame
    """

    sample: Sample
    schedules: Mapping[str, Schedule]
    looks_back: bool = True


SAMPLERS: dict[str, Sampler] = {
    "lcm": Sampler(generators.lcm, schedules.LCM, looks_back=False),
    "euler": Sampler(generators.ddim, schedules.EULER, looks_back=False),
    "euler_a": Sampler(generators.euler_a, schedules.EULER, looks_back=False),
    "ddim": Sampler(generators.ddim, schedules.DDIM, looks_back=False),
    "dpmpp_2m": Sampler(generators.dpmpp_2m, schedules.DPM),
}
"""Samplers by their name in a storyboard."""


@dataclass(frozen=True, config=STRICT)
class Sampling:
    """How latents are drawn from noise. LCM needs 4 to 8 steps and guidance 1 to 2.

    sampler: lcm, euler, euler_a, ddim or dpmpp_2m
    steps: denoising steps per frame, 1 to 1000
    guidance: how strongly prompts pull away from the negative prompt, 0 to 30; 1 leaves the negative out
    seed: chooses the noise, 0 to 2^63-1; or seeds at moments, each with noise of its own until the next
    timesteps: at which timesteps steps start: a schedule's name, or a list such as 999, 679, 339, 19; left out, as
        diffusers does for this sampler
    betas: the noise schedule the model was trained with; left out, as the motion module's card says
    """

    sampler: Annotated[str, Field(json_schema_extra={"enum": [*SAMPLERS]})] = "lcm"
    steps: Annotated[int, Field(ge=1, le=1000)] = 4
    guidance: Annotated[Curve, within(0, 30)] = 1.0
    seed: Seeds = 0
    timesteps: Annotated[str, Field(max_length=20_000)] = ""
    betas: Betas | None = None

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            message = f"unknown sampler {self.sampler!r}"
            raise StoryboardError(message, remedy=did_you_mean(self.sampler, SAMPLERS), field="sampler")
        schedule(self, (self.betas or Betas()).alphas())  # raises for what cannot be, here, where the line is known


def schedule(sampling: Sampling, alphas: Alphas, *, strength: float = 1.0) -> Levels:
    """The noise level at which each step starts, and the one that the last step lands on.

    ``alphas`` are the model's (`Betas.alphas`). ``strength`` below 1 starts from less noise, to keep something of a
    source: LCM's own schedules and ComfyUI's still run all steps there, within that range, so that the result gains
    from every step that was asked for; the others run the last ``int(steps · strength)`` of the full schedule. Both
    are what the tool does whose schedule it is. Raises StoryboardError if no step would be left.
    """
    named = SAMPLERS[sampling.sampler].schedules
    name = sampling.timesteps or "diffusers"
    if name in named:
        return named[name](sampling.steps, alphas, strength)
    if name[0].isalpha():
        message = f"unknown timesteps {name[:40]!r} for the sampler {sampling.sampler}"
        raise StoryboardError(message, remedy=did_you_mean(name, named), field="timesteps")
    return schedules.listed(name, sampling.steps, alphas, strength)
