"""A lockfile beside a storyboard: the hashes of the model files that it was rendered with."""

import json
from pathlib import Path
from typing import Any

from lcm_video.errors import CheckpointError
from lcm_video.models.digests import digest
from lcm_video.models.slots import check_files, files
from lcm_video.storyboard import Storyboard


def lock_of(source: str) -> Path:
    """Where the lockfile of a storyboard is: ``story.yaml`` has ``story.lock.json`` beside it."""
    path = Path(source)
    return path.with_name(f"{path.stem}.lock.json")


def write_lock(source: str, board: Storyboard) -> Path:
    """Writes the names and hashes of the model files that the storyboard uses now; gives the lockfile."""
    check_files(board.model, board.runtime.folders)
    path = lock_of(source)
    text = json.dumps({"models": _facts(board)}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def verify_lock(source: str, board: Storyboard) -> None:
    """Raises CheckpointError if a model file is another one than the lockfile says. Without a lockfile all is well."""
    path = lock_of(source)
    if not path.is_file():
        return
    try:
        locked = json.loads(path.read_text(encoding="utf-8"))["models"]
        wanted = {str(key): (str(entry["name"]), str(entry["sha256"])) for key, entry in locked.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        remedy = f"delete it, or write it again: lcm-video models lock {source}"
        raise CheckpointError(f"{path.name} is no lockfile", remedy=remedy) from None
    found = {key: (entry["name"], entry["sha256"]) for key, entry in _facts(board).items()}
    wrong = [_difference(key, wanted.get(key), found.get(key)) for key in {**wanted, **found}]
    if wrong := [line for line in wrong if line]:
        remedy = f"restore the files, or accept them: lcm-video models lock {source}"
        raise CheckpointError(f"{path.name}: " + "; ".join(wrong), remedy=remedy)


def _facts(board: Storyboard) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {}
    for field, path in files(board.model, board.runtime.folders):
        key = field if field not in facts else f"{field} {path.name}"
        facts[key] = {"name": path.name, "sha256": digest(path)}
    return facts


def _difference(key: str, wanted: tuple[str, str] | None, found: tuple[str, str] | None) -> str:
    if wanted is None or found is None:
        return f"{key} is {'not locked' if wanted is None else 'locked, but not used any more'}"
    if wanted[1] == found[1]:
        return ""
    return f"{key}: {found[0]} has changed: its hash is {found[1][:10]}, {wanted[0]} had {wanted[1][:10]}"
