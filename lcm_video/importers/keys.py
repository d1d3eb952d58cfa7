"""What schedules of other tools have in common: texts and numbers at frames, written into a storyboard."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lcm_video.errors import StoryboardError
from lcm_video.timeline.arithmetic import Now
from lcm_video.timeline.expressions import parse

MAX_CHARACTERS = 1_000_000
MAX_FRAMES = 100_000
MAX_KEYS = 5_000


class Key(NamedTuple):
    """A text at a frame; ``hold`` stays with it until the next key."""

    text: str
    hold: bool = False


Keys = dict[int, Key]


def board_prompts(keys: Mapping[int, Key]) -> dict[str, Any]:
    """Keys as a storyboard's prompts; where nothing ever changes, one at the beginning."""
    ordered = dict(sorted(keys.items()))
    if len({key.text for key in ordered.values()}) == 1:
        return {"0": next(iter(ordered.values())).text}
    return {
        str(frame): {"text": key.text, "ease": "hold"} if key.hold and frame != max(ordered) else key.text
        for frame, key in ordered.items()
    }


def board_negative(keys: Mapping[int, Key]) -> Any:
    """Keys as a storyboard's negative: a text where nothing changes, "" where there is none."""
    prompts = board_prompts(keys) if keys else {"0": ""}
    return prompts["0"] if list(prompts) == ["0"] else prompts


def computed(expression: str, variables: Mapping[str, float]) -> float:
    """The value of an expression over variables by name. Raises StoryboardError for what is none."""
    parsed = parse(filled(expression, variables))
    if parsed.curves:  # a name of ours, not of the tool's
        message = f"@{next(iter(parsed.curves))} is no number in {expression[:60]!r}"
        raise StoryboardError(message, remedy="write the number")
    return parsed.at(Now(0.0, 0.0, 1.0, 8.0, {}))


def filled(expression: str, variables: Mapping[str, float]) -> str:
    """The expression with variables replaced by numbers, whole names only: ``sqrt(t/max_f)`` keeps its ``sqrt``.

    >>> filled("sqrt(t/max_f)", {"max_f": 15.0})
    'sqrt(t/15)'
    """
    known = {
        name: plain_number(value) if value >= 0 else f"({plain_number(value)})" for name, value in variables.items()
    }
    return re.sub(r"[A-Za-z_][A-Za-z0-9_]*", lambda found: known.get(found[0], found[0]), expression).strip()


def is_computable(expression: str, variables: Mapping[str, float]) -> bool:
    """Whether an expression has a value."""
    try:
        computed(expression, variables)
    except StoryboardError:
        return False
    return True


def plain_number(value: float) -> str:
    """A number as FizzNodes writes it into a prompt."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
