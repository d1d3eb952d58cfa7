"""Prompts to chunks of ids: what a text encoder, which reads 77 tokens at a time, is given. Needs no torch."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from lcm_video.prompts.emphasis import READINGS, Run
from lcm_video.prompts.tokenizer import BEGIN, END

LENGTH = 75
"""Tokens of a prompt in a chunk; begin and end make it 77."""

BACKTRACK = 20
"""So near to its end a chunk is rather ended after a comma than within a phrase (A1111's default)."""

WHOLE = 8
"""Fewer tokens than this, in one run, are not torn apart by the end of a chunk (ComfyUI)."""

ENDINGS = r"(?:\.(?:pt|bin|safetensors))?"
"""What may follow an embedding's name where it is called ``embedding:name``."""


class Token(NamedTuple):
    """An id and its weight."""

    id: int
    weight: float = 1.0


@dataclass(frozen=True)
class Chunk:
    """Up to 75 tokens of a prompt."""

    tokens: tuple[Token, ...] = ()

    def ids(self, pad: int = END) -> tuple[int, ...]:
        """77 ids: begin, the tokens, end, and ``pad`` as often as needed."""
        return (BEGIN, *(token.id for token in self.tokens), END, *(pad,) * (LENGTH - len(self.tokens)))

    @property
    def weights(self) -> tuple[float, ...]:
        """One weight for each of the 77 ids."""
        return (1.0, *(token.weight for token in self.tokens), *(1.0,) * (LENGTH + 1 - len(self.tokens)))


EMPTY = Chunk()

Piece = tuple[Token, ...]
"""Tokens that belong together."""


@dataclass(frozen=True)
class Vocabulary:
    """Texts to ids. Names of textual inversions stand for ids beyond CLIP's own, one for each of its vectors.

    Names are found before the text is tokenized: in any case, the longest first, as whole words, with or without
    ``embedding:`` before them. So a name may hold capitals, dots or be an ordinary word, which tokenizers that learn
    new words get wrong.
    """

    encode: Callable[[str], list[int]]
    inversions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def _named(self) -> dict[str, tuple[int, ...]]:
        return {name.lower(): ids for name, ids in self.inversions.items()}

    @cached_property
    def _names(self) -> re.Pattern[str]:
        longest_first = sorted(self._named, key=len, reverse=True)
        called = "|".join(f"embedding:{re.escape(name)}{ENDINGS}(?!\\w)" for name in longest_first)
        return re.compile(f"({called}|{'|'.join(map(_whole, longest_first))})", re.IGNORECASE)

    def runs(self, text: str) -> Iterator[tuple[int, ...]]:
        """Single tokens, and whole inversions."""
        for inversion, ids in self.pieces(text):
            yield from [ids] if inversion else ((id,) for id in ids)

    def pieces(self, text: str) -> Iterator[tuple[bool, tuple[int, ...]]]:
        """The ids of inversions, each marked, and of the texts between them."""
        for index, piece in enumerate(self._names.split(text) if self._named else [text]):
            if index % 2:  # re.split puts what matched at the odd places
                name = piece.lower().removeprefix("embedding:")
                yield True, self._named.get(name) or self._named[re.sub(rf"{ENDINGS}$", "", name)]
            elif ids := tuple(self.encode(piece)):
                yield False, ids

    def chunks(self, text: str, reading: str = "a1111") -> tuple[Chunk, ...]:
        """The chunks of ``text``, at least one; ``reading`` names the program whose brackets and chunks it has."""
        return tuple(FILLINGS[reading](self, READINGS[reading](text)))


CALLED = re.compile(r"(?<!\w)embedding:(?P<name>[\w.-]*\w)", re.IGNORECASE)


def called_embeddings(prompt: str) -> Iterator[tuple[str, int]]:
    """Yields the names after ``embedding:`` without their endings, each with its place in the prompt."""
    for match in CALLED.finditer(prompt):
        yield re.sub(rf"{ENDINGS}$", "", match["name"], flags=re.IGNORECASE), match.start()


def _whole(name: str) -> str:
    """A pattern for ``name`` that does not match within a longer word."""
    before = r"(?<!\w)" if name[0].isalnum() else ""
    after = r"(?!\w)" if name[-1].isalnum() else ""
    return before + re.escape(name) + after


def filled_a1111(vocabulary: Vocabulary, runs: Sequence[Run]) -> Iterator[Chunk]:
    """Yields chunks that end at BREAK, at the 75th token, or after a comma shortly before it."""
    commas = vocabulary.encode(",")
    inside: list[Token] = []
    comma = 0  # how many tokens lie before the end of the last phrase
    begun = False
    for piece, breaks in _pieces(vocabulary, runs):
        is_comma = [token.id for token in piece] == commas
        if breaks or len(inside) + len(piece) > LENGTH:
            rest = inside[comma:] if comma and not breaks and not is_comma and len(piece) == 1 else []
            rest = rest if len(rest) < BACKTRACK else []
            yield Chunk(tuple(inside[: len(inside) - len(rest)]))
            inside, comma, begun = rest, 0, True
        inside += piece
        comma = len(inside) if is_comma else comma
    if inside or not begun:
        yield Chunk(tuple(inside))


def _pieces(vocabulary: Vocabulary, runs: Sequence[Run]) -> Iterator[tuple[Piece, bool]]:
    """Yields single tokens and whole inversions, and nothing, marked, where a chunk is broken."""
    for run in runs:
        if run.broken:
            yield (), True
        else:
            yield from ((tuple(Token(id, run.weight) for id in ids), False) for ids in vocabulary.runs(run.text))


def filled_comfy(vocabulary: Vocabulary, runs: Sequence[Run]) -> Iterator[Chunk]:
    """Yields chunks that end at the 75th token, or before a short run that would not fit."""
    inside: list[Token] = []
    for run in runs:
        for _, ids in vocabulary.pieces(run.text):
            rest = [Token(id, run.weight) for id in ids]
            long = len(rest) >= WHOLE
            while len(inside) + len(rest) > LENGTH:
                room = LENGTH - len(inside) if long else 0
                yield Chunk((*inside, *rest[:room]))
                inside, rest = [], rest[room:]
            inside += rest
    yield Chunk(tuple(inside))


Filling = Callable[[Vocabulary, Sequence[Run]], Iterator[Chunk]]

FILLINGS: dict[str, Filling] = {"a1111": filled_a1111, "comfy": filled_comfy}
"""How runs are laid into chunks, by the name of whose program does it so."""
