"""Keys and values of prompts for every cross-attention, worked out once per film instead of per frame and step.

Keys and values are linear in the encoding, and so is travel: the keys of a mixed prompt are the mixed keys of its two
prompts. So one row for each keyframe is projected, and frames between mix what their keyframes have.

What it saves: 1.2 % of the products at 256 × 256, 4.5 % at 128 × 128 (SD 1.5); rounding 3e-7.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from threading import Lock
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lcm_video.models.fast.linears import Linear
from lcm_video.types import Encoding

ROOM = 256 * 2**20
"""Bytes for the keys and values of prompts: 33 prompts of SD 1.5 in float32. Beyond, the longest unused are dropped."""


@dataclass(frozen=True)
class KeysAndValues:
    """The keys and values of frames, each of which is between two prompts.

    rows: by prompt, by place of a layer: (tokens, keys and values side by side)
    between: by frame, the numbers of its prompts, which may be the same
    shares: (frames, 2), how much it has of each
    """

    rows: Sequence[Sequence[Tensor]]
    between: Sequence[tuple[int, int]]
    shares: Tensor

    def __call__(self, place: int) -> Tensor:
        """A layer's: (frames, tokens, keys and values), or as one frame's if all have the same."""
        rows = [row[place] for row in self.rows]
        if any(left != right for left, right in self.between):
            # One product, which also gathers them.
            return (self._parts.to(rows[0]) @ torch.stack(rows).flatten(1)).unflatten(1, rows[0].shape)
        if len({*self.between}) == 1:
            return rows[self.between[0][0]][None]
        return torch.stack([rows[left] for left, _ in self.between])

    @cached_property
    def numbers(self) -> Tensor:
        """``between`` as a tensor (frames, 2)."""
        return torch.tensor(self.between)

    @cached_property
    def _parts(self) -> Tensor:
        """How much frames have of all prompts."""
        return torch.zeros(len(self.between), len(self.rows)).scatter_add_(1, self.numbers, self.shares)


@runtime_checkable
class Travelling(Protocol):
    """An encoding that knows which prompts its frames lie between (see `conditioning.Travelled`)."""

    @property
    def rows(self) -> Encoding: ...
    @property
    def left(self) -> tuple[int, ...]: ...
    @property
    def right(self) -> tuple[int, ...]: ...

    def weights(self, name: str, /) -> tuple[Tensor, Tensor]: ...


class Keyframes:
    """Remembers the keys and values of prompts by their content; any number of threads may ask."""

    def __init__(self, layers: Sequence[Linear], dtype: torch.dtype, *, room: int = ROOM) -> None:
        self.layers, self.dtype, self.room = layers, dtype, room
        self._known: OrderedDict[bytes, list[Tensor]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, encoding: Encoding) -> KeysAndValues:
        """Keys and values of the encoding's frames."""
        if not isinstance(encoding, Travelling):
            own = range(len(encoding["tokens"]))
            return self._between(encoding["tokens"], own, own, halves(len(own)))
        left, right = encoding.left, encoding.right
        # Working out shares looks at every frame's tokens.
        shares = halves(len(left)) if left == right else torch.stack([*encoding.weights("tokens")], 1).cpu()
        return self._between(encoding.rows["tokens"], left, right, shares)

    def _between(self, tokens: Tensor, left: Sequence[int], right: Sequence[int], shares: Tensor) -> KeysAndValues:
        """Of frames between prompts; those of the same content are one."""
        used = sorted({*left, *right})
        rows, numbers = self._of([tokens[place] for place in used])
        number = dict(zip(used, numbers, strict=True))
        between = [(number[one], number[other]) for one, other in zip(left, right, strict=True)]
        return KeysAndValues(rows, between, shares.float())

    def _of(self, prompts: Sequence[Tensor]) -> tuple[list[list[Tensor]], list[int]]:
        """Keys and values by place of all that differ among prompts (tokens, features), and for each prompt which."""
        names = [sha256(prompt.contiguous().view(torch.uint8).numpy().data).digest() for prompt in prompts]
        found: dict[bytes, list[Tensor]] = {}
        for name, prompt in zip(names, prompts, strict=True):
            if name not in found:
                found[name] = self._remembered(name) or self._learn(name, prompt)
        numbers = {name: number for number, name in enumerate(found)}
        return [*found.values()], [numbers[name] for name in names]

    def _remembered(self, name: bytes) -> list[Tensor] | None:
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
            return self._known.get(name)

    def _learn(self, name: bytes, prompt: Tensor) -> list[Tensor]:
        # Each prompt alone: its rounding must not depend on which others a film, or a part of it, has.
        rows = prompt.to(self.dtype).contiguous()
        made = [layer(rows) for layer in self.layers]
        with self._lock:
            self._known[name] = made
            size = sum(part.nbytes for part in made)
            while len(self._known) * size > self.room and len(self._known) > 1:
                self._known.popitem(last=False)
        return made


def halves(frames: int) -> Tensor:
    """The shares of frames whose two prompts are one."""
    return torch.full((frames, 2), 0.5)
