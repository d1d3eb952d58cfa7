"""FizzNodes' schedules: ``"0": "a fox", "max_f/2": "a hare --neg blurry"``, and numbers, ``0:(0.5), 8:(1)``.

Weights are linear between keys, the first key holds before it, the last one after it: as here. What FizzNodes does
wrong (variables replaced within names, a final 0 dropped) is not repeated.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lcm_video.errors import StoryboardError
from lcm_video.importers.document import Document
from lcm_video.importers.keys import (
    MAX_CHARACTERS,
    MAX_FRAMES,
    MAX_KEYS,
    Key,
    Keys,
    board_negative,
    board_prompts,
    computed,
    filled,
    is_computable,
    plain_number,
)  # fmt: skip
from lcm_video.importers.report import Finding, Imported

TOOL = "FizzNodes schedule"

ENTRY = re.compile(
    r'\s*(?P<quote>["“”\']?)(?P<key>[^"“”\':,{}]{1,200})["“”\']?\s*:\s*'
    r'(?:"(?P<text>(?:[^"\\]|\\.)*)"|“(?P<smart>[^”]*)”|\'(?P<single>[^\']*)\')\s*(?P<comma>,*)',
    re.DOTALL,
)
NUMBER = re.compile(
    r'\s*"?(?P<key>[^":,()]{1,200})"?\s*[:=]\s*(?:\((?P<inner>[^:]{1,500})\)|(?P<bare>[-+0-9.eE]+))\s*(?:,|\Z)'
)
INLINE = re.compile(r"`([^`]*)`")
WEIGHT = re.compile(r":\s*`([^`]*)`(?=\s*\))")
VARYING = re.compile(r"\bt\b")


class Schedule(NamedTuple):
    """What a schedule's text says: prompts and negatives by frame, the curves that they call as ``@name``, and what
    had to be mended or worked out."""

    positive: Keys
    negative: Keys
    curves: Mapping[str, str]
    notes: tuple[str, ...] = ()


def recognises(document: Document) -> bool:
    """Whether this is a schedule of prompts or of numbers, and nothing else."""
    entries = _entries(document.text)
    if entries is not None:
        return bool(entries[0]) and all(is_computable(key, {"max_f": 120.0}) for key, _ in entries[0])
    return bool(_numbers(document.text))


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The prompts of a schedule by itself; its length and all else are left to the storyboard."""
    if _entries(document.text) is None:
        points = ", ".join(f"{key}: {value}" for key, value in _numbers(document.text)[:4])
        raise StoryboardError(
            f"{document.name} is a schedule of numbers, not of prompts",
            remedy=f"write it where the numbers belong, for example sampling: {{guidance: {{{points}}}}}",
        )
    found = schedule(document.text, frames=120)
    board: dict[str, Any] = {"prompts": board_prompts(found.positive)}
    if any(key.text for key in found.negative.values()):
        board["negative"] = board_negative(found.negative)
    if found.curves:
        board["curves"] = dict(found.curves)
    told = "; ".join(found.notes)
    findings = [Finding("prompts", "approximated" if told else "exact", told, f"{len(found.positive)} keyframes")]
    if "max_f" in document.text:
        findings.append(Finding("max_f", "approximated", "the schedule does not say its length", "120 frames"))
    return Imported(TOOL, board, tuple(findings))


def schedule(
    text: str,
    *,
    frames: int,
    before: str = "",
    after: str = "",
    weights: Mapping[str, float] | None = None,
    curve: str = "weight",
) -> Schedule:
    """Prompts by frame. ``before`` and ``after`` are FizzNodes' pre_text and app_text, ``weights`` its pw_a to pw_d.

    Weights that change with the frame become curves, called ``curve`` and a number.

    Raises StoryboardError, saying where, for a text that is no schedule and for keys that are no frames.
    """
    entries = _entries(text)
    if not entries or not entries[0]:
        shown = " ".join(text.split())[:60]
        raise StoryboardError(
            f"this is no schedule: {shown!r}", remedy='write "0": "a fox", "8": "a hare", with a comma between entries'
        )
    pairs, mended = entries
    notes = [mended] if mended else []
    frames = min(max(frames, 1), MAX_FRAMES)
    placed: dict[int, str] = {}
    for key, prompt in pairs[:MAX_KEYS]:
        placed[_frame(key, frames)] = prompt
    known = {"max_f": float(frames - 1), **dict.fromkeys(("pw_a", "pw_b", "pw_c", "pw_d"), 0.0), **(weights or {})}
    curves = _Curves(curve, known)
    before, after = curves.named(before), curves.named(after)
    placed = {frame: curves.named(prompt) for frame, prompt in placed.items()}
    positive, negative = {}, {}
    if any(_varies(prompt) for prompt in placed.values()) or _varies(before + after):
        notes.append("a text that changes with the frame is written out, frame by frame, without its travel")
        placed = _written_out(placed, frames)
    for frame, prompt in sorted(placed.items()):
        good, bad = _joined(prompt, before, after)
        here = {**known, "t": float(frame)}
        positive[frame], negative[frame] = Key(_evaluated(good, here).strip()), Key(_evaluated(bad, here).strip())
    if any(key.text.endswith("0") for key in positive.values()):
        notes.append("FizzNodes drops the 0 at a prompt's end; it is kept here")
    return Schedule(positive, negative, {name: text for text, name in curves.names.items()}, tuple(notes))


