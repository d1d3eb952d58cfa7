"""Weights as the compiled layers take them: a dataclass holds them, and tells where they are in a structure of C."""

import ctypes
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, get_args, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lcm_video.models.fast.compiled import address


def words(weight: Float[Tensor, "out into"]) -> Tensor:
    """A weight as its words lie: (inputs, outputs), in bfloat16 (inputs / 2, outputs, 2)."""
    if weight.dtype == torch.float32:
        return weight.t().contiguous()
    return weight.t().unflatten(0, (-1, 2)).transpose(1, 2).contiguous()


class Weights:
    """The base of dataclasses of tensors, numbers, and others of their kind, alone or in a tuple."""

    @cached_property
    def plan(self) -> ctypes.Structure:
        """What C++ is given: the fields in their order, tensors as addresses."""
        return structure(type(self))(*(given(getattr(self, name)) for name in get_type_hints(type(self))))


@cache
def structure(kind: type[Weights]) -> type[ctypes.Structure]:
    """The structure for a dataclass."""
    fields = [(name, type_of(hint)) for name, hint in get_type_hints(kind).items()]
    return type(kind.__name__, (ctypes.Structure,), {"_fields_": fields})


def type_of(hint: Any) -> Any:
    """The type of C for a field's type."""
    if hint in (int, bool):
        return ctypes.c_int64
    if hint is float:
        return ctypes.c_float
    if hint is Tensor:
        return ctypes.c_void_p
    if others := get_args(hint):
        return ctypes.POINTER(structure(others[0]))
    return structure(hint)


def given(value: Any) -> Any:
    """What a structure has for a field."""
    if isinstance(value, Tensor):
        return address(value)
    if isinstance(value, tuple):
        return (structure(type(value[0])) * len(value))(*(each.plan for each in value))
    return value.plan if isinstance(value, Weights) else value


@dataclass(frozen=True)
class Norm(Weights):
    """`LayerNorm` in `rows.h`: of rows, ``gain`` and ``offset`` (channels,)."""

    gain: Tensor
    offset: Tensor
    epsilon: float


@dataclass(frozen=True)
class Widening(Weights):
    """`Widening` in `rows.h`: a feed-forward.

    width, hidden: channels, and those between its products
    wide: (channels, values and gates), by `words`
    narrow: (hidden, channels), likewise
    """

    width: int
    hidden: int
    wide: Tensor
    wide_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor

    @classmethod
    def of(cls, wide: nn.Linear, narrow: nn.Linear) -> "Widening":
        """The weights of two layers, of which the first gives values and beside them their gates."""
        sizes = (narrow.out_features, narrow.in_features)
        return cls(*sizes, words(wide.weight), wide.bias, words(narrow.weight), narrow.bias)


@dataclass(frozen=True)
class Attention(Weights):
    """`Attention` in `transformer.cpp`, behind its norm.

    into: (channels, queries, keys and values side by side), or where keys and values are given (channels, queries)
    out: (channels, channels), and its ``bias``
    """

    norm: Norm
    into: Tensor
    out: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Block(Weights):
    """`Block` in `transformer.cpp`: attention twice, then a feed-forward behind its ``norm``."""

    first: Attention
    second: Attention
    norm: Norm
    forward: Widening


@dataclass(frozen=True)
class Layer(Weights):
    """`Layer` in `transformer.cpp`: a whole transformer.

    over_frames: whether each pixel attends to itself in other frames, or pixels to each other and to prompts
    blocks: as many as ``depth``
    norm: its group norm, of ``groups``
    into, out: (channels, channels)
    """

    channels: int
    heads: int
    groups: int
    over_frames: bool
    depth: int
    blocks: tuple[Block, ...]
    norm: Norm
    into: Tensor
    into_bias: Tensor
    out: Tensor
    out_bias: Tensor
