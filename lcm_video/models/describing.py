"""What a model file is, for `lcm-video info`: told from names and shapes, without loading a weight where possible."""

from math import prod
from pathlib import Path
from typing import Any

from lcm_video.models.cards import recognise, structure
from lcm_video.models.container import Header, header, sniff
from lcm_video.models.kinds import kind


def describe(path: Path) -> dict[str, Any]:
    """Facts about a weight file, by name. Raises CheckpointError if it is none, or is damaged."""
    container = sniff(path)
    found = header(path) if container == "safetensors" else _pickled(path)
    what = kind(found.shapes)
    facts = {
        "kind": what,
        "container": {"safetensors": "safetensors", "zip": "PyTorch", "pickle": "PyTorch (before 1.6)"}[container],
        "tensors": len(found.shapes),
        "values": sum(prod(shape) for shape in found.shapes.values()),
        "bytes": path.stat().st_size,
    }
    if what == "motion module":
        facts |= _motion(found)
    if what == "LoRA":
        ranks = sorted({min(shape[:2]) for name, shape in found.shapes.items() if "down" in name or "lora_A" in name})
        facts["ranks"] = ranks
    if found.metadata:
        # Thumbnails and training logs hide in metadata; only what a person can read is shown.
        facts["metadata"] = {name: text for name, text in found.metadata.items() if len(text) <= 100}
    return facts


def _pickled(path: Path) -> Header:
    """A PyTorch file has no table of contents: its tensors are mapped, not read."""
    from lcm_video.models.files import read

    return Header({name: tuple(tensor.shape) for name, tensor in read(path).tensors.items()}, {})


def _motion(found: Header) -> dict[str, Any]:
    made = structure(found.shapes)
    card = recognise(found.shapes, found.metadata)
    facts = {"middle block": "yes" if made.middle else "no", "frames at most": made.positions or "any"}
    return {**facts, "card": f"{card.name}: {card.about}" if card else "none"}
