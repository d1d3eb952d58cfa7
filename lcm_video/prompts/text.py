"""Prompts to encodings with CLIP's text encoder (ViT-L/14 in SD 1.5). Loads torch.

Every prompt's encoding is the same bits whichever prompts are encoded beside it, except for the chunks of nothing that
make all equally long: chunks are encoded one at a time, because the rounding of a batch may depend on its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPTextModel

from lcm_video.prompts.chunks import EMPTY, Chunk, Vocabulary
from lcm_video.types import Encoding

Encoded = Float[Tensor, "77 features"]


@dataclass(frozen=True)
class Text:
    """A text encoder; ``skip`` is the layer read, counted from the last, which is 1."""

    vocabulary: Vocabulary
    model: CLIPTextModel
    skip: int = 1

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()

    def __call__(self, prompts: Sequence[str], /) -> Encoding:
        """Tokens (prompts, 77 · chunks, features). Shorter prompts end in encodings of nothing: never in zeros,
        which the UNet has not seen and which would fade the picture while one prompt travels to another."""
        chunks = [self.vocabulary.chunks(prompt) for prompt in prompts]
        most = max(map(len, chunks), default=1)
        padded = [[*own, *[EMPTY] * (most - len(own))] for own in chunks]
        encoded = {chunk: self.encoded(chunk) for chunk in {chunk: None for own in padded for chunk in own}}
        return {"tokens": torch.stack([torch.cat([encoded[chunk] for chunk in own]) for own in padded])}

    def encoded(self, chunk: Chunk) -> Encoded:
        """One chunk's encoding."""
        ids = torch.tensor([chunk], device=self.model.device)
        if self.skip == 1:
            return self.model(ids).last_hidden_state[0]
        states = self.model(ids, output_hidden_states=True).hidden_states
        return final_norm(self.model)(states[-self.skip])[0]


def final_norm(model: CLIPTextModel) -> torch.nn.LayerNorm:
    """The norm after the last layer; an earlier layer's output goes through it, too, as in A1111 and diffusers."""
    inner: Any = getattr(model, "text_model", model)
    return inner.final_layer_norm


def grow(model: CLIPTextModel, vectors: Float[Tensor, "tokens features"]) -> tuple[int, ...]:
    """Appends ``vectors`` to the words that the encoder knows; gives their ids, which go on where ids ended."""
    words: Any = model.get_input_embeddings()
    known = len(words.weight)
    words.weight = torch.nn.Parameter(torch.cat([words.weight, vectors.to(words.weight)]), requires_grad=False)
    words.num_embeddings = len(words.weight)
    return tuple(range(known, len(words.weight)))
