"""CLIP's tokenizer (byte-pair encoding) in pure Python: texts to the ids CLIP was trained on. Needs no torch.

Ids equal those of transformers' CLIPTokenizer, which every other Stable Diffusion tool uses. OpenAI's own program
differs for some texts (it repairs encodings and HTML), but models are prompted through the former today.
"""

import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from lcm_video.errors import CheckpointError
from lcm_video.resources import expanded

BEGIN, END = 49406, 49407
"""Ids of ``<|startoftext|>`` and ``<|endoftext|>``; the latter also fills a chunk up."""

SPECIAL = {"<|startoftext|>": BEGIN, "<|endoftext|>": END}
SPECIALS = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
MERGES = 48894  # the first that many of OpenAI's file: 49408 ids less 2 · 256 bytes and 2 specials
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
REMEDY = f"install refiners, which carries OpenAI's file, or give {VOCABULARY} under model.tokenizer"


class Tokenizer:
    """Texts to CLIP's ids, without the ids that mark begin and end."""

    def __init__(self, merges: Sequence[tuple[str, ...]]) -> None:
        symbols = [*BYTES.values()]
        units = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *("".join(pair) for pair in merges)]
        self.ids = {unit: number for number, unit in enumerate([*units, *SPECIAL])}
        self.rank = {pair: number for number, pair in enumerate(merges)}
        self.word_ids = lru_cache(maxsize=65536)(self._word_ids)

    def __call__(self, text: str) -> list[int]:
        """The ids of ``text``. The specials, typed out, count as themselves, as in other tools."""
        ids: list[int] = []
        for piece in SPECIALS.split(text):  # before lower-casing: <|ENDOFTEXT|> is ordinary text
            if piece in SPECIAL:
                ids.append(SPECIAL[piece])
            else:
                for word in words(normalized(piece)):
                    ids.extend(self.word_ids(word))
        return ids

    def _word_ids(self, word: str) -> tuple[int, ...]:
        units = [BYTES[byte] for byte in word.encode()]
        units[-1] += "</w>"
        while len(units) > 1:
            best = min(pairwise(units), key=lambda pair: self.rank.get(pair, MERGES))
            if best not in self.rank:
                break
            units = merged(units, best)
        return tuple(self.ids[unit] for unit in units)


def merged(units: Sequence[str], pair: tuple[str, ...]) -> list[str]:
    """``units`` with every occurrence of ``pair`` made one, from the left."""
    out: list[str] = []
    rest = iter(range(len(units)))
    for index in rest:
        if tuple(units[index : index + 2]) == pair:
            out.append("".join(pair))
            next(rest)
        else:
            out.append(units[index])
    return out


def byte_symbols() -> dict[int, str]:
    """A printable character for each of the 256 bytes: itself where it is one, else the next free one from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


BYTES = byte_symbols()


def normalized(text: str) -> str:
    """Composed, in small letters, with plain spaces."""
    # Letter by letter: of a whole word, Python would end Σ as ς, which Unicode's simple rule does not.
    return "".join(" " if c.isspace() else c.lower() for c in unicodedata.normalize("NFC", text))


def words(text: str) -> Iterator[str]:
    """The runs that are encoded alone: contractions, runs of letters, single digits, runs of anything else."""
    start = 0
    while start < len(text):
        end = start + 1
        sort = sort_of(text[start])
        if contraction := next((c for c in CONTRACTIONS if text.startswith(c, start)), ""):
            end = start + len(contraction)
        elif sort != "digit":
            while end < len(text) and sort_of(text[end]) == sort:
                end += 1
        if contraction or sort != "space":
            yield text[start:end]
        start = end


def sort_of(character: str) -> str:
    """What a character is to the tokenizer: letter, digit, space or other."""
    category = unicodedata.category(character)[0]
    return {"L": "letter", "N": "digit"}.get(category, "space" if character.isspace() else "other")


@lru_cache(maxsize=4)
def tokenizer(path: str = "") -> Tokenizer:
    """A tokenizer over OpenAI's vocabulary file, a merges.txt, a tokenizer.json, or a folder with one of them.

    Without ``path``, over the file that the refiners package carries. Raises CheckpointError if there is none.
    """
    return Tokenizer(read_merges(expanded(path) if path else carried()))


def carried() -> Path:
    """Where the refiners package keeps OpenAI's file. Found without importing the package."""
    spec = find_spec("refiners")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if found := next(Path(place).rglob(VOCABULARY), None):
            return found
    raise CheckpointError("CLIP's vocabulary was not found", remedy=REMEDY)


def read_merges(path: Path) -> list[tuple[str, ...]]:
    """The pairs of a vocabulary file, in the order in which they merge."""
    if path.is_dir():
        inside = [path / name for name in (VOCABULARY, "merges.txt", "tokenizer.json")]
        path = next((file for file in inside if file.is_file()), path / "merges.txt")
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content).decode()
        pairs = _json_pairs(json.loads(text)) if path.suffix == ".json" else _text_pairs(text)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        message = f"{path.name} cannot be read as a vocabulary: {error or type(error).__name__}"
        raise CheckpointError(message, remedy=REMEDY) from None
    if len(pairs) < MERGES or any(len(pair) != 2 for pair in pairs):
        message = f"{path.name} is not CLIP's vocabulary: it has {len(pairs):,} merges instead of {MERGES:,}"
        raise CheckpointError(message, remedy=REMEDY)
    return pairs


def _text_pairs(text: str) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in text.split("\n")[1 : MERGES + 1] if line]


def _json_pairs(content: Mapping) -> list[tuple[str, ...]]:
    return [tuple(pair.split() if isinstance(pair, str) else pair) for pair in content["model"]["merges"]]
