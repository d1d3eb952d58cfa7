"""One of several shots, as it is written: what it leaves out is as in the storyboard."""

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass

from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard.video import FrameCount
from lcm_video.timeline import Prompts, Seeds
from lcm_video.types import STRICT

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w][\w .-]*$")]

Negative: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Prompts, Tag("<keyframes>")],
    Discriminator(lambda value: "<keyframes>" if isinstance(value, Mapping) else "<text>"),
]
"""What the film should not show: a text, or keyframes like prompts."""

Script: TypeAlias = Annotated[
    Prompts,
    BeforeValidator(
        lambda value: {"0": value} if isinstance(value, str) else value, json_schema_input_type=str | Prompts
    ),
]
"""Prompts at moments; a text alone holds for the whole shot."""


@dataclass(frozen=True, config=STRICT)
class Shot:
    """One of several shots, cut hard; what it leaves out is as in the storyboard.

    prompts: prompts at moments of this shot
    negative: what this shot should not show
    frames: length in frames
    seed: number its noise is drawn from, or numbers at moments
    sampling: steps, guidance and so on; in YAML only what differs need be written
    start: what it begins from; in YAML only what differs need be written
    """

    prompts: Script = Field(default_factory=dict)
    negative: Negative | None = None
    frames: FrameCount | None = None
    seed: Seeds | None = None
    sampling: Sampling | None = None
    start: Start | None = None
