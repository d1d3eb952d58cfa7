"""Motion module cards: what must be known about a motion module that its weights do not say. Loads no weights.

One YAML file in motion_modules/ per known module. A file of yours is matched to a card by its structure (middle block,
length of the position codes, number of blocks), never by its name alone; its name decides among cards of one structure.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lcm_video.errors import CheckpointError
from lcm_video.models.contents import contents
from lcm_video.models.digests import Identity, identity
from lcm_video.models.folders import ENDINGS, find
from lcm_video.resources import expanded, shipped
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
    file, aliases: what its file (or diffusers' folder) is usually called; endings and ``.fp16`` do not count.
    middle, positions: whether it has a layer in the middle block, and for how many frames it stores position codes
        (0: for none). A file of this structure is taken for this module; without them only its name tells.
    typical: whether a file of this structure and of unknown name is taken for this module.
    window: frames it draws best at once; max_frames: the most it has positions for.
    betas: the noise schedule it was trained with.
    norm: what its own GroupNorm takes statistics over: each frame, or the whole window.
    shared_norm: whether the image layers' norms, too, take statistics over the window (v1 was trained so).
    lcm: what to know before drawing with it in an LCM's few steps.
    heads, groups: attention heads and norm groups, which weights do not tell.
    """

    about: str
    family: Literal["sd15", "sdxl"]
    file: str
    window: Count
    max_frames: Count
    aliases: tuple[str, ...] = ()
    middle: bool | None = None
    positions: Annotated[int, Field(ge=0, le=4096)] | None = None
    typical: bool = False
    betas: Schedule = Schedule()
    norm: Literal["frame", "window"] = "frame"
    shared_norm: bool = False
    heads: Count = 8
    groups: Count = 32
    lcm: str = ""
    licence: str = "see source"
    source: str = ""
    sha256: str = ""
    name: str = ""

    def is_called(self, file: str) -> bool:
        """Whether ``file`` is a usual name of the module."""
        return stem(file) in {stem(name) for name in (self.file, *self.aliases)}


def stem(file: str) -> str:
    """A file's name without folder, case, ending and precision."""
    name = Path(file).name.lower()
    for ending in (*ENDINGS, ".fp16", ".f16"):
        name = name.removesuffix(ending)
    return name


class Structure(NamedTuple):
    """What tells motion modules apart: down blocks, a middle block or not, frames with a position code (0: none)."""

    blocks: int
    middle: bool
    positions: int

    @property
    def family(self) -> str:
        """The checkpoints it fits: SD 1.5 has four down blocks, SDXL three."""
        return {4: "sd15", 3: "sdxl"}.get(self.blocks, "")


POSITIONS = (".pos_encoder.pe", ".pos_encoder.positional_encoding", ".pos_embed.pe")
"""Endings of the keys that hold position codes: the authors', Hotshot-XL's, diffusers'."""


def structure(shapes: Mapping[str, tuple[int, ...]]) -> Structure:
    """The structure of a motion module, from the shapes of its weights; other weights in the file do not count."""
    inner = [
        key.removeprefix("module.") for key in shapes if ".motion_modules." in key or ".temporal_attentions." in key
    ]
    blocks = {key.split(".")[1] for key in inner if key.startswith("down_blocks.")}
    positions = [shape[1] for key, shape in shapes.items() if key.endswith(POSITIONS)]
    return Structure(len(blocks), any(key.startswith("mid_block.") for key in inner), min(positions, default=0))


def alike(found: Structure, known: Iterable[Card], *, file: str = "") -> Card | None:
    """The card of a module of this structure, of those of its family with the same blocks.

    Best is one with as many positions, then one that the file is named after, then the typical one.
    """
    fits = [
        card
        for card in known
        if (card.family, card.middle) == (found.family, found.middle) and bool(card.positions) == bool(found.positions)
    ]

    def fitness(card: Card) -> tuple[bool, bool, bool, int]:
        return card.positions == found.positions, card.is_called(file), card.typical, card.positions or 0

    return max(fits, key=fitness, default=None)


def recognise(
    shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str], *, file: str = "", folders: Sequence[str] = ()
) -> Card | None:
    """The card of a motion module: the one its file names (``motion_card`` in its metadata), or by structure."""
    found, known = structure(shapes), cards(folders)
    card = known.get(metadata.get("motion_card", "")) or alike(found, known.values(), file=file)
    return replace(card, max_frames=found.positions or card.max_frames) if card else None


