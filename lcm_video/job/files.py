"""What a film was made from, for those who read its report: weights by role, pictures and sounds by field.

(What a shot is stored under, and whether a file changes meanwhile, is `work.sources`.)
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lcm_video.media import FORMATS
from lcm_video.models import Model, ModelFile
from lcm_video.models.slots import Slot, slots
from lcm_video.plan import Plan
from lcm_video.timeline import Heard

LOADED = ("checkpoint", "vae", "motion", "loras", "embeddings")
"""Slots in the order in which loading lists them."""


def model_files(model: Model, folders: Sequence[str]) -> Iterator[ModelFile]:
    """Yields every weight file that ``model`` names, as loading would list them, without loading one.

    A film says the same of itself whether its frames were just drawn or had been stored.
    """
    for slot in sorted(slots(model), key=lambda slot: LOADED.index(slot.slot)):
        path = slot.find(folders)
        if path.is_dir():
            yield from _of_folder(path)
            continue
        yield ModelFile(_role(slot, path), path)
        if slot.slot == "vae":
            yield from (ModelFile("vae:2", other) for other in _other_half(path))


def _role(slot: Slot, path: Path) -> str:
    if slot.slot == "loras":
        return f"lora:{slot.field.removeprefix('model.loras.')}"
    return f"embedding:{path.stem}" if slot.slot == "embeddings" else slot.slot


def _of_folder(path: Path) -> Iterator[ModelFile]:
    """Yields the weights of a checkpoint's folder, part by part."""
    for part in sorted(part for part in path.iterdir() if part.is_dir()):
        weights = sorted(part.glob("*.safetensors")) or sorted(part.glob("*.bin"))
        for index, file in enumerate(weights):
            yield ModelFile(f"checkpoint:{part.name}" + (f":{index + 1}" if index else ""), file)


def _other_half(path: Path) -> Iterator[Path]:
    """Yields the other file of a TAESD, whose two files differ in one word."""
    for half, other in (("encoder", "decoder"), ("decoder", "encoder")):
        beside = path.with_name(path.name.replace(half, other, 1))
        if half in path.name and beside.is_file():
            yield beside


def input_files(planned: Plan) -> Iterator[tuple[str, Path]]:
    """Yields every picture, film and sound that a film is made from, after the field that names it."""
    board = planned.board
    for planned_shot in planned.shots:
        shot = planned_shot.shot
        if shot.start.source:
            path = Path(shot.start.source)
            field = f"shots.{shot.name}.start.source" if shot.name else "start.source"
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            yield from ((f"{field}/{file.name}" if path.is_dir() else field, file) for file in files)
    if board.output.audio.source and any(FORMATS[ending].audio for ending in board.output.endings):
        yield "output.audio.source", Path(board.output.audio.source)
    for name, curve in board.curves.items():
        if isinstance(curve, Heard):
            yield f"curves.{name}.audio", Path(curve.audio)
