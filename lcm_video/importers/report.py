"""What became of everything that another tool's file says: the storyboard, and one finding for each of its fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Fate: TypeAlias = Literal["exact", "approximated", "ignored"]
"""exact: means the same here; approximated: means nearly the same, or differs for a reason; ignored: is left out."""


@dataclass(frozen=True)
class Finding:
    """What became of one field: how well it is kept, why not wholly, and what it is in the storyboard."""

    field: str
    fate: Fate
    reason: str = ""
    becomes: str = ""


@dataclass(frozen=True)
class Imported:
    """A file of another tool as a storyboard.

    tool: whose file it is, for people
    board: the storyboard as plain maps, lists, texts and numbers, with only what the file says
    findings: what became of every field
    comments: remarks to write beside the storyboard's fields, by dotted path
    """

    tool: str
    board: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict)

    def counts(self) -> dict[Fate, int]:
        """How many fields met each fate."""
        fates: tuple[Fate, ...] = ("exact", "approximated", "ignored")
        return {fate: sum(finding.fate == fate for finding in self.findings) for fate in fates}


def summary(imported: Imported) -> str:
    """The report in one line."""
    counts = ", ".join(f"{count} {fate}" for fate, count in imported.counts().items())
    return f"{imported.tool}: {counts}"


def lines(imported: Imported, *, exact: bool = True) -> Iterator[str]:
    """Yields the report: its summary, then every field; without ``exact`` only those that are not wholly kept."""
    yield summary(imported)
    shown = [finding for finding in imported.findings if exact or finding.fate != "exact"]
    width = max((len(finding.field) for finding in shown), default=0)
    for finding in shown:
        becomes = f"→ {finding.becomes}" if finding.becomes else ""
        told = ": ".join(filter(None, [becomes, finding.reason]))
        yield f"  {finding.fate:12}  {finding.field:{width}}  {told}".rstrip()
