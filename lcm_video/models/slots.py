"""Every file a model names, checked against its place before torch loads: all mistakes at once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lcm_video.errors import CheckpointError
from lcm_video.models.cards import located
from lcm_video.models.contents import Contents, contents
from lcm_video.models.folders import find
from lcm_video.models.kinds import KINDS, Kind, family, misplaced

if TYPE_CHECKING:
    from lcm_video.models import Model

CALLED = {"checkpoint": "checkpoint", "vae": "VAE", "motion": "motion module", "loras": "LoRA"}
CALLED["embeddings"] = "textual inversion"
"""What belongs in a slot, as people call it."""


class Slot(NamedTuple):
    """A place in a model that names a file: its field, the slot's kind of thing, and the name in it."""

    field: str
    slot: str
    name: str

    def find(self, folders: Sequence[str]) -> Path:
        """The file, or a checkpoint's folder. Raises CheckpointError if there is none."""
        if self.slot == "motion":
            return located(self.name, folders=folders)[0]
        return find(self.name, kind=CALLED[self.slot], folders=folders)


def slots(model: "Model") -> list[Slot]:
    """Every file that ``model`` names."""
    named = [
        Slot("model.checkpoint", "checkpoint", model.checkpoint),
        Slot("model.vae", "vae", model.vae),
        *(Slot(f"model.loras.{name}", "loras", lora.path) for name, lora in model.loras.items()),
        *(Slot(f"model.embeddings.{number}", "embeddings", name) for number, name in enumerate(model.embeddings)),
        Slot("model.motion", "motion", model.motion),
    ]
    return [slot for slot in named if slot.name]


def fitting(slot: str, base: str) -> tuple[Kind, ...]:
    """The kinds that belong in a slot beside a checkpoint of the family ``base`` (empty: any)."""
    return tuple(kind for kind, about in KINDS.items() if about.slot == slot and fits(about.family, base))


def fits(own: str, base: str) -> bool:
    """Whether families go together; where one is not known, or does not matter, they do."""
    return not own or not base or own == base


def faults(model: "Model", folders: Sequence[str] = ()) -> list[CheckpointError]:
    """What is wrong with the files, each after its field, as far as names and tables of contents tell."""
    found: list[CheckpointError] = []
    base = ""
    for slot in slots(model):
        try:
            path = slot.find(folders)
            if slot.slot == "checkpoint":
                base = base_of(path, has_vae=bool(model.vae))
            else:
                check(slot, path, base)
        except CheckpointError as error:
            found.append(CheckpointError(f"{slot.field}: {error.message}", remedy=error.remedy))
    return found


def check(slot: Slot, path: Path, base: str) -> None:
    """Raises CheckpointError unless the file at ``path`` belongs in ``slot`` beside a checkpoint of family ``base``."""
    inside = contents(path)
    kinds = fitting(slot.slot, base)
    if inside.kind not in kinds and not _undecided(inside):
        raise misplaced(inside.kind, kinds, name=path.name)


def _undecided(inside: Contents) -> bool:
    """Whether it is a LoRA that could be for any family."""
    return inside.kind == "LoRA" and not family(inside.shapes, inside.metadata)


def base_of(path: Path, *, has_vae: bool) -> str:
    """The family of a checkpoint. Raises CheckpointError if it is none that can be used, or is not whole."""
    if path.is_dir():
        return _folder(path)
    inside = contents(path)
    if inside.kind not in (kinds := fitting("checkpoint", "")):
        raise misplaced(inside.kind, kinds, name=path.name)
    starts: Callable[[str], bool] = lambda part: any(name.startswith(part) for name in inside.shapes)
    if not starts("conditioner.embedders.0." if inside.kind.startswith("SDXL") else "cond_stage_model."):
        message = f"{path.name} was saved without its text encoder"
        raise CheckpointError(message, remedy="give a whole checkpoint: UNet, VAE and text encoder in one file")
    if not has_vae and not starts("first_stage_model."):
        message = f"{path.name} was saved without its VAE"
        raise CheckpointError(message, remedy="name one under model.vae, such as vae-ft-mse-840000-ema-pruned")
    return KINDS[inside.kind].family


PARTS = ("unet", "vae", "text_encoder")


def _folder(path: Path) -> str:
    """The family of a checkpoint saved as a folder, by its parts."""
    missing = [
        part for part in PARTS if not any((path / part).glob("*.safetensors")) and not any((path / part).glob("*.bin"))
    ]
    if missing:
        message = f"{path.name} lacks the weights of {', '.join(missing)}"
        raise CheckpointError(message, remedy="get the whole folder, with the weights of every part")
    for part in PARTS:
        for file in sorted((path / part).glob("*.safetensors")):
            contents(file)
    return "SDXL" if (path / "text_encoder_2").is_dir() else "SD 1.5"


def files(model: "Model", folders: Sequence[str] = ()) -> Iterator[tuple[str, Path]]:
    """Yields every weight file that ``model`` uses, with the field that names it."""
    for slot in slots(model):
        path = slot.find(folders)
        for file in sorted(path.glob("*/*.safetensors")) if path.is_dir() else [path]:
            yield slot.field, file


def check_files(model: "Model", folders: Sequence[str] = ()) -> None:
    """Raises CheckpointError with everything that is wrong with the files of ``model``."""
    if not model.checkpoint:
        raise CheckpointError("no checkpoint is named", remedy="set model.checkpoint, or extend a preset: embedded")
    wrong = faults(model, folders)
    if wrong:
        *first, last = wrong
        raise CheckpointError("\n".join([*map(str, first), last.message]), remedy=last.remedy)
