"""Prompt travel as sd-webui-animatediff reads it out of the prompt.

    a head for all frames
    0: a fox in spring
    16: a fox in winter
    a tail for all frames

The extension wants exactly ``N: text``, line after line: at ``0:fox``, or a line left blank between two frames, it
silently stops reading. Here both are read as meant, unless it is asked to read as the extension does.
"""

import re
from dataclasses import dataclass

from lcm_video.importers.draft import check_size

EXACT = re.compile(r"([0-9]{1,12}): (.+)")
MEANT = re.compile(r"[ \t]*([0-9]{1,12})[ \t]*:[ \t]?(.*)")
BEGINS = re.compile(r"[0-9]+:")


@dataclass(frozen=True)
class Travel:
    """Prompts by frame, each with head and tail, in film order; what the extension reads otherwise, in ``notes``."""

    prompts: dict[int, str]
    notes: tuple[str, ...] = ()


def travel(text: str, *, as_coded: bool = False) -> Travel | None:
    """The prompts of a text with prompt travel; None for one without.

    With ``as_coded``, it is read as the extension does. Raises StoryboardError for more text than a film may have.
    """
    lines = text.strip().split("\n")
    first = next((at for at, line in enumerate(lines) if (BEGINS.match if as_coded else _is_meant)(line)), len(lines))
    last = first
    placed: list[tuple[int, str]] = []
    notes: list[str] = []
    while last < len(lines):
        if exact := EXACT.fullmatch(lines[last]):
            placed.append((int(exact[1]), exact[2]))
        elif as_coded:
            break
        elif _is_meant(lines[last]):
            meant = MEANT.fullmatch(lines[last])
            placed.append((int(meant[1]), meant[2]) if meant else (0, ""))
            notes.append(f"{lines[last].strip()[:30]!r}: the extension stops reading here, since it is not 'N: text'")
        elif not lines[last].strip() and any(map(_is_meant, lines[last + 1 : last + 2])):
            notes.append("the extension stops reading at the blank line between two frames")
        else:
            break
        last += 1
    if not placed:
        return None
    return _together(placed, ", ".join(lines[:first]), ", ".join(lines[last:]), notes)


def _is_meant(line: str) -> bool:
    return MEANT.fullmatch(line) is not None


def _together(placed: list[tuple[int, str]], head: str, tail: str, notes: list[str]) -> Travel:
    """Head, prompt and tail joined by commas, also where one of them is empty, as the extension does."""
    check_size([text for _, text in placed], around=len(head) + len(tail) + 4)
    prompts = {at: f"{head}, {text}, {tail}" for at, text in placed}
    if len(prompts) < len(placed):
        notes.append("a frame stands there twice: the last one counts")
    if [*prompts] != sorted(prompts):
        notes.append("frames are not in order: the extension refuses that")
    return Travel(dict(sorted(prompts.items())), tuple(dict.fromkeys(notes)))
