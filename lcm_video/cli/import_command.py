"""The command ``lcm-video import``."""

from pathlib import Path
from typing import Annotated

import typer

from lcm_video.cli.commands import app, reported


@app.command("import")
@reported
def import_(
    file: Annotated[
        Path, typer.Argument(help="Another tool's file: a workflow, settings, a schedule, a picture, a film.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The storyboard to write; else it is printed.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="A model file under another name; may be repeated."),
    ] = None,
    faithful: Annotated[
        bool, typer.Option("--faithful", help="Reproduce the tool's quirks that change timing, too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Turns another tool's file into a storyboard, and tells what became of each field."""
    from lcm_video.cli.importing import import_file

    import_file(file, output=output, maps=map_ or [], faithful=faithful, overwrite=overwrite)
