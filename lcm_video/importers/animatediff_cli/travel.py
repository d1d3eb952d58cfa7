"""Prompt travel of animatediff-cli-prompt-travel: which prompt stands at which frame."""

from collections.abc import Mapping
from typing import Any

from lcm_video.importers.values import frame


def keyframes(prompts: Mapping[int, str], *, hold: float, frames: int, wraps: bool) -> dict[int, str]:
    """Prompts by frame, in film order, each written again where it has been held long enough.

    A prompt holds for the share ``hold`` (0..1) of the way to the next one, and travels the rest. Prompts beyond the
    film's end are left out. If the film ``wraps``, its last prompt travels back to the first; else it holds.
    """
    times = sorted(at for at in prompts if at < frames)
    placed: dict[int, str] = {}
    for at, following in zip(times, [*times[1:], frames][: len(times)], strict=True):
        placed[at] = prompts[at]
        if hold and (wraps or following < frames):
            until = min(at + round((following - at) * hold), following - 1)
            placed[until] = prompts[at]
    return placed


def joined(head: str, text: str, tail: str) -> str:
    """A prompt with what stands before and after every prompt; the tool puts commas between, and no spaces."""
    return "".join([f"{head}," if head else "", text, f",{tail}" if tail else ""])


def by_frame(prompts: Mapping[Any, Any]) -> tuple[dict[int, str], list[str]]:
    """The prompts by frame, and the keys that are no frames or hold no text."""
    placed: dict[int, str] = {}
    strange: list[str] = []
    for key, text in prompts.items():
        at = frame(key)
        if at is None or not isinstance(text, str):
            strange.append(str(key)[:40])
        else:
            placed[at] = text
    return placed, strange
