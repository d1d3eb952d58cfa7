"""Finding a model file by its path or its name. Loads nothing."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from lcm_video.errors import CheckpointError
from lcm_video.resources import shipped

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""What model files end in, the preferred one first."""


def find(name: str, *, kind: str = "model", folders: Sequence[str] = ()) -> Path:
    """The file ``name`` stands for: a path, or a name with or without its ending in one of the model folders.

    Searched in order: the path itself, ``folders``, configs/embedded, motion_modules, ./models and ./motion_modules
    (for a motion module motion_modules come first); in each also one level of subfolders, as other tools sort their
    files. Raises CheckpointError naming near misses.
    """
    places = list(searched(folders, motion=kind == "motion module"))
    for candidate in spellings(Path(name).expanduser()):
        if candidate.is_file():
            return candidate
    for place in places:
        for candidate in spellings(Path(name)):
            inside = [place / candidate, *sorted(place.glob(f"*/{candidate.name}"))]
            if found := next((path for path in inside if path.is_file()), None):
                return found
    raise CheckpointError(f"{kind} {name!r} was not found", remedy=near(Path(name).stem, places))


def spellings(path: Path) -> Iterator[Path]:
    """``path`` as written, then with each ending a model file may have."""
    yield path
    if path.suffix not in ENDINGS:
        yield from (path.with_name(path.name + ending) for ending in ENDINGS)


def searched(folders: Sequence[str], *, motion: bool = False) -> Iterator[Path]:
    """The model folders that exist, those of the user first; with ``motion``, motion module folders before others."""
    known = [shipped("configs") / "embedded", shipped("motion_modules"), Path("models"), Path("motion_modules")]
    if motion:
        known.sort(key=lambda place: place.name != "motion_modules")
    for place in [*(Path(folder).expanduser() for folder in folders), *known]:
        if place.is_dir():
            yield place


def near(stem: str, places: Sequence[Path]) -> str:
    """A remedy for a missing file: names like it that exist, and where was looked."""
    have = {path.stem: path.name for place in places for path in place.rglob("*") if path.suffix in ENDINGS}
    lower = {name.lower(): file for name, file in have.items()}
    close = [lower[name] for name in get_close_matches(stem.lower(), lower, n=3)]
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{guess}give a path, or put the file into one of: {', '.join(sorted({place.name for place in places}))}"
