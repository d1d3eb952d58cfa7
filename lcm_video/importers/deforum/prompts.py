"""Deforum's prompts: each holds until the next one; ``--neg`` divides what should not be seen."""

import re
from collections.abc import Mapping
from typing import Any

from lcm_video.importers.deforum.schedules import Unreadable, expression, frame
from lcm_video.importers.draft import Draft, check_size

NEGATIVE = "--neg"
COMPUTED = re.compile(r"`([^`]*)`")
"""A weight that is computed in every frame: ``(fog:`cos(t/10)`)``."""


MOST_CURVES = 100


def prompts(draft: Draft, field: str, found: Mapping[str, Any], frames: int) -> None:
    """Puts the prompts, and the negatives that change with them, at their frames."""
    before, after = (_text(draft.data.get(f"animation_prompts_{name}")) for name in ("positive", "negative"))
    after = after.replace(NEGATIVE, "")
    check_size([text for text in found.values() if isinstance(text, str)], around=len(before) + len(after) + 2)
    positive: dict[int, str] = {}
    negative: dict[int, str] = {}
    for key, text in found.items():
        try:
            at = frame(str(key).strip(), frames)
        except Unreadable as error:
            draft.drop(f"{field}.{str(key)[:20]}", str(error))
            continue
        if not isinstance(text, str) or at >= frames:
            why = f"beyond the film's {frames} frames" if isinstance(text, str) else "no text"
            draft.drop(f"{field}.{str(key)[:20]}", why)
            continue
        seen, _, unseen = text.partition(NEGATIVE)
        positive[at] = _weighed(draft, f"{before} {seen}".strip(), frames)
        negative[at] = _weighed(draft, f"{unseen.replace(NEGATIVE, '')} {after}".strip(), frames)
    travels = draft.data.get("animation_mode") == "Interpolation"
    draft.put("prompts", _keyframes(positive, travels=travels))
    held = "" if travels or len(positive) < 2 else "each holds until the next, as there"
    draft.note(field, "exact", held, becomes="prompts")
    if any(negative.values()):
        same = len({*negative.values()}) == 1
        draft.put("negative", next(iter(negative.values())) if same else _keyframes(negative, travels=travels))
        draft.note(f"{field} ({NEGATIVE})", "exact", becomes="negative")


def _keyframes(texts: Mapping[int, str], *, travels: bool) -> dict[str, Any]:
    """Texts at frames; all but the last say that they hold, unless they travel."""
    placed = sorted(texts.items())
    held = {str(at): text if travels else {"text": text, "ease": "hold"} for at, text in placed[:-1]}
    return held | {str(at): text for at, text in placed[-1:]}


def _weighed(draft: Draft, text: str, frames: int) -> str:
    """A prompt whose computed weights are named curves."""
    curves = draft.board.setdefault("curves", {}) if "`" in text else {}

    def curve(found: re.Match[str]) -> str:
        try:
            computed = expression(found[1], frames)
            if len(curves) >= MOST_CURVES:
                raise Unreadable(f"there are more than {MOST_CURVES} of these")
        except Unreadable as error:
            draft.drop(f"`{found[1][:30]}`", f"{error}; 1 takes its place")
            return "1"
        name = next((name for name, value in curves.items() if value == computed), f"weight_{len(curves) + 1}")
        if name not in curves:
            curves[name] = computed
            draft.note(f"`{found[1][:30]}`", "exact", becomes=f"curves.{name}")
        return f"@{name}"

    return COMPUTED.sub(curve, text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
