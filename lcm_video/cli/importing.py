"""``lcm-video import``, and another tool's file in place of a storyboard."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lcm_video.cli.sources import refuse_existing
from lcm_video.importers import importing
from lcm_video.importers.report import Imported, lines, summary
from lcm_video.importers.writing import mapped, to_yaml


def import_file(path: Path, *, output: Path | None, maps: Sequence[str], faithful: bool, overwrite: bool) -> None:
    """Writes the storyboard to ``output``, or prints it; the report goes to the terminal."""
    if output and not overwrite:
        refuse_existing([output])
    imported = renamed(importing(path, faithful=faithful), maps)
    text = to_yaml(imported, source=path.name)
    if output is None:
        print(text, end="")
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    print("\n".join(lines(imported)), file=sys.stderr)
    if output:
        print(f"wrote {output}: lcm-video plan {output} shows what it says", file=sys.stderr)


def renamed(imported: Imported, maps: Sequence[str]) -> Imported:
    """What was imported, with model files renamed."""
    return replace(imported, board=mapped(imported.board, maps)) if maps else imported


def storyboard_text(path: Path) -> str:
    """The storyboard of another tool's file as text, for commands that take one; tells shortly what is not kept."""
    imported = importing(path)
    print(summary(imported), file=sys.stderr)
    print(f"  lcm-video import {path} shows what became of each field", file=sys.stderr)
    return to_yaml(imported, source=path.name)
