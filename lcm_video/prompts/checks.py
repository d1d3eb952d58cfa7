"""What is wrong with a prompt as it is written, found before anything is drawn or loaded. No torch."""

import re
from collections.abc import Collection, Iterator

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.prompts import directives, wildcards
from lcm_video.prompts.emphasis import READINGS
from lcm_video.prompts.scripts import WEIGHT, weighed
from lcm_video.timeline import ExpressionError

AND = re.compile(r"(?<![\\\w])AND(?!\w)")
REMEDIES = {
    "AND": "mix prompts over time (prompts: {0: …, 2s: …}) or weigh their words: (fox:1.2); literally it is \\AND",
    "lora": "call it in prompts: a LoRA acts on the whole picture, and so on both",
}


def faults(prompt: str, *, reading: str, curves: Collection[str], negative: bool) -> Iterator[ExpressionError]:
    """Yields what is wrong, each at its column; ``reading`` is whose brackets the prompt has."""
    if reading == "a1111" and (found := AND.search(prompt)):
        message = "AND, which draws two prompts on top of each other, costs a UNet call for each and is not supported"
        yield ExpressionError(message, remedy=REMEDIES["AND"], column=found.start())
    for match in WEIGHT.finditer(prompt):
        if (name := match["curve"]) not in curves:
            remedy = did_you_mean(name, curves) if curves else f"write curves: {{{name}: {{0: 0, 2s: 1.2}}}}"
            yield ExpressionError(f"there is no curve {name!r}", remedy=remedy, column=match.start("curve"))
    if negative and (called := directives.names(prompt)):
        message = f"the negative prompt calls the LoRA {called[0][0]!r}"
        yield ExpressionError(message, remedy=REMEDIES["lora"], column=called[0][1])
    plain = weighed(prompt, dict.fromkeys((match["curve"] for match in WEIGHT.finditer(prompt)), 1.0))
    try:
        text, _ = directives.strengths(plain)
        READINGS[reading](text)
    except StoryboardError as error:
        place = _place(prompt, error.message)
        yield ExpressionError(error.message, remedy=error.remedy, column=place)


def _place(prompt: str, message: str) -> int:
    """Where the text that a message begins with stands."""
    first = message.split(" ")[0]
    return max(prompt.find(first), 0) if len(first) > 1 else 0


def unknown_wildcards(prompt: str, known: Collection[str]) -> Iterator[ExpressionError]:
    """Yields the wildcards that do not exist."""
    for name, column in wildcards.called(prompt):
        if name not in known:
            near = f"{did_you_mean(name, known)}; " if known else ""
            remedy = f"{near}put {name}.txt into the folder wildcards beside the storyboard; literally it is \\__"
            yield ExpressionError(f"there is no wildcard __{name}__", remedy=remedy, column=column)
