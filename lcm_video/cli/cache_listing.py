"""``lcm-video cache``: what kept work there is, and what goes."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lcm_video.cli.tables import size, tabulated
from lcm_video.work.store import LIMIT, Entry, Store

WIDTH = 60
"""Letters of a column at most."""


def show_entries(*, as_json: bool) -> None:
    """Prints a table of the kept work, the last used first."""
    store = Store()
    entries = store.entries()
    if as_json:
        print(json.dumps({"work": [as_data(entry) for entry in entries]}, indent=2, ensure_ascii=False))
        return
    if not entries:
        print(f"no work is kept in {store.folder}")
        return
    columns = ("storyboard", "shot", "frames", "size", "used", "")
    print("\n".join(tabulated(columns, [row(entry) for entry in entries])))
    print(f"{size(sum(entry.size for entry in entries))} in {store.folder}")


def row(entry: Entry) -> list[str]:
    """One line of the table."""
    marks = [word for word, is_so in (("rendering", entry.busy), ("pinned", entry.pinned)) if is_so]
    name, shot = (entry.about.get(name, "") for name in ("storyboard", "shot"))
    total = entry.about.get("frames", "?")
    frames, used = f"{entry.done}/{shown(total)}", ago(time.time() - entry.used)
    return [shown(near(str(name))), shown(shot), frames, size(entry.size), used, ", ".join(marks)]


def near(name: str) -> str:
    """A file's name as it would be written here; of one far away, its end.

    >>> near("/home/me/films/" + "a-very-long-folder/" * 3 + "fox.yaml")
    '…-long-folder/a-very-long-folder/a-very-long-folder/fox.yaml'
    """
    with suppress(ValueError, OSError):
        name = str(Path(name).relative_to(Path.cwd()))
    return name if len(name) <= WIDTH else f"…{name[1 - WIDTH :]}"


def shown(value: Any) -> str:
    """A word of a table; whatever a file says, it is short, and no terminal takes it for an order."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(value)[:WIDTH])


def as_data(entry: Entry) -> dict[str, Any]:
    """An entry for machines; ``used`` in seconds since 1970, ``bytes`` in bytes."""
    facts = {"done": entry.done, "bytes": entry.size, "used": entry.used, "busy": entry.busy, "pinned": entry.pinned}
    return {"key": entry.key, **entry.about, **facts}


def ago(seconds: float) -> str:
    """How long ago something was.

    >>> ago(7200), ago(90_000), ago(-5)
    ('2 hours ago', '1 day ago', 'just now')
    """
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count:,} {unit}{'s' * (count > 1)} ago"
    return "just now"


def clear(limit: int | None, *, everything: bool, as_json: bool) -> None:
    """Clears kept work away, and prints what it came to. ``limit`` is in bytes; None is what renders keep."""
    store = Store()
    swept = store.clear() if everything else store.sweep(LIMIT if limit is None else limit)
    if as_json:
        print(json.dumps({"removed": swept.removed, "freed": swept.freed, "left": swept.left}))
        return
    shots = f"{swept.removed} shot{'' if swept.removed == 1 else 's'}"
    print(f"{shots} removed, {size(swept.freed)} freed; {size(swept.left)} left")
