"""AnimateDiff-Evolved's prompt scheduling: ``0 = "a fox", 8: = "a hare", 1. = "a bear"``, or the same as JSON.

A key with a point is a share of the film, ``8:`` holds until the next key, ``0:8`` holds for a range, ``-1`` counts
from the end. Between keys the weights are linear, as that tool prints them; what it draws is not (every frame starts
from the one before it, which is blended already), and that is not repeated.
"""

import re
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.importers.document import Document
from lcm_video.importers.keys import MAX_KEYS, Key, Keys, board_prompts
from lcm_video.importers.report import Finding, Imported

TOOL = "AnimateDiff-Evolved prompt schedule"

KEY = r"[0-9:.\-]{1,40}"
PYTHONIC = re.compile(rf'\s*(?P<key>{KEY})\s*=\s*"(?P<text>[^"]*)"\s*,?', re.DOTALL)
JSON = re.compile(rf'\s*"(?P<key>{KEY})"\s*:\s*"(?P<text>[^"]*)"\s*,?', re.DOTALL)
UNUSUAL = re.compile(r"[.:]|^-")
COMPOUNDS = (
    "that tool blends into what it has blended already, so prompts arrive early there; here the weights it prints"
)


def recognises(document: Document) -> bool:
    """Whether this is such a schedule; one in JSON with whole frames only is read the same by FizzNodes' module."""
    found = _entries(document.text)
    pythonic = found is not None and PYTHONIC.match(document.text) is not None
    return pythonic or (bool(found) and any(UNUSUAL.search(key) for key, _ in found or []))


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The prompts of a schedule by itself; its length is that of the storyboard, or up to its last key."""
    keys = schedule(document.text, frames=0)
    board: dict[str, Any] = {"prompts": board_prompts(keys)}
    findings = [Finding("prompts", "approximated", COMPOUNDS, f"{len(keys)} keyframes")]
    if any("." in key or key.startswith("-") for key, _ in _entries(document.text) or []):
        board["video"] = {"frames": max(keys) + 1}
        findings.append(
            Finding("length", "approximated", "the schedule does not say it", f"video.frames: {max(keys) + 1}")
        )
    return Imported(TOOL, board, tuple(findings))


def schedule(text: str, *, frames: int, before: str = "", after: str = "") -> Keys:
    """Prompts by frame; with ``frames`` 0 the film ends at the last key, shares counting over 16 frames.

    Raises StoryboardError, saying where, for a text that is no such schedule and for keys before the first frame.
    """
    entries = _entries(text)
    if not entries:
        shown = " ".join(text.split())[:60]
        raise StoryboardError(f"this is no prompt schedule: {shown!r}", remedy='write 0 = "a fox", 8 = "a hare"')
    length = frames or 1 + max((int(key) for key, _ in entries if key.isdigit()), default=15)
    keys: Keys = {}
    for key, prompt in entries[:MAX_KEYS]:
        whole = joined(before, prompt, after)
        begin, colon, end = key.partition(":")
        first = _frame(begin or "0", length, key)
        keys[first] = Key(whole, hold=bool(colon))
        if end:
            last = max(_frame(end, length, key) - 1, first)
            keys[last] = Key(whole)
    return dict(sorted(keys.items()))


def joined(before: str, prompt: str, after: str) -> str:
    """The three texts with one comma between neighbours."""
    parts = [part.strip().strip(",").strip() for part in (before, prompt, after)]
    return ", ".join(part for part in parts if part)


def _frame(key: str, length: int, whole: str) -> int:
    try:
        number = float(key)
    except ValueError:
        raise StoryboardError(
            f"the schedule's key {whole!r} is no frame", remedy="write 8, 0.5, -1, 8: or 0:8"
        ) from None
    if "." in key:
        share = min(max(number, -1.0), 1.0)
        frame = min(int(share * length), length - 1) if share >= 0 else length + int(share * length)
    else:
        frame = int(number) if number >= 0 else length + int(number)
    if not 0 <= frame <= 10**7:
        raise StoryboardError(f"the schedule's key {whole!r} is frame {frame}", remedy="the first frame is 0")
    return frame


def _entries(text: str) -> list[tuple[str, str]] | None:
    """Keys and texts; None for what is no such schedule."""
    body = text.strip()
    if body[:1] == "{" and body[-1:] == "}":
        body = body[1:-1].strip()
    pattern = PYTHONIC if PYTHONIC.match(body) else JSON
    at, found = 0, []
    while match := pattern.match(body, at):
        found.append((match["key"], match["text"]))
        at = match.end()
    return None if body[at:].strip(" ,\n") or not found else found
