"""What a model file is, for `lcm-video info` and `lcm-video models`: told from names and shapes, loading no weight."""

import json
from collections import Counter
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from lcm_video.errors import CheckpointError
from lcm_video.models.cards import recognise, structure
from lcm_video.models.contents import Contents, contents
from lcm_video.models.kinds import KINDS, family

CONTAINERS = {"safetensors": "safetensors", "zip": "PyTorch", "pickle": "PyTorch (before 1.6)"}
SHOWN = 100
"""Characters of metadata that are shown: thumbnails and training logs hide in it, and only people read this."""

TAGS = 12
"""Words of its captions that are shown for a LoRA."""


def describe(path: Path) -> dict[str, Any]:
    """Facts about a weight file, by name. Raises CheckpointError if it is none, or is damaged."""
    inside = contents(path)
    facts = {
        "kind": inside.kind,
        "family": family_of(inside) or "any",
        "use": use(inside),
        "container": CONTAINERS[inside.container],
        "types": types(inside),
        "tensors": len(inside.shapes),
        "values": sum(prod(shape) for shape in inside.shapes.values()),
        "bytes": path.stat().st_size,
    }
    if inside.kind.endswith("motion module"):
        facts |= _motion(inside, path)
    if inside.kind.endswith("LoRA"):
        named = inside.shapes.items()
        facts["ranks"] = sorted(
            {min(shape[:2]) for name, shape in named if ("down" in name or "lora_A" in name) and shape[1:]}
        )
    if words := trained_on(inside.metadata):
        facts["trained on"] = words
    if inside.metadata:
        facts["metadata"] = {name: text for name, text in inside.metadata.items() if len(text) <= SHOWN}
    return facts


def family_of(inside: Contents) -> str:
    """Whom the file fits: SD 1.5 or SDXL; empty if any, or if nothing tells."""
    if inside.kind == "LoRA":
        return family(inside.shapes, inside.metadata)
    return KINDS[inside.kind].family


def use(inside: Contents) -> str:
    """The field of a storyboard that the file is for, or why it is for none."""
    about = KINDS[inside.kind]
    return f"model.{about.slot}" if about.slot else about.refused or "none"


def types(inside: Contents) -> str:
    """The types of its weights, the most frequent first: ``F16``, or ``F16 1130, I64 1``."""
    counts = Counter(inside.dtypes.values())
    return (
        next(iter(counts), "") if len(counts) <= 1 else ", ".join(f"{n} {count}" for n, count in counts.most_common())
    )


def trained_on(metadata: Mapping[str, str]) -> list[str]:
    """The words most frequent in the captions of kohya's trainer: what calls a LoRA's subject in a prompt."""
    try:
        told = json.loads(metadata.get("ss_tag_frequency", "{}"))
        counts: Counter[str] = Counter()
        for tags in told.values():
            counts.update({str(tag).strip(): int(count) for tag, count in tags.items()})
    except (ValueError, AttributeError, TypeError):
        return []
    return [tag for tag, _ in counts.most_common(TAGS)]


def _motion(inside: Contents, path: Path) -> dict[str, Any]:
    made = structure(inside.shapes)
    facts = {"middle block": "yes" if made.middle else "no", "frames at most": made.positions or "any"}
    try:
        card = recognise(inside.shapes, inside.metadata, file=path.name)
    except CheckpointError:
        card = None
    return {**facts, "card": f"{card.name}: {card.about}" if card else "none"}
