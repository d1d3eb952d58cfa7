"""Every file a model names, checked against its place by its first bytes: before torch loads, all mistakes at once."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lcm_video.errors import CheckpointError
from lcm_video.models.cards import cards
from lcm_video.models.container import header, sniff
from lcm_video.models.folders import find
from lcm_video.models.kinds import Kind, expect

if TYPE_CHECKING:
    from lcm_video.models import Model

LOOSE: dict[Kind, str] = {"SD 1.5 checkpoint": "checkpoint"}
"""What a kind is called where its family does not matter."""


def slots(model: "Model", folders: Sequence[str] = ()) -> Iterator[tuple[str, Kind]]:
    """Yields every file that is named, and the kind that belongs there."""
    motion = cards(folders).get(model.motion)
    named: list[tuple[str, Kind]] = [
        (model.checkpoint, "SD 1.5 checkpoint"),
        (model.vae, "VAE"),
        *((lora.path, "LoRA") for lora in model.loras.values()),
        *((name, "textual inversion") for name in model.embeddings),
        (motion.file if motion else model.motion, "motion module"),
    ]
    for name, kind in named:
        if name:
            yield name, kind


def faults(model: "Model", folders: Sequence[str] = ()) -> list[CheckpointError]:
    """What is wrong with the files, as far as names and headers tell; loading checks the rest."""
    found = []
    for name, kind in slots(model, folders):
        try:
            path = find(name, kind=LOOSE.get(kind, kind), folders=folders)
            if sniff(path) == "safetensors":
                expect(kind, header(path).shapes, name=path.name)
        except CheckpointError as error:
            found.append(error)
    return found


def check_files(model: "Model", folders: Sequence[str] = ()) -> None:
    """Raises CheckpointError with everything that is wrong with the files of ``model``."""
    if not model.checkpoint:
        raise CheckpointError("no checkpoint is named", remedy="set model.checkpoint, or extend a preset: embedded")
    wrong = faults(model, folders)
    if wrong:
        *first, last = wrong
        raise CheckpointError("\n".join([*map(str, first), last.message]), remedy=last.remedy)
