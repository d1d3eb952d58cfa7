"""What the web UI writes into its pictures and films: prompt, negative prompt, and a line of settings.

a fox in the snow, <lora:lcm:0.8>
Negative prompt: blurry
Steps: 8, Sampler: LCM, CFG scale: 1.5, Seed: 42, Size: 512x512, Model: dreamshaper_8
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NEGATIVE = "Negative prompt:"
DIVIDER = "---"

PAIR = re.compile(r'[ \t]*([A-Za-z][^:,"\n]{0,80}):[ \t]*("(?:\\.|[^"\\])*"|[^,]*)(?:,|\Z)', re.DOTALL)


@dataclass(frozen=True)
class Infotext:
    """What a picture was made of; ``settings`` by the UI's names, ``animatediff`` by the extension's."""

    prompt: str
    negative: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    animatediff: Mapping[str, Any] | None = None


def infotext(text: str) -> Infotext:
    """The parts of the text. One without a negative prompt or settings is all prompt."""
    lines = text.strip().split("\n")
    settings: dict[str, str] = {}
    if is_settings(lines[-1]):
        settings = pairs(lines.pop())
    marks = (at for at, line in enumerate(lines) if line.startswith(NEGATIVE) or line.strip() == DIVIDER)
    divider = next(marks, len(lines))
    negative = [line.removeprefix(NEGATIVE).strip() for line in lines[divider:] if line.strip() != DIVIDER]
    block = settings.pop("AnimateDiff", None)
    return Infotext(
        prompt="\n".join(lines[:divider]).strip(),
        negative="\n".join(negative).strip(),
        settings=settings,
        animatediff=None if block is None else dict(_split(block)),
    )


def is_settings(line: str) -> bool:
    """Whether a line is the settings: it has steps and a sampler, or a size and a seed."""
    return "Steps: " in line and ("Sampler: " in line or "Seed: " in line) and len(pairs(line)) >= 3


def pairs(line: str) -> dict[str, str]:
    """The settings of a line; texts in quotation marks may hold commas.

    >>> pairs('Steps: 4, AnimateDiff: "model: mm.ckpt, fps: 8", Size: 512x512')["AnimateDiff"]
    'model: mm.ckpt, fps: 8'
    """
    return {found[1].strip(): _unquoted(found[2].strip()) for found in PAIR.finditer(line)}


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        inner = json.loads(text, strict=False)
    except ValueError:
        return text.strip('"')
    return inner if isinstance(inner, str) else text.strip('"')


def _split(block: str) -> list[tuple[str, str]]:
    """The extension's own settings, divided by commas alone."""
    parts = (part.partition(":") for part in block.split(","))
    return [(name.strip(), value.strip()) for name, colon, value in parts if colon]
