"""Prompts to encodings with CLIP's text encoders: ViT-L/14, and in SDXL OpenCLIP's bigG beside it. Loads torch.

Every prompt's encoding is the same bits whichever prompts are encoded beside it, except for the chunks of nothing that
make all equally long: chunks are encoded one at a time, because the rounding of a batch may depend on its size.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lcm_video.prompts.chunks import EMPTY, Chunk, Vocabulary
from lcm_video.prompts.directives import strengths
from lcm_video.prompts.tokenizer import END
from lcm_video.types import Encoding

Encoded = Float[Tensor, "77 features"]
Strengths = tuple[tuple[str, float], ...]
"""How strongly LoRAs act on the text encoders: names and numbers."""

KEPT = 128
"""Encodings that are kept where there are many: more than the frames that are drawn at one time."""


class Read(NamedTuple):
    """What an encoder makes of one chunk; ``pooled`` is the whole chunk in one vector, where the model has it."""

    tokens: Encoded
    pooled: Float[Tensor, " projection"] | None


class Line(NamedTuple):
    """What a prompt comes to: its chunks, and the LoRAs that act while they are encoded."""

    chunks: tuple[Chunk, ...]
    acting: Strengths


@dataclass(frozen=True)
class Encoder:
    """One text model and the layer that is read: ``skip`` counts from the last, which is 1.

    normed: whether an earlier layer's output goes through the final norm, too; SD 1.5 was trained on the last, and
    A1111, diffusers and ComfyUI norm earlier ones; SDXL was trained on the last but one of both models, as it is.
    """

    model: Any  # a ClipText; transformers' CLIPTextModel and CLIPTextModelWithProjection will do
    skip: int = 1
    normed: bool = True

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()

    @property
    def pad(self) -> int:
        """The id that fills a chunk up: the end for OpenAI's models; OpenCLIP's, which project, were trained with 0."""
        return 0 if hasattr(self.model, "text_projection") else END

    def __call__(self, ids: Sequence[int]) -> Read:
        """What the model makes of 77 ids."""
        device = self.model.get_input_embeddings().weight.device
        out = self.model(torch.tensor([ids], device=device), output_hidden_states=True)
        if self.skip == 1 and self.normed:
            tokens = out.last_hidden_state[0]
        else:
            tokens = out.hidden_states[-self.skip][0]
            tokens = final_norm(self.model)(tokens) if self.normed else tokens
        if not hasattr(self.model, "text_projection"):
            return Read(tokens, None)
        # The first end, not the largest id, as the library has it: ids of textual inversions are larger.
        return Read(tokens, self.model.text_projection(out.last_hidden_state[0, list(ids).index(END)]))


@dataclass(frozen=True)
class Text:
    """Text encoders that read the same prompts, side by side.

    emphasis: whose brackets and chunks prompts are written in, and what weights do: see `emphasis` and WEIGHINGS
    loras: the LoRAs that act on the text encoders as strongly as a prompt's ``<lora:name:…>`` says
    acting: lets LoRAs act at these strengths while it is entered
    """

    vocabulary: Vocabulary
    encoders: tuple[Encoder, ...]
    emphasis: str = "a1111"
    loras: frozenset[str] = frozenset()
    acting: Callable[[Mapping[str, float]], AbstractContextManager] = nullcontext

    def __call__(self, prompts: Sequence[str], /) -> Encoding:
        """Tokens (prompts, 77 · chunks, features), and ``pooled`` (prompts, projection) if the last model projects.

        Shorter prompts end in encodings of nothing: never in zeros, which the UNet has not seen and which would fade
        the picture while one prompt travels to another.
        """
        lines = [self.line(prompt) for prompt in prompts]
        longest = max((len(line.chunks) for line in lines), default=1)
        memory = Memory(self)
        return stacked([memory.encoding(line, longest) for line in lines])

    def on_demand(self, prompts: Sequence[str]) -> "OnDemand":
        """The encodings of ``prompts`` by number, each worked out when it is asked for."""
        return OnDemand(self, prompts)

    def line(self, prompt: str) -> Line:
        """A prompt's chunks, and the LoRAs that act while they are encoded."""
        text, found = strengths(prompt)
        acting = ((name, amount.text) for name, amount in sorted(found.items()) if name in self.loras and amount.text)
        return Line(self.vocabulary.chunks(text, self.emphasis), tuple(acting))


