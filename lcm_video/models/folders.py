"""Finding a model file by its path, its name, or its content. Loads nothing."""

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from lcm_video.errors import CheckpointError
from lcm_video.models.catalogue import other_names
from lcm_video.models.digests import digest
from lcm_video.models.places import searched
from lcm_video.resources import expanded

__all__ = ["ENDINGS", "find", "model_files", "searched"]

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""What model files end in, the preferred one first."""

DEEPEST = 3
"""Levels of subfolders that are looked into: people sort their files by family and theme."""

WHOLE = {
    "checkpoint": ("model_index.json", "unet"),
    "VAE": ("diffusion_pytorch_model.safetensors",),
    "motion module": ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"),
}
"""What tells that a folder is a whole model, as diffusers saves it, by what is looked for."""


def find(name: str, *, kind: str = "model", folders: Sequence[str] = ()) -> Path:
    """The file ``name`` stands for (or, for a checkpoint, the folder as diffusers saves it).

    ``name`` is a path, or a file's name in a model folder, with or without ending, in any case, with or without its
    subfolder, or another of a well-known file's names; or ``sha256:`` and at least 10 digits of its hash. Searched in
    order: the path itself, ``folders``, $LCM_VIDEO_MODELS, the user's models.txt, configs/embedded, motion_modules,
    ./models and ./motion_modules (for a motion module motion_modules come first); in each the subfolders too, and the
    trees of ComfyUI and A1111. Raises CheckpointError naming near misses, or the candidates if several have the name.
    """
    places = list(searched(folders, motion=kind == "motion module"))
    if name.lower().startswith("sha256:"):
        return by_hash(name[7:].lower(), places, kind=kind)
    for called in (name, *other_names(name)):
        if found := by_name(called, places, kind=kind):
            return found
    raise CheckpointError(f"{kind} {name!r} was not found", remedy=near(Path(name).stem, places))


def by_name(name: str, places: Sequence[Path], *, kind: str) -> Path | None:
    """The file at the path ``name``, or of that name in the first of ``places`` that has one."""
    for candidate in spellings(expanded(name)):
        if found := usable(candidate, kind):
            return found
    for place in places:
        for candidate in spellings(Path(name)):
            if found := usable(place / candidate, kind):
                return found
        if found := within(place, name, kind):
            return found
    return None


def usable(path: Path, kind: str) -> Path | None:
    """``path`` if it is a file, or a folder that is a whole model where one is wanted; a part's is its weight file."""
    try:
        if path.is_file():
            return path
        marks = [path / mark for mark in WHOLE.get(kind, ())]
        if path.is_dir() and (mark := next((mark for mark in marks if mark.exists()), None)):
            return mark if mark.suffix == ".safetensors" else path
    except OSError:  # a name too long, a loop of links, a folder that may not be read
        pass
    return None


def within(place: Path, name: str, kind: str) -> Path | None:
    """The file of that name anywhere in ``place``, in any case. Raises CheckpointError if there are several."""
    wanted = {str(path).lower().replace(os.sep, "/") for path in spellings(Path(name))}
    ranks: dict[tuple[bool, int], list[Path]] = {}
    for path in model_files(place):
        inside = path.relative_to(place).as_posix().lower()
        if inside in wanted or any(inside.endswith(f"/{each}") for each in wanted):
            ranks.setdefault((inside not in wanted, rank(path)), []).append(path)
    if not ranks:
        return None
    first = ranks[min(ranks)]
    if len({path.resolve() for path in first}) > 1:
        shown = ", ".join(str(path.relative_to(place)) for path in sorted(first)[:6])
        message = f"{kind} {name!r} is ambiguous: {len(first)} files in {place.name} have that name"
        raise CheckpointError(message, remedy=f"name its subfolder too: {shown}")
    return first[0]


def rank(path: Path) -> int:
    """The place of a file's ending in the order of preference."""
    ending = path.suffix.lower()
    return ENDINGS.index(ending) if ending in ENDINGS else len(ENDINGS)


def spellings(path: Path) -> Iterator[Path]:
    """``path`` as written, then with each ending a model file may have."""
    yield path
    if path.name and path.suffix.lower() not in ENDINGS:
        yield from (path.with_name(path.name + ending) for ending in ENDINGS)


def model_files(place: Path) -> Iterator[Path]:
    """Yields the model files in ``place`` and its subfolders, by name; links that lead in circles end by themselves."""
    yield from _files(str(place), 0)


def _files(place: str, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_file() and entry.name.lower().endswith(ENDINGS):
                yield Path(entry.path)
            elif depth < DEEPEST and entry.is_dir() and not entry.name.startswith("."):
                yield from _files(entry.path, depth + 1)
        except OSError:
            continue


def by_hash(digits: str, places: Sequence[Path], *, kind: str) -> Path:
    """The file whose SHA-256 begins with ``digits``, whatever its name. Hashes are remembered between runs."""
    if not re.fullmatch(r"[0-9a-f]{10,64}", digits):
        message = f"sha256:{digits} is no hash: 10 to 64 hexadecimal digits are needed"
        raise CheckpointError(message, remedy="`lcm-video models info FILE` shows the hash of a file")
    found: dict[str, Path] = {}
    for place in places:
        for path in model_files(place):
            if (whole := digest(path)).startswith(digits):
                found.setdefault(whole, path)
    if len(found) > 1:
        shown = ", ".join(f"{path.name} ({whole[:16]})" for whole, path in found.items())
        raise CheckpointError(f"sha256:{digits} is ambiguous", remedy=f"give more digits: {shown}")
    if not found:
        message = f"no {kind} with the hash sha256:{digits} was found"
        raise CheckpointError(message, remedy=f"put it into one of: {names(places)}")
    return next(iter(found.values()))


def near(stem: str, places: Sequence[Path]) -> str:
    """A remedy for a missing file: names like it that exist, and where was looked."""
    have = {path.stem: path.name for place in places for path in model_files(place)}
    lower = {name.lower(): file for name, file in have.items()}
    close = [lower[name] for name in get_close_matches(stem.lower(), lower, n=3)]
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{guess}give a path, or put the file into one of: {names(places)}"


def names(places: Sequence[Path]) -> str:
    """The folders' names, each once."""
    return ", ".join(sorted({place.name for place in places}))