class _Curves:
    """Names for the weights that change with the frame, equal ones once."""

    def __init__(self, prefix: str, known: Mapping[str, float]) -> None:
        self.prefix, self.known = prefix, known
        self.names: dict[str, str] = {}

    def named(self, prompt: str) -> str:
        """The prompt with ``:`expression` `` as ``:@name``."""
        return WEIGHT.sub(self._name, prompt)

    def _name(self, found: re.Match) -> str:
        if not VARYING.search(found[1]):
            return found[0]
        computed(found[1], {**self.known, "t": 0.5})  # raises for what is no expression
        name = self.names.setdefault(filled(found[1], self.known), f"{self.prefix}_{len(self.names) + 1}")
        return f":@{name}"


def number_schedule(text: str, *, frames: int) -> dict[str, float]:
    """Numbers by frame; expressions of t are written out for their frames. Empty for a text that is none."""
    pairs = [(key.rstrip(":"), value) for key, value in _numbers(text)[:MAX_KEYS]]
    frames = min(max(frames, 1), MAX_FRAMES)
    last = {"max_f": float(frames - 1)}
    try:
        placed = sorted((_place(key, frames, last), value) for key, value in pairs)
        found: dict[str, float] = {}
        for number, (frame, value) in enumerate(placed):
            end = placed[number + 1][0] if number + 1 < len(placed) else frames
            end = min(max(end, frame + 1), frame + MAX_FRAMES)
            for at in range(frame, end) if VARYING.search(value) else (frame,):
                found[str(at)] = computed(value, {**last, "t": float(at)})
            if len(found) > MAX_FRAMES:
                return {}
    except StoryboardError:
        return {}
    return found


def _place(key: str, frames: int, known: Mapping[str, float]) -> int:
    """The frame of a number: a fraction with a point is a share of the length, as AnimateDiff-Evolved counts."""
    if re.fullmatch(r"[0-9]*\.[0-9]*", key) and key != ".":
        return min(int(float(key) * frames), frames - 1)
    return max(0, int(computed(key, known)))


def _frame(key: str, frames: int) -> int:
    value = computed(key, {"max_f": float(frames)})
    if not 0 <= value <= 10**7:
        raise StoryboardError(f"the schedule's key {key[:40]!r} is frame {value:g}", remedy="the first frame is 0")
    return int(value)


def _entries(text: str) -> tuple[list[tuple[str, str]], str] | None:
    """Keys and texts, the last of equal keys, and what had to be mended; None for what is no schedule."""
    # FizzNodes deletes line breaks, also within prompts.
    body = text.replace("\n", "").replace("\r", "").strip()
    body = body[1:-1] if body[:1] == "{" and body[-1:] == "}" else body
    at, found, mended = 0, {}, set()
    while match := ENTRY.match(body, at):
        given = match["text"]
        if given is None:
            mended.add("quotes of another kind")
            given = (match["smart"] or match["single"] or "").replace('"', '\\"')
        if match["quote"] != '"':
            mended.add("keys without quotes")
        at = match.end()
        if not match["comma"] and at < len(body):
            mended.add("missing commas")
        found.pop(match["key"].strip(), None)
        found[match["key"].strip()] = _unescaped(given)
    if body[at:].strip(" ,;"):
        return None
    return [*found.items()], f"mended: {', '.join(sorted(mended))}" if mended else ""


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _numbers(text: str) -> list[tuple[str, str]]:
    """Keys and expressions of a schedule of numbers; none for another text."""
    body, at, found = text.strip(), 0, []
    while match := NUMBER.match(body, at):
        found.append((match["key"].strip(), match["inner"] or match["bare"]))
        at = match.end()
    return [] if body[at:].strip(" ,\n") else found


def _joined(prompt: str, before: str, after: str) -> tuple[str, str]:
    """The whole prompt and negative: each of the three texts may hold its own ``--neg``."""
    parts = [part.partition("--neg") for part in (before, prompt, after)]
    return " ".join(good for good, _, _ in parts), " ".join(bad.replace("--neg", " ") for _, _, bad in parts)


def _varies(text: str) -> bool:
    return any(map(VARYING.search, INLINE.findall(text)))


def _written_out(placed: Mapping[int, str], frames: int) -> dict[int, str]:
    """A key for every frame, each with the text that counts there. Raises StoryboardError where that is too much."""
    keys, out = sorted(placed), {}
    for number, frame in enumerate(keys):
        end = max(keys[number + 1] if number + 1 < len(keys) else frames, frame + 1)
        begin = 0 if number == 0 else frame
        if (len(out) + end - begin) * max(map(len, placed.values())) > MAX_CHARACTERS:
            message = (
                f"a text changes with the frame: written out, the prompts have more than {MAX_CHARACTERS} characters"
            )
            raise StoryboardError(message, remedy="let a weight change instead, as in (smile:`sin(t/8)`)")
        out.update(dict.fromkeys(range(begin, end), placed[frame]))
    return out


def _evaluated(text: str, known: Mapping[str, float]) -> str:
    return INLINE.sub(lambda found: plain_number(computed(found[1], known)), text)
