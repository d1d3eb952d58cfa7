"""A text encoder that remembers: films that share prompts have each of them encoded once."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lcm_video.prompts import directives
from lcm_video.types import Encoding, TextEncoder

CAPACITY = 256
"""Prompts that are remembered: of SD 1.5, a quarter of a megabyte for each 75 words."""


class Remembering:
    """``text``, asked for each distinct prompt once as long as no more than ``capacity`` others come between.

    Prompts are encoded one by one, and made equally long as `prompts.text.Text` does it, with encodings of nothing
    under the same LoRAs: what comes out is the same, bit for bit.
    """

    def __init__(self, text: TextEncoder, *, capacity: int = CAPACITY) -> None:
        self.text, self.capacity = text, capacity
        self.known: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    @property
    def loras(self) -> frozenset[str]:
        """The LoRAs that act on the text encoders as strongly as prompts say."""
        return getattr(self.text, "loras", frozenset())

    def __call__(self, prompts: Sequence[str], /) -> Encoding:
        """The encodings of ``prompts``, as ``text`` gives them."""
        rows = [self._encoded(prompt) for prompt in prompts]
        longest = max((len(row["tokens"]) for row in rows), default=0)
        tokens = [self._filled(prompt, row["tokens"], longest) for prompt, row in zip(prompts, rows, strict=True)]
        if not rows:
            return self.text(prompts)
        others = {name: torch.stack([row[name] for row in rows]) for name in rows[0] if name != "tokens"}
        return {"tokens": torch.stack(tokens), **others}

    @property
    def on_demand(self) -> Any:
        """As ``text`` has it, for more prompts than there is room for: those of one film, which others hardly share."""
        return getattr(self.text, "on_demand", None)

    def _encoded(self, prompt: str) -> dict[str, Tensor]:
        if prompt not in self.known:
            self.known[prompt] = {name: rows[0] for name, rows in self.text([prompt]).items()}
            while len(self.known) > self.capacity:
                self.known.popitem(last=False)
        else:
            self.known.move_to_end(prompt)
        return self.known[prompt]

    def _filled(self, prompt: str, tokens: Tensor, longest: int) -> Tensor:
        """A prompt's tokens and then those of nothing, ``longest`` in all."""
        if len(tokens) == longest:
            return tokens
        _, acting = directives.strengths(prompt)
        nothing = self._encoded(directives.written({name: amount.text for name, amount in acting.items()}))["tokens"]
        return torch.cat([tokens, *[nothing] * ((longest - len(tokens)) // len(nothing))])
