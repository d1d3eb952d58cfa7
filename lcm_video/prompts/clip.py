"""CLIP's text transformer (arXiv:2103.00020, section 2.4), with the names that transformers gives its weights.

transformers' own takes two seconds to load, half of the time from the command to the first step; it is what this one is
tested against (tests/test_clip.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Hidden = Float[Tensor, "prompts tokens features"]


def quick_gelu(x: Tensor) -> Tensor:
    """The approximation of GELU that OpenAI trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": F.gelu}
"""By the names that config.json has for them."""


@dataclass(frozen=True)
class ClipSizes:
    """A text model's sizes, under the names of its config.json; the defaults are transformers'."""

    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    projection_dim: int = 512
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act {self.hidden_act!r} is none of {', '.join(ACTIVATIONS)}")
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.hidden_size} features cannot be shared by {self.num_attention_heads} heads")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "ClipSizes":
        """The sizes among all that a config.json says; the ids of special tokens, say, do not matter."""
        return cls(**{name: config[name] for name in cls.__dataclass_fields__ if name in config})


class Layers(NamedTuple):
    """What a text model makes of tokens, after each layer.

    hidden_states: the embeddings, then each layer's output
    last_hidden_state: the last one's after the final norm
    """

    hidden_states: tuple[Hidden, ...]
    last_hidden_state: Hidden


class ClipText(nn.Module):
    """Token ids to features. ``projects``: whether it has what makes one vector of a prompt, as SDXL's second has."""

    def __init__(self, sizes: ClipSizes, *, projects: bool = False) -> None:
        super().__init__()
        self.config = sizes
        self.embeddings = Embeddings(sizes)
        layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layers": layers})
        self.final_layer_norm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)
        if projects:
            self.text_projection = nn.Linear(sizes.hidden_size, sizes.projection_dim, bias=False)

    def forward(self, ids: Int[Tensor, "prompts tokens"], *, output_hidden_states: bool = True) -> Layers:
        """All layers' outputs, always; the argument is there so that transformers' models can stand in for this one."""
        hidden = [self.embeddings(ids)]
        for layer in self.encoder["layers"].children():
            hidden.append(layer(hidden[-1]))
        return Layers(tuple(hidden), self.final_layer_norm(hidden[-1]))

    def get_input_embeddings(self) -> nn.Embedding:
        """The vectors of the words."""
        return self.embeddings.token_embedding


class Embeddings(nn.Module):
    """A vector for each word, plus one for its place."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        # Weights come from a file; drawing random ones first would load torch's compiler, a second of starting.
        self.token_embedding, self.position_embedding = (
            nn.Embedding.from_pretrained(torch.empty(count, sizes.hidden_size))
            for count in (sizes.vocab_size, sizes.max_position_embeddings)
        )

    def forward(self, ids: Int[Tensor, "prompts tokens"]) -> Hidden:
        """Features of words in their places."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class Layer(nn.Module):
    """Attention to the words before, and a feed-forward, each after a norm and beside a way around."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        features, eps = sizes.hidden_size, sizes.layer_norm_eps
        self.self_attn = Attention(features, sizes.num_attention_heads)
        self.layer_norm1 = nn.LayerNorm(features, eps=eps)
        self.mlp = FeedForward(sizes)
        self.layer_norm2 = nn.LayerNorm(features, eps=eps)

    def forward(self, x: Hidden) -> Hidden:
        """``x`` after the layer."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Attention(nn.Module):
    """What each word takes from itself and from those before it."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(features, features) for _ in range(4))

    def forward(self, x: Hidden) -> Hidden:
        """What is added to ``x``."""
        # (prompts, tokens, heads, width) → (prompts, heads, tokens, width)
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two products with an activation between them."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[sizes.hidden_act]
        self.fc1 = nn.Linear(sizes.hidden_size, sizes.intermediate_size)
        self.fc2 = nn.Linear(sizes.intermediate_size, sizes.hidden_size)

    def forward(self, x: Hidden) -> Hidden:
        """What is added to ``x``."""
        return self.fc2(self.activation(self.fc1(x)))
