"""The commands about kept work: ``lcm-video cache …``."""

import re
from typing import Annotated

import typer

from lcm_video.cli.commands import Json, app, reported

cache = typer.Typer(no_args_is_help=True, help="Shows and clears the work that renders keep.", rich_markup_mode=None)
app.add_typer(cache, name="cache")

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
SIZE = re.compile(r"\s*(?P<number>[0-9]{1,15}(\.[0-9]{1,9})?)\s*(?P<unit>[kmgt]?)b?\s*")


def in_bytes(text: str) -> int:
    """A size as people write it in bytes: ``10GB``, ``1.5 g``, ``500MB``, ``0``."""
    if not (found := SIZE.fullmatch(text.lower())):
        raise typer.BadParameter(f"{text!r} is not a size; write 10GB or 500MB")
    return int(float(found["number"]) * UNITS[found["unit"]])


@cache.command("ls")
@reported
def list_work(json: Json = False) -> None:
    """Lists the kept work of every shot: how much of it is done, its size, and when it was last used."""
    from lcm_video.cli.cache_listing import show_entries

    show_entries(as_json=json)


@cache.command("gc")
@reported
def clear_work(
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="SIZE", parser=in_bytes, help="Keep the last used up to this: 10GB, 500MB, 0."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Remove everything, pinned work and that of other versions too.")
    ] = False,
    json: Json = False,
) -> None:
    """Clears away the work that was not used for longest; never that of a running render."""
    from lcm_video.cli.cache_listing import clear

    if everything and limit is not None:
        typer.echo("error: --all leaves nothing for --limit\n  → give one of them", err=True)
        raise typer.Exit(2)
    clear(limit, everything=everything, as_json=json)
