"""``<lora:name:strength>``: what a prompt says to the model, read out of its text. Needs no torch.

    directive = "<lora:" name [ ":" number [ ":" number ] ] ">"
    name      = any signs but : < >

One number is the LoRA's strength, two are its strength in the text encoder and in the UNet, none is 1. A LoRA named
twice acts with the sum.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from lcm_video.errors import StoryboardError

DIRECTIVE = re.compile(r"(?<!(?<!\\)\\)<lora:(?P<name>[^:<>\n]+)(?P<rest>(?::[^:<>\n]*)*)>", re.IGNORECASE)
NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)\s*")
ESCAPED = re.compile(r"(?<!\\)\\<(?=lora:)", re.IGNORECASE)
LIMIT = 10
HOW_TO_WRITE_IT = "write <lora:name:0.8>, or <lora:name:0.5:0.8> for text encoder and UNet"


class Amount(NamedTuple):
    """How strongly a LoRA acts in the text encoder and in the UNet; 1 as it was trained."""

    text: float
    unet: float


class Call(NamedTuple):
    """One directive, and where it begins in its prompt."""

    name: str
    amount: Amount
    offset: int


def calls(prompt: str) -> Iterator[Call]:
    """Yields every directive. Raises StoryboardError for a strength that is none."""
    for match in DIRECTIVE.finditer(prompt):
        yield Call(match["name"].strip(), _amount(match), match.start())


def names(prompt: str) -> list[tuple[str, int]]:
    """The names of called LoRAs, each with its directive's offset, whatever their strengths are."""
    return [(match["name"].strip(), match.start()) for match in DIRECTIVE.finditer(prompt)]


def _amount(match: re.Match[str]) -> Amount:
    numbers = match["rest"].split(":")[1:]
    if len(numbers) > 2 or not all(NUMBER.fullmatch(number) for number in numbers):
        raise StoryboardError(f"{match[0][:60]} has no strength that is a number", remedy=HOW_TO_WRITE_IT)
    amount = Amount(float(numbers[0]), float(numbers[-1])) if numbers else Amount(1.0, 1.0)
    if max(map(abs, amount)) > LIMIT:
        raise StoryboardError(f"{match[0][:60]} is too strong", remedy=f"choose from -{LIMIT} to {LIMIT}")
    return amount


def removed(prompt: str) -> str:
    """The prompt without its directives."""
    return DIRECTIVE.sub("", prompt) if "<" in prompt else prompt


def strengths(prompt: str) -> tuple[str, dict[str, Amount]]:
    r"""The prompt without its directives, and how strongly each LoRA acts; ``\<lora:`` is the plain text ``<lora:``."""
    found: dict[str, Amount] = {}
    if "<" not in prompt:
        return prompt, found
    for name, amount, _ in calls(prompt):
        text, unet = found.get(name, Amount(0.0, 0.0))
        found[name] = Amount(text + amount.text, unet + amount.unet)
    return ESCAPED.sub("<", removed(prompt)), found


def written(acting: Mapping[str, float]) -> str:
    """Directives that say how strongly LoRAs act in the text encoder."""
    return "".join(f"<lora:{name}:{Decimal(repr(float(amount))):f}:0>" for name, amount in acting.items())
