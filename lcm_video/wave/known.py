"""What a wave has computed and may still need. Each entry is a fact about the shot, whoever asks for whichever frames.

So what one render left behind helps another where it fits, and does no harm where it does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Live: TypeAlias = dict[str, Tensor]
"""All that is needed to go on, as plain tensors on the CPU, under names of its own: a safetensors file can hold it."""

Rows: TypeAlias = tuple[Tensor, ...]
"""What is known of one frame: each of channels, height, width."""


class Known:
    """Facts about one shot.

    states: by number of steps taken, by frame: the latents, and where the sampler looks back what was predicted
    predicted: by step, by (window, frame): the noise predicted there, until it is blended
    """

    def __init__(self, steps: int, *, looks_back: bool) -> None:
        self._parts = ("latents", "denoised") if looks_back else ("latents",)
        self.states: list[dict[int, Rows]] = [{} for _ in range(steps + 1)]
        self.predicted: list[dict[tuple[int, int], Tensor]] = [{} for _ in range(steps)]

    def live(self) -> Live:
        """All of it but how frames began, which is drawn again."""
        states = [((taken, frame), rows) for taken, of in enumerate(self.states) if taken for frame, rows in of.items()]
        predicted = [((step, *key), (row,)) for step, of in enumerate(self.predicted) for key, row in of.items()]
        return {**_packed("state", self._parts, states), **_packed("predicted", ("noise",), predicted)}

    @property
    def depth(self) -> int:
        """How many tensors a frame's state is."""
        return len(self._parts)

    def take_up(self, live: Mapping[str, Tensor], *, shape: Sequence[int]) -> None:
        """Learns what ``live`` holds; what cannot be of this shot is left where it is."""
        for (taken, frame), rows in _unpacked("state", self._parts, live, shape):
            if 0 < taken < len(self.states):
                self.states[taken][frame] = rows
        for (step, window, frame), (row,) in _unpacked("predicted", ("noise",), live, shape):
            if step < len(self.predicted):
                self.predicted[step][window, frame] = row

    def count(self) -> int:
        """How many frames' latents are held."""
        return sum(len(rows) for of in self.states for rows in of.values()) + sum(map(len, self.predicted))


def _packed(name: str, parts: Sequence[str], entries: Sequence[tuple[tuple[int, ...], Rows]]) -> Live:
    if not entries:
        return {}
    live = {f"{name}.at": torch.tensor([at for at, _ in entries])}
    return live | {f"{name}.{part}": torch.stack([rows[i] for _, rows in entries]) for i, part in enumerate(parts)}


def _unpacked(
    name: str, parts: Sequence[str], live: Mapping[str, Tensor], shape: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Rows]]:
    """Yields entries and where they belong. Each row is a copy, so that one can be dropped without the others."""
    tensors = [live[f"{name}.{part}"] for part in parts if f"{name}.{part}" in live]
    if len(tensors) == len(parts) and all(tuple(tensor.shape[1:]) == tuple(shape) for tensor in tensors):
        for at, *rows in zip(live[f"{name}.at"].tolist(), *tensors, strict=True):
            yield tuple(at), tuple(row.clone() for row in rows)