class Memory:
    """Encodes every distinct chunk once, whatever its weights: these are applied to what comes out.

    capacity: how many chunks are remembered, the latest; 0 is all
    """

    def __init__(self, text: Text, capacity: int = 0) -> None:
        self.text, self.capacity = text, capacity
        self.known: OrderedDict[tuple[Any, ...], tuple[Read, ...]] = OrderedDict()

    def encoding(self, line: Line, chunks: int) -> dict[str, Tensor]:
        """A prompt's encoding, filled up to so many chunks."""
        filled = (*line.chunks, *(EMPTY,) * (chunks - len(line.chunks)))
        tokens = torch.cat([self.weighed(chunk, line.acting) for chunk in filled])
        pooled = self.read(line.chunks[0], line.acting)[-1].pooled
        return {"tokens": tokens} if pooled is None else {"tokens": tokens, "pooled": pooled}

    def read(self, chunk: Chunk, acting: Strengths) -> tuple[Read, ...]:
        """What each model makes of a chunk without weights."""
        key = tuple(token.id for token in chunk.tokens), acting
        if key not in self.known:
            with self.text.acting(dict(acting)):
                self.known[key] = tuple(encoder(chunk.ids(encoder.pad)) for encoder in self.text.encoders)
        if self.capacity:
            recent(self.known, key, self.capacity)
        return self.known[key]

    def weighed(self, chunk: Chunk, acting: Strengths) -> Encoded:
        """A chunk's encoding; one without weights is what the models give, bit for bit."""
        plain = [read.tokens for read in self.read(chunk, acting)]
        if any(weight != 1 for weight in chunk.weights):
            weigh = WEIGHINGS[self.text.emphasis]
            nothing = [read.tokens for read in self.read(EMPTY, acting)]
            plain = [weigh(own, empty, chunk.weights) for own, empty in zip(plain, nothing, strict=True)]
        return torch.cat(plain, dim=1)


class OnDemand:
    """The encodings of many prompts by number: worked out when asked for, and of which the latest are kept.

    They are the bits that `Text` gives for all of them at once: equally long, as the longest prompt has it.
    """

    def __init__(self, text: Text, prompts: Sequence[str], capacity: int = KEPT) -> None:
        self._text, self._prompts, self._capacity = text, prompts, capacity
        self._chunks = max((len(text.line(prompt).chunks) for prompt in prompts), default=1)
        self._memory = Memory(text, capacity)
        self._rows: OrderedDict[int, dict[str, Tensor]] = OrderedDict()
        self._lock = Lock()  # windows may ask from several threads, and LoRAs act on the one model while it encodes

    def __call__(self, numbers: Sequence[int]) -> Encoding:
        """The encodings of some prompts, one row each."""
        with self._lock:
            return stacked([self._row(number) for number in numbers])

    def _row(self, number: int) -> dict[str, Tensor]:
        if number not in self._rows:
            line = self._text.line(self._prompts[number])
            self._rows[number] = self._memory.encoding(line, self._chunks)
        recent(self._rows, number, self._capacity)
        return self._rows[number]


def recent(known: OrderedDict, key: Any, capacity: int) -> None:
    """Marks a key as the latest that was used, and drops the oldest beyond ``capacity``."""
    known.move_to_end(key)
    while len(known) > capacity:
        known.popitem(last=False)


def stacked(rows: Sequence[Mapping[str, Tensor]]) -> Encoding:
    """The encodings of several prompts, by name one row for each."""
    names = rows[0].keys() if rows else {"tokens"}
    return {name: torch.stack([row[name] for row in rows]) for name in names}


def restored(encoded: Encoded, nothing: Encoded, weights: Sequence[float]) -> Encoded:
    """Each token times its weight, and all brought back to the chunk's mean, as in A1111."""
    before = encoded.float()
    after = before * before.new_tensor(weights)[:, None]
    return (after * (before.mean() / after.mean())).to(encoded)


def from_nothing(encoded: Encoded, nothing: Encoded, weights: Sequence[float]) -> Encoded:
    """Each token as far from an empty prompt's as its weight says, as in ComfyUI: 0 is nothing, 1 the token itself."""
    empty, by_token = nothing.float(), encoded.new_tensor(weights)[:, None].float()
    return torch.where(by_token == 1, encoded, ((encoded.float() - empty) * by_token + empty).to(encoded))


WEIGHINGS: dict[str, Callable[[Encoded, Encoded, Sequence[float]], Encoded]] = {
    "a1111": restored,
    "comfy": from_nothing,
}
"""(encoding, an empty prompt's encoding, one weight a token) → encoding."""


def final_norm(model: Any) -> torch.nn.LayerNorm:
    """The norm after the last layer; an earlier layer's output goes through it, too, as in A1111 and diffusers."""
    return getattr(model, "text_model", model).final_layer_norm


def grow(model: Any, vectors: Float[Tensor, "tokens features"]) -> tuple[int, ...]:
    """Appends ``vectors`` to the words that the encoder knows; gives their ids, which go on where ids ended."""
    words = model.get_input_embeddings()
    known = len(words.weight)
    words.weight = torch.nn.Parameter(torch.cat([words.weight, vectors.to(words.weight)]), requires_grad=False)
    words.num_embeddings = len(words.weight)
    return tuple(range(known, len(words.weight)))