def cards(folders: Sequence[str] = ()) -> dict[str, Card]:
    """Every card by its name: the shipped ones, those in ./motion_modules, those in ``folders``; later ones win."""
    places = [shipped("motion_modules"), Path("motion_modules"), *(expanded(folder) for folder in folders)]
    return dict(_cards_in(places))


def _cards_in(places: Sequence[Path]) -> Iterator[tuple[str, Card]]:
    for path in (path for place in places for path in sorted(place.glob("*.yaml"))):
        with suppress(OSError):
            if card := _card(path, identity(path)):
                yield path.stem, card


@lru_cache(maxsize=1024)
def _card(path: Path, known: Identity) -> Card | None:
    """The card in a file, or None if it is something else; read again when its identity changes."""
    import yaml

    try:
        # By libyaml where it is there: the other reader takes a second for every thousand lines.
        fields = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    # A user's folder may hold storyboards too; only a file that speaks of a motion module is taken for a card.
    if not isinstance(fields, dict) or not {"about", "family", "max_frames"} <= fields.keys():
        return None
    try:
        return TypeAdapter(Card).validate_python({**fields, "name": path.stem})
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CheckpointError(message, remedy="see motion_modules/animatediff-v3.yaml for a complete card") from None


def located(motion: str, *, folders: Sequence[str] = ()) -> tuple[Path, Card | None]:
    """The file of a motion module named by card, file or diffusers' folder; and the card, if it is named by one.

    A card's file is looked for under each of its usual names. Raises CheckpointError if there is none.
    """
    if not (card := cards(folders).get(motion)):
        return find(motion, kind="motion module", folders=folders), None
    for name in (card.file, *card.aliases):
        try:
            return find(name, kind="motion module", folders=folders), card
        except CheckpointError:
            continue
    message = f"motion module {motion!r} was not found: none of {', '.join((card.file, *card.aliases))} is there"
    raise CheckpointError(message, remedy=f"put one of them into a model folder; it comes from {card.source}")


def as_configured(card: Card, path: Path) -> Card:
    """``card`` with the heads and groups that a diffusers folder's config.json gives, which weights do not tell."""
    config = path.with_name("config.json")
    if not path.name.startswith("diffusion_pytorch_model") or not config.is_file():
        return card
    try:
        found = json.loads(config.read_text(encoding="utf-8"))
        heads = int(found.get("motion_num_attention_heads", card.heads))
        groups = int(found.get("motion_norm_num_groups", card.groups))
    except (ValueError, AttributeError, TypeError):
        message = f"{config.parent.name}/config.json does not describe a motion adapter"
        raise CheckpointError(message, remedy="get the folder again, with all its files") from None
    return replace(card, heads=heads, groups=groups)


def check_motion(card: Card, found: Structure, family: str, name: str) -> None:
    """Raises CheckpointError unless the motion module in the file ``name`` fits its card, and that the checkpoint."""
    families = {"sd15": "SD 1.5", "sdxl": "SDXL"}
    if card.family != family:
        message = f"{name} is an {families[card.family]} motion module, the checkpoint is {families[family]}"
        better = {"sd15": "animatediff-v3", "sdxl": "animatediff-sdxl-beta"}[family]
        raise CheckpointError(message, remedy=f"use an {families[family]} motion module, such as {better}")
    if 0 < found.positions < card.max_frames:
        message = f"{name} has positions for {found.positions} frames, its card {card.name} says {card.max_frames}"
        raise CheckpointError(message, remedy="name the file, not the card, under model.motion")


def card_for(motion: str, *, folders: Sequence[str] = ()) -> Card | None:
    """The card of a motion module named by card, file or folder, as far as that can be told without reading weights.

    By card name; by the file's table of contents; by file name where that cannot be read, which loading verifies. None
    without a motion module, and for files that are missing or of unknown structure: loading says why.
    """
    known = cards(folders)
    if not motion or motion in known:
        return known.get(motion)
    try:
        path, _ = located(motion, folders=folders)
    except CheckpointError:
        return None
    try:
        found = contents(path)
        card = recognise(found.shapes, found.metadata, file=path.name, folders=folders)
        return as_configured(card, path) if card else None
    except CheckpointError:
        return next((card for card in known.values() if card.is_called(path.name)), None)
