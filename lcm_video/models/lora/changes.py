"""What a LoRA adds to the weight of one layer, by each of the algorithms that trainers know.

A new algorithm is one class here, whose fields are the endings of its keys (see `spelling`), without its prefix.
Factors are multiplied in float32. A k×k convolution is a matrix whose rows are flattened patches, as everywhere.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

Weight = Float[Tensor, "out *inside"]
"""A layer's weight, or its bias."""


class Change(ABC):
    """One layer's change."""

    @abstractmethod
    def delta(self, weight: Weight) -> Weight:
        """What is added to ``weight`` at strength 1, in float32. Raises ValueError if made for another shape."""

    def check(self, weight: Weight) -> None:
        """Raises ValueError if made for another shape than ``weight``'s, RuntimeError if not of one piece."""
        self.delta(torch.empty_like(weight, device="meta"))


@dataclass(frozen=True, eq=False)
class Product(Change, ABC):
    """A change that does not depend on the weight: a product of factors, times alpha over rank.

    Merged at a strength and then at its negative, it gives the weights back. Without alpha the product counts as it is.
    """

    @abstractmethod
    def product(self) -> Tensor:
        """The factors multiplied; its first axis is that of the layer's outputs."""

    @property
    @abstractmethod
    def rank(self) -> int | None:
        """The inner size of the factors, if they have one."""

    @property
    def factor(self) -> float:
        """Alpha over rank: what the product is multiplied by at strength 1."""
        alpha = getattr(self, "alpha", None)
        return 1.0 if alpha is None or self.rank is None else alpha / self.rank

    def delta(self, weight: Weight) -> Weight:
        return self.factor * self._fitted(weight)

    def shape(self) -> tuple[int, ...]:
        """The product's, without multiplying. Raises RuntimeError if the factors do not fit each other."""
        return tuple(self._moved("meta").product().shape)

    def check(self, weight: Weight) -> None:
        fit(weight, self.shape())

    def _fitted(self, weight: Weight) -> Weight:
        change = self._moved(weight.device).product()
        fit(weight, tuple(change.shape))
        return change.reshape(weight.shape)

    def _moved(self, device: torch.device | str) -> "Product":
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: t.to(device, torch.float32) for name, t in tensors.items() if isinstance(t, Tensor)}
        )


def fit(weight: Weight, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless what has this shape changes ``weight``."""
    wanted, found = as_matrix(tuple(weight.shape)), as_matrix(shape)
    if wanted != found:
        raise ValueError(f"is {wanted} in this model, the LoRA changes {found}")


def as_matrix(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A weight's shape as rows and columns; a bias stays a vector."""
    return (shape[0], torch.Size(shape[1:]).numel()) if len(shape) > 1 else shape


@dataclass(frozen=True, eq=False)
class LowRank(Product):
    """LoRA (arXiv:2106.09685) and LoCon: ``up @ down``; with ``mid``, a k×k core between 1×1 factors (Tucker)."""

    down: Tensor
    up: Tensor
    mid: Tensor | None = None
    alpha: float | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def shape(self) -> tuple[int, ...]:
        # By hand: multiplying tensors without memory loads torch's compiler and sympy, 0.4 s.
        if self.mid is not None:
            return super().shape()
        if torch.Size(self.up.shape[1:]).numel() != self.down.shape[0]:
            raise RuntimeError("the inner sizes differ")
        return (len(self.up), *self.down.shape[1:])

    def product(self) -> Tensor:
        up, down = self.up.flatten(1), self.down.flatten(1)
        if self.mid is not None:
            return torch.einsum("o r, r s ..., s i -> o i ...", up, self.mid, down)
        return (up @ down).unflatten(1, self.down.shape[1:])


@dataclass(frozen=True, eq=False)
class Hadamard(Product):
    """LoHa (arXiv:2108.06098): two low-rank matrices, multiplied number by number; with cores, of Tucker's form."""

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    t1: Tensor | None = None
    t2: Tensor | None = None
    alpha: float | None = None

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    def product(self) -> Tensor:
        return factored(self.w1_a, self.w1_b, self.t1) * factored(self.w2_a, self.w2_b, self.t2)


@dataclass(frozen=True, eq=False)
class Kronecker(Product):
    """LoKr (arXiv:2212.10650): the Kronecker product of two matrices, each whole or factored."""

    w1: Tensor | None = None
    w2: Tensor | None = None
    w1_a: Tensor | None = None
    w1_b: Tensor | None = None
    w2_a: Tensor | None = None
    w2_b: Tensor | None = None
    t2: Tensor | None = None
    alpha: float | None = None

    @property
    def rank(self) -> int | None:
        """That of the factored matrix, the second first; alpha does not count if both are whole."""
        inner = self.w2_b if self.w2 is None else self.w1_b if self.w1 is None else None
        return None if inner is None else inner.shape[0]

    def product(self) -> Tensor:
        first = factored(self.w1_a, self.w1_b) if self.w1 is None else self.w1
        second = factored(self.w2_a, self.w2_b, self.t2) if self.w2 is None else self.w2
        # The first matrix is one number for all places of a patch.
        return torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - first.ndim)), second.contiguous())


def factored(a: Tensor | None, b: Tensor | None, core: Tensor | None = None) -> Tensor:
    """``a @ b``; with a core, LyCORIS' Tucker form, in which both hold their rank first."""
    if a is None or b is None:
        raise ValueError("lacks one of its factors")
    return a @ b if core is None else torch.einsum("r s ..., r o, s i -> o i ...", core, a, b)


@dataclass(frozen=True, eq=False)
class Full(Product):
    """A whole difference, as LyCORIS keeps for layers too small to factor: norms and biases."""

    diff: Tensor

    @property
    def rank(self) -> None:
        return None

    def product(self) -> Tensor:
        return self.diff


@dataclass(frozen=True, eq=False)
class Decomposed(Change):
    """DoRA (arXiv:2402.09353): the changed weight's direction, with a length of its own for each output.

    ``W' = magnitude · (W + ΔW) / ‖W + ΔW‖``, and ``W' − W`` is what is added. ``axis`` is that of the magnitude: norms
    are taken over all others. Early files of LyCORIS have a length for each input, which is the paper's own reading.
    The change depends on the weight: it cannot be taken back by merging its negative.
    """

    direction: Product
    magnitude: Tensor
    axis: int = 0

    def delta(self, weight: Weight) -> Weight:
        turned = weight.float() + self.direction.delta(weight)
        if self.magnitude.numel() != turned.shape[self.axis]:
            wanted, found = turned.shape[self.axis], self.magnitude.numel()
            raise ValueError(f"has {wanted} {('outputs', 'inputs')[self.axis]} in this model, the DoRA lengths {found}")
        others = [axis for axis in range(turned.ndim) if axis != self.axis]
        length = torch.linalg.vector_norm(turned, dim=others, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        magnitude = self.magnitude.to(turned).reshape(length.shape)
        return turned * (magnitude / length) - weight.float()
