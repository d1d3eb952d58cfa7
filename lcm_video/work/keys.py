"""What determines a shot's frames, in one number: equal keys stand for equal frames, wherever and whenever.

Everything counts except what is named in ELSEWHERE: an option that is added to a section is part of the key by itself.
What is written in moments, curves and expressions counts as the values that it comes to in each frame. So a shot keeps
its key when another is edited, added or removed, and when only the file that the film goes to changes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Any

from lcm_video.course import Course
from lcm_video.models import Lora, Model, Runtime
from lcm_video.samplers import Sampling
from lcm_video.start import Start
from lcm_video.storyboard import Scene, Storyboard, Video
from lcm_video.work.framing import SCHEMA

ELSEWHERE: dict[type, str] = {
    # What a shot is given instead: see Scene and Course.
    Storyboard: "prompts shots negative sampling start curves wildcards vars output",
    Video: "frames fps loop tempo",
    # Files count by their content (see `sources`), numbers that vary by their values.
    Model: "checkpoint vae motion tokenizer motion_scale size",
    Lora: "path scale steps",
    Sampling: "guidance seed",
    Start: "source strength",
    Scene: "first prompts negative fps film",
    Course: "board shot prompts negative notes",
    # Where files are looked for, how many windows are computed side by side, and what is an error, change nothing.
    Runtime: "folders parallel_windows strict",
}
"""By section, the fields that are not taken as they are written."""


def shot_key(course: Course, *, files: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """A SHA-256 in hexadecimal of all that determines the shot's frames, and of nothing else.

    files: the SHA-256 of every file that takes part, by its role (see `sources.sources_of`)
    facts: what else can change a bit: the machine, the libraries, the motion module's card (see `facts.facts_of`)
    """
    # Every LoRA that varies is taken to change the text encoder, too: that some do not shows only when they are loaded.
    acting = frozenset(name for name, lora in course.board.model.loras.items() if lora.varies)
    parts = {
        "schema": SCHEMA,
        "files": dict(files),
        "facts": dict(facts),
        "board": course.board,
        "scales": [lora.scale for lora in course.board.model.loras.values() if not lora.varies],
        "shot": counted(course.shot),
        "seeds": course.shot.seeds(),
        "course": course,
        "scripts": course.scripts(acting),
    }
    found = sha256()
    for name, part in parts.items():  # one after the other: a long film's numbers are not all held as text
        found.update(f"{name}={canonical(part)}\n".encode())
    return found.hexdigest()


def canonical(value: Any) -> str:
    """``value`` as JSON that depends on nothing but its content. Raises TypeError for what has no content to write."""
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """What JSON does not know, in what it knows."""
    if is_dataclass(value):
        return counted(value)
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def counted(value: Any) -> dict[str, Any]:
    """The fields that count of a dataclass or a named tuple.

    Maps come as pairs: in which order LoRAs are applied decides how their sum is rounded.
    """
    names = [field.name for field in fields(value)] if is_dataclass(value) else value._fields
    left_out = ELSEWHERE.get(type(value), "").split()
    found = {name: getattr(value, name) for name in names if name not in left_out}
    return {name: list(each.items()) if isinstance(each, Mapping) else each for name, each in found.items()}
