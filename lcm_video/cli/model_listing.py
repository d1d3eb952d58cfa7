"""``lcm-video models``: which model files there are, what they are, and where to get more."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lcm_video.cli.tables import size, tabulated
from lcm_video.errors import CheckpointError
from lcm_video.models.contents import contents
from lcm_video.models.describing import describe, family_of, use
from lcm_video.models.digests import digest
from lcm_video.models.folders import find, model_files
from lcm_video.models.places import searched

Row = dict[str, Any]


def show_list(folders: Sequence[str], *, kind: str, hashed: bool, as_json: bool) -> None:
    """Prints a table of the model files in ``folders`` and the usual ones; with ``hashed``, their SHA-256 too."""
    rows = [row for row in rows_of(folders, hashed=hashed) if kind.lower() in row["kind"].lower()]
    if as_json:
        print(json.dumps({"models": rows}, indent=2, ensure_ascii=False))
        return
    if not rows:
        print(f"no model files were found; looked into {', '.join(map(shown, searched(folders))) or 'no folder'}")
        return
    columns = ["name", "kind", "family", "size", "folder", *(["sha256"] if hashed else [])]
    cells = [[cell(row, column) for column in columns] for row in rows]
    print("\n".join(tabulated(columns, cells)))
    for row in rows:
        if "problem" in row:
            print(f"{row['name']}: {row['problem']}")


def rows_of(folders: Sequence[str], *, hashed: bool) -> Iterator[Row]:
    """Yields what is known about each model file; one that cannot be used says why."""
    seen: set[Path] = set()
    for place in searched(folders):
        for path in model_files(place):
            if (whole := path.resolve()) not in seen:
                seen.add(whole)
                yield row(path, hashed=hashed)


def row(path: Path, *, hashed: bool) -> Row:
    """One file's facts."""
    facts: Row = {"name": path.name, "folder": shown(path.parent)}
    try:
        facts["bytes"] = path.stat().st_size
        inside = contents(path)
        facts |= {"kind": inside.kind, "family": family_of(inside), "use": use(inside)}
        if hashed:
            facts["sha256"] = digest(path)
    except (CheckpointError, OSError) as error:
        told = error.message if isinstance(error, CheckpointError) else str(error.strerror)
        facts |= {"kind": "unusable", "family": "", "problem": told}
    return facts


def cell(facts: Row, column: str) -> str:
    """One entry of the table."""
    if column == "size":
        return size(facts.get("bytes", 0))
    text = str(facts.get(column, ""))
    return text[:16] if column == "sha256" else text


def shown(path: Path) -> str:
    """A folder as it is shown: relative to here or to the home folder where it can be."""
    for root, mark in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.absolute().is_relative_to(root):
            return mark + str(path.absolute().relative_to(root))
    return str(path)


def show_info(name: str, folders: Sequence[str], *, verify: bool, as_json: bool) -> None:
    """Prints what a model file is; with ``verify``, reads every weight and refuses what is not a number."""
    path = find(name, folders=folders)
    facts = {"file": path.name, **describe(path), "sha256": digest(path), "short hash": digest(path)[:10]}
    if verify:
        facts["weights"] = verified(path)
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    width = max(map(len, facts))
    for title, value in facts.items():
        print(f"{title:{width}}  {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def verified(path: Path) -> str:
    """Says that all weights are numbers. Raises CheckpointError naming those that are not."""
    from lcm_video.models.files import read, unsound

    tensors = read(path).tensors
    if wrong := unsound(tensors):
        message = f"{path.name} holds NaN or infinity in {len(wrong)} weights, first {wrong[0]}"
        raise CheckpointError(message, remedy="the file is damaged, or was merged badly: get it again")
    return f"{len(tensors)} read, all are numbers"


def get(name: str, folder: Path | None, *, as_json: bool) -> None:
    """Downloads a model and prints where it is."""
    from lcm_video.models.catalogue import wanted
    from lcm_video.models.fetching import fetch
    from lcm_video.models.places import models_folder

    item = wanted(name)
    fetched = fetch(item, folder or models_folder() / item.folder)
    kind = contents(fetched.path).kind
    facts = {
        "path": str(fetched.path),
        "kind": kind,
        "licence": fetched.licence,
        "sha256": fetched.sha256,
        "verified": fetched.checked,
    }
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{fetched.path}  {kind}, {size(fetched.path.stat().st_size)}")
    print(f"licence  {fetched.licence} (https://huggingface.co/{item.repo})")
    checked = "as the hub says" if fetched.checked else "the hub gives none to compare with"
    print(f"sha256   {fetched.sha256}, {checked}")
