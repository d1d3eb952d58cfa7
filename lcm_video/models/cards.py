"""Motion module cards: what must be known about a motion module that its weights do not say. Loads no weights.

One YAML file in motion_modules/ per known module. A file of yours is matched to a card by its structure (middle block,
length of the position codes, number of blocks), never by its name alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lcm_video.errors import CheckpointError
from lcm_video.models.container import header, sniff
from lcm_video.models.folders import find
from lcm_video.resources import shipped
from lcm_video.types import STRICT

Count = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """The noise schedule a module was trained with: variance added at the first and the last timestep.

    schedule: how it grows between: in equal steps (linear), or its square root does (scaled_linear). These are
    diffusers' names; ComfyUI's ``sqrt_linear`` is linear here and its ``linear`` is scaled_linear.
    """

    start: Annotated[float, Field(gt=0, lt=1)] = 0.00085
    end: Annotated[float, Field(gt=0, lt=1)] = 0.012
    schedule: Literal["linear", "scaled_linear"] = "scaled_linear"


@dataclass(frozen=True, config=STRICT)
class Card:
    """What is known about a motion module.

    about: one line for people.
    family: the checkpoints it fits.
    file: what its file is usually called.
    window: frames it draws best at once; max_frames: the most it has positions for.
    betas: the noise schedule it was trained with.
    norm: what its own GroupNorm takes statistics over: each frame, or the whole window.
    shared_norm: whether the image layers' norms, too, take statistics over the window (v1 was trained so).
    heads, groups: attention heads and norm groups, which weights do not tell.
    """

    about: str
    family: Literal["sd15", "sdxl"]
    file: str
    window: Count
    max_frames: Count
    betas: Schedule = Schedule()
    norm: Literal["frame", "window"] = "frame"
    shared_norm: bool = False
    heads: Count = 8
    groups: Count = 32
    licence: str = "see source"
    source: str = ""
    sha256: str = ""
    name: str = ""


class Structure(NamedTuple):
    """What tells motion modules apart: down blocks, a middle block or not, frames with a position code (0: none)."""

    blocks: int
    middle: bool
    positions: int


POSITIONS = (".pos_encoder.pe", ".pos_encoder.positional_encoding", ".pos_embed.pe")
"""Endings of the keys that hold position codes: the authors', Hotshot-XL's, diffusers'."""


def structure(shapes: Mapping[str, tuple[int, ...]]) -> Structure:
    """The structure of a motion module, from the shapes of its weights."""
    inner = [key.removeprefix("module.") for key in shapes]
    blocks = {key.split(".")[1] for key in inner if key.startswith("down_blocks.")}
    positions = [shape[1] for key, shape in shapes.items() if key.endswith(POSITIONS)]
    return Structure(len(blocks), any(key.startswith("mid_block.") for key in inner), min(positions, default=0))


def alike(found: Structure) -> str:
    """The card that a module of this structure belongs to, or nothing."""
    match found:
        case Structure(4, True, 0):
            return "animatelcm"
        case Structure(4, True, _):
            return "animatediff-v2"
        case Structure(4, False, 24):
            return "animatediff-v1"
        case Structure(4, False, _):
            return "animatediff-v3"
        case Structure(3, _, 24):
            return "hotshot-xl"
        case Structure(3, _, _):
            return "animatediff-sdxl-beta"
        case _:
            return ""


def recognise(
    shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str], *, folders: Sequence[str] = ()
) -> Card | None:
    """The card of a motion module: the one its file names (``motion_card`` in its metadata), or by structure."""
    found, known = structure(shapes), cards(folders)
    card = known.get(metadata.get("motion_card", "")) or known.get(alike(found))
    return replace(card, max_frames=found.positions or card.max_frames) if card else None


def cards(folders: Sequence[str] = ()) -> dict[str, Card]:
    """Every card by its name: the shipped ones, those in ./motion_modules, those in ``folders``; later ones win."""
    places = [shipped("motion_modules"), Path("motion_modules"), *(Path(folder).expanduser() for folder in folders)]
    return dict(_cards_in(places))


def _cards_in(places: Sequence[Path]) -> Iterator[tuple[str, Card]]:
    import yaml

    for path in (path for place in places for path in sorted(place.glob("*.yaml"))):
        try:
            fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        # A user's folder may hold storyboards too; only a file that speaks of a motion module is taken for a card.
        if isinstance(fields, dict) and {"about", "family", "max_frames"} <= fields.keys():
            yield path.stem, _card(fields, path)


def _card(fields: dict, path: Path) -> Card:
    try:
        return TypeAdapter(Card).validate_python({**fields, "name": path.stem})
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CheckpointError(message, remedy="see motion_modules/animatediff-v3.yaml for a complete card") from None


def card_for(motion: str, *, folders: Sequence[str] = ()) -> Card | None:
    """The card of a motion module named by card or file, if that can be told without reading weights.

    By card name; by the header of a .safetensors file; else by file name, which loading verifies. None without a
    motion module, and for files that are missing or of unknown structure: loading says why.
    """
    known = cards(folders)
    if not motion or motion in known:
        return known.get(motion)
    try:
        path = find(motion, kind="motion module", folders=folders)
        if sniff(path) == "safetensors":
            return recognise(*header(path), folders=folders)
    except CheckpointError:
        return None
    return next((card for card in known.values() if card.file.lower() == path.name.lower()), None)
