"""Numbers, seeds and frames as other tools write them, brought to what a storyboard takes."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lcm_video.timeline.moments import FURTHEST

LARGEST_SEED = 2**63 - 1

MOST_LCM_STEPS = 50
USUAL_LENGTH = 16
"""Frames that these tools render unless they are told otherwise."""

RANGES: dict[str, tuple[float, float]] = {
    "freeinit.rounds": (0, 10),
    "freeinit.space": (0.01, 1),
    "freeinit.time": (0.01, 1),
    "model.clip_skip": (1, 12),
    "model.motion_scale": (0, 10),
    "output.quality": (0, 51),
    "runtime.window_batch": (1, 64),
    "sampling.guidance": (0, 30),
    "sampling.steps": (1, 1000),
    "start.strength": (0, 1),
    "video.fps": (0.01, 240),
    "video.frames": (1, 1_000_000),
    "video.height": (64, 8192),
    "video.width": (64, 8192),
    "windows.length": (1, 1024),
    "windows.overlap": (0, 1023),
    "windows.stride": (1, 8),
}
"""What a storyboard takes; numbers beyond are brought to the nearest end, and the report says so."""

WHOLE = {
    "freeinit.rounds", "model.clip_skip", "output.quality", "runtime.window_batch", "sampling.steps", "video.frames",
    "video.height", "video.width", "windows.length", "windows.overlap", "windows.stride",
}  # fmt: skip

SCALES = (-10.0, 10.0)
"""How strong a LoRA may be."""


def number(value: Any, default: float | None = None) -> float | None:
    """A finite number as JSON, YAML or a text writes it; ``default`` for all else. Whole ones are ints."""
    if isinstance(value, str) and len(value) < 50:
        try:
            value = int(value) if re.fullmatch(r"\s*[-+]?[0-9]+\s*", value) else float(value)
        except ValueError:
            return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    if isinstance(value, int):
        return value if abs(value) < 2**64 else default
    if not math.isfinite(value):
        return default
    return int(value) if value == int(value) and abs(value) < 2**64 else value


def fit(value: float, path: str) -> tuple[float, str]:
    """A number as the storyboard's field at ``path`` takes it, and why it is another one."""
    if path in WHOLE and value != int(value):
        value = round(value)
        return fit(value, path)[0], "this takes whole numbers"
    if path in ("video.width", "video.height") and 64 <= value <= 8192 and value % 8:
        return int(value // 8 * 8), f"{value:g} is not a multiple of 8"
    return within(value, *RANGES[path])


def within(value: float, low: float, high: float) -> tuple[float, str]:
    """The number nearest to ``value`` from ``low`` to ``high``, and why it is another one."""
    if low <= value <= high:
        return value, ""
    return min(max(value, low), high), f"{value:g} is not between {low:g} and {high:g}"


def seed(value: Any) -> tuple[int | None, str]:
    """A seed as a storyboard takes it, and why it is another one; None, with the reason, if it is none."""
    found = number(value)
    if found is None or found != int(found) or found >= 2**64:
        return None, f"{shown(value)} is no seed"
    if found < 0:
        return 0, "a random seed there; here a film is the same every time, and this chooses another"
    if found > LARGEST_SEED:
        return int(found) - LARGEST_SEED - 1, f"{found} is larger than seeds are here"
    return int(found), ""


def frame(key: Any) -> int | None:
    """A frame's number as files write it; None for what is none, or lies where no film reaches."""
    found = number(key)
    return int(found) if found is not None and found == int(found) and 0 <= found <= FURTHEST else None


def guessed_length(times: Sequence[int]) -> int:
    """How long a film probably is whose file does not say: its last prompt has the time that the one before had.

    >>> guessed_length([0, 32, 64]), guessed_length([0]), guessed_length([0, 4])
    (96, 16, 16)
    """
    times = sorted(times)
    end = 2 * times[-1] - times[-2] if len(times) > 1 else max(times, default=0) + 1
    return min(max(USUAL_LENGTH, end), int(RANGES["video.frames"][1]))


def shown(value: Any) -> str:
    """A value for messages, cut to a length that can be read."""
    if isinstance(value, Mapping | list):
        return "a map" if isinstance(value, Mapping) else "a list"
    text = repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 40 else f"{text[:39]}…"
