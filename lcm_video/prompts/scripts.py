"""What a shot's prompts come to in each of its frames at each of its steps: plain texts, each once. No torch.

keyframes → two texts and a mix per frame (timeline) → words drawn (wildcards) → weights that are curves (``@name``)
→ the text of a step (editing) → LoRAs read out (directives) → what the text encoder is given
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Literal, NamedTuple

from lcm_video.prompts import directives, editing
from lcm_video.prompts.directives import Amount
from lcm_video.timeline import Blend, Timeline

WEIGHT = re.compile(r":\s*@(?P<curve>[A-Za-z_][A-Za-z0-9_]*)\s*(?=[:)>])")
"""A weight or strength that is a named curve."""

Curves = Callable[[str], Sequence[float]]
"""A named curve's value in every frame."""


class Scale(NamedTuple):
    """How strongly a LoRA acts whose strength varies: ``values`` by step and by frame.

    called: whether it only acts where a prompt calls it, as strongly as it says, times the value.
    """

    values: Sequence[Sequence[float]]
    called: bool


Scales = Mapping[str, Scale]
NOT_AT_ALL = Amount(0.0, 0.0)


class Script(NamedTuple):
    """A shot's ``texts``, and by step which two of them each frame blends; one step stands for all if all are alike."""

    texts: tuple[str, ...]
    steps: tuple[tuple[Blend, ...], ...]


@dataclass(frozen=True)
class Prompted:
    """A shot's prompts, and what they refer to beyond their text.

    timeline: prompts with their wildcards drawn, and the two of them that each frame blends
    curves: values of named curves by frame
    name: a LoRA's name in the model, from what a prompt calls it
    steps: how many steps the shot is sampled in
    editing: whether square brackets mean prompt editing
    """

    timeline: Timeline
    curves: Curves
    name: Callable[[str], str]
    steps: int
    editing: bool = True

    @cached_property
    def edited(self) -> tuple[bool, ...]:
        """Which prompts change over steps."""
        return tuple(self.editing and editing.edited(prompt) for prompt in self.timeline.prompts)

    @cached_property
    def weighted(self) -> tuple[bool, ...]:
        """Which prompts have weights that are curves."""
        return tuple(WEIGHT.search(prompt) is not None for prompt in self.timeline.prompts)

    @cached_property
    def stages(self) -> int:
        """As many steps as must be told apart."""
        return self.steps if any(self.edited) else 1

    def said(self, prompt: int, frame: int, step: int) -> str:
        """A prompt in a frame at a step, its LoRAs still in it."""
        text = self.timeline.prompts[prompt]
        if self.weighted[prompt]:
            text = weighed(text, {name: self.curves(name)[frame] for name in curve_names(text)})
        return editing.by_step(text, self.steps)[step] if self.edited[prompt] else text

    def amounts(self, prompt: int, frame: int, step: int) -> dict[str, Amount]:
        """How strongly a prompt calls LoRAs, by their names in the model."""
        found: dict[str, Amount] = {}
        for called, amount in directives.strengths(self.said(prompt, frame, step))[1].items():
            before = found.get(self.name(called), NOT_AT_ALL)
            found[self.name(called)] = Amount(before.text + amount.text, before.unet + amount.unet)
        return found


def script(prompted: Prompted, scales: Scales) -> Script:
    """The texts that the text encoder is given.

    A directive at the end of each says how strongly each LoRA of ``scales`` acts on the encoder then.
    """
    texts: dict[str, int] = {}
    stages = prompted.stages if all(_steady(scale) for scale in scales.values()) else prompted.steps
    known: dict[tuple[int, int, int], int] = {}
    blends: dict[Blend, Blend] = {}  # most frames and steps are alike: each is held once

    def placed(prompt: int, frame: int, step: int) -> int:
        key = prompt, frame if scales or prompted.weighted[prompt] else 0, step
        if key not in known:
            text = _with_loras(prompted, scales, *key)
            known[key] = texts.setdefault(text, len(texts))
        return known[key]

    def blend(step: int, frame: int) -> Blend:
        left, right, mix = prompted.timeline.frames[frame]
        first, last = placed(left, frame, step), placed(right, frame, step)
        here = Blend(first, last, mix if first != last else 0.0)
        return blends.setdefault(here, here)

    frames = range(len(prompted.timeline.frames))
    steps = tuple(tuple(blend(step, frame) for frame in frames) for step in range(stages))
    return Script(tuple(texts), steps)


def _steady(scale: Scale) -> bool:
    return all(values == scale.values[0] for values in scale.values)


def _with_loras(prompted: Prompted, scales: Scales, prompt: int, frame: int, step: int) -> str:
    said = prompted.said(prompt, frame, step)
    if not scales and "<" not in said:
        return said
    amounts = prompted.amounts(prompt, frame, step)
    acting = {
        name: (amounts.get(name, NOT_AT_ALL).text if scale.called else 1.0) * scale.values[step][frame]
        for name, scale in scales.items()
    }
    return directives.removed(said) + directives.written(acting)


def travelled(prompted: Prompted, scales: Scales, side: Literal["text", "unet"]) -> dict[str, list[tuple[float, ...]]]:
    """How strongly each LoRA acts, by step and by frame: what is called travels as prompts do."""
    known: dict[tuple[int, int, int], dict[str, Amount]] = {}

    def amount(name: str, prompt: int, frame: int, step: int) -> float:
        key = prompt, frame if prompted.weighted[prompt] else 0, step if prompted.edited[prompt] else 0
        if key not in known:
            known[key] = prompted.amounts(*key)
        return getattr(known[key].get(name, NOT_AT_ALL), side)

    def strength(name: str, frame: int, step: int) -> float:
        left, right, mix = prompted.timeline.frames[frame]
        first = amount(name, left, frame, step)
        return first + (amount(name, right, frame, step) - first) * mix if mix else first

    return {
        name: [
            tuple(value * strength(name, frame, step) for frame, value in enumerate(values))
            if called
            else tuple(values)
            for step, values in enumerate(scale)
        ]
        for name, (scale, called) in scales.items()
    }


def curve_names(prompt: str) -> list[str]:
    """The names of curves that weights in a prompt are."""
    return list(dict.fromkeys(match["curve"] for match in WEIGHT.finditer(prompt)))


def weighed(prompt: str, values: Mapping[str, float]) -> str:
    """The prompt with curves' values in place of their names, to the last digit.

    >>> weighed("a (smile:@joy)", {"joy": 0.25})
    'a (smile:0.25)'
    """
    return WEIGHT.sub(lambda match: f":{Decimal(repr(float(values[match['curve']]))):f}", prompt)
