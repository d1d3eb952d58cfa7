"""Deforum's settings files: prompts at frames, schedules, and a camera that has no counterpart here."""

import json
from collections.abc import Mapping
from typing import Any

from lcm_video.importers.deforum.fields import READ_TOGETHER, TABLE, length
from lcm_video.importers.deforum.prompts import prompts
from lcm_video.importers.document import Document
from lcm_video.importers.draft import Draft
from lcm_video.importers.fields import read
from lcm_video.importers.report import Imported

TOOL = "Deforum"

OWN = {"animation_mode", "max_frames", "strength_schedule", "cfg_scale_schedule", "diffusion_cadence", "seed_behavior"}


def recognises(document: Document) -> bool:
    """Whether this is a settings file: prompts at frames beside settings of its own."""
    data = document.data
    return isinstance(data, Mapping) and len(OWN & data.keys()) > 1 and bool(_found(data)[1])


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The storyboard: prompts that hold until the next, and everything of the picture that is not the camera's."""
    data = document.data
    draft = Draft(TOOL, data)
    read(draft, data, TABLE, done=READ_TOGETHER)
    if "frames" not in draft.section("video"):
        draft.exact("max_frames (left out)", "video.frames", length(draft))
    field, found = _found(data)
    prompts(draft, field, found, length(draft))
    for name in ("animation_prompts_positive", "animation_prompts_negative"):
        if data.get(name):
            draft.note(name, "exact", "written into every prompt", becomes="prompts")
    return draft.done()


def _found(data: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The prompts, and what the file calls them: a map, or JSON in a text, as in requests to its API."""
    for field in ("prompts", "animation_prompts"):
        value = data.get(field)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, Mapping) and value:
            return field, value
    return "", {}
