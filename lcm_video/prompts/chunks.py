"""Prompts to chunks of ids: what a text encoder, which reads 77 tokens at a time, is given. Needs no torch."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from lcm_video.prompts.tokenizer import BEGIN, END

LENGTH = 75
"""Tokens of a prompt in a chunk; begin and end make it 77."""

Chunk: TypeAlias = tuple[int, ...]
"""77 ids: begin, up to 75 of a prompt, then end as often as needed."""

EMPTY: Chunk = (BEGIN, *(END,) * (LENGTH + 1))


@dataclass(frozen=True)
class Vocabulary:
    """Texts to runs of ids. Names of textual inversions stand for ids beyond CLIP's own, one for each of its vectors.

    Names are found before the text is tokenized: in any case, the longest first, as whole words. So a name may hold
    capitals, dots or be an ordinary word, which tokenizers that learn new words get wrong.
    """

    encode: Callable[[str], list[int]]
    inversions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def _named(self) -> dict[str, tuple[int, ...]]:
        return {name.lower(): ids for name, ids in self.inversions.items()}

    @cached_property
    def _names(self) -> re.Pattern[str]:
        longest_first = sorted(self._named, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(_whole, longest_first))})", re.IGNORECASE)

    def runs(self, text: str) -> Iterator[tuple[int, ...]]:
        """Ids that must not be torn apart by the end of a chunk: single tokens, and whole inversions."""
        for index, piece in enumerate(self._names.split(text) if self._named else [text]):
            if index % 2:  # re.split puts what matched at the odd places
                yield self._named[piece.lower()]
            else:
                yield from ((token,) for token in self.encode(piece))

    def chunks(self, text: str) -> tuple[Chunk, ...]:
        """The chunks of ``text``, at least one."""
        return tuple(fill(tuple(self.runs(text))))


def _whole(name: str) -> str:
    """A pattern for ``name`` that does not match within a longer word."""
    before = r"(?<!\w)" if name[0].isalnum() else ""
    after = r"(?!\w)" if name[-1].isalnum() else ""
    return before + re.escape(name) + after


def fill(runs: Sequence[tuple[int, ...]]) -> Iterator[Chunk]:
    """Chunks with all ``runs`` in order; one that no longer fits opens the next chunk."""
    inside: list[int] = []
    for run in runs:
        if inside and len(inside) + len(run) > LENGTH:
            yield _closed(inside)
            inside = []
        inside += run
    yield _closed(inside)


def _closed(inside: Sequence[int]) -> Chunk:
    return (BEGIN, *inside, *(END,) * (LENGTH + 1 - len(inside)))
