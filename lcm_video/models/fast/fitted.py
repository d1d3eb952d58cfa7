"""3 × 3 convolutions that take the form which is fastest for the images at hand, and change it with their size."""

import math
from collections.abc import Callable
from threading import Lock
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lcm_video.models.fast.compiled import calls
from lcm_video.models.fast.convolutions import ENOUGH, Convolution, Direct, small
from lcm_video.models.fast.layout import Image
from lcm_video.models.fast.neighbourhoods import Neighbourhoods
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.winograd import Winograd

WIDE = 256
"""Channels from which other forms than the direct one win; `small` layers have Winograd's as well."""

FEW = 16
"""Pixels of one image up to which a wide convolution is faster over `Neighbourhoods`."""

MANY, SOME = 2048, 512
"""Pixels of all frames from which Winograd wins although it transforms its weights at every call: kept, they would
take four times the memory. Measured 1.65x at 8 frames of 16 × 16 and 1.95x at 32 × 32 (320 channels), 1.4x for 640;
compiled, 1.5x and 1.3x even over bfloat16. Compiled and in float32 it wins from ``SOME``."""

LARGE = 1280 * 1280
"""Inputs times outputs of a layer whose transformed weights, 236 MB, are worth making for few pixels."""


class Choice(NamedTuple):
    """Which form a convolution has; the direct one is made for images of one size, in pixels."""

    kind: Literal["direct", "neighbourhoods", "winograd"]
    height: int = 0
    width: int = 0


class Form(NamedTuple):
    """A convolution as chosen, and where its plain weights are."""

    choice: Choice
    convolution: Convolution
    weight: Callable[[], Tensor]


class Fitted:
    """A convolution with the weights of a layer. Which form it has depends on the images it is given and nothing else.

    Only one form exists at a time, and holds all there is of the weights: a call that needs another one is slower.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        assert layer.bias is not None
        self.bias, self.stride = layer.bias, layer.stride[0]
        self.wide = min(layer.weight.shape[:2]) >= WIDE
        self.transforms_from = transforms_from(layer)
        self._weight: Tensor | None = layer.weight  # until there is a form
        self._form: Form | None = None
        self._changing = Lock()

    def __call__(
        self, x: Image, *, bias: Tensor | None = None, residual: Image | None = None, scratch: Scratch | None = None
    ) -> Image:
        """The convolution of ``x`` plus ``residual``; ``bias`` stands in for the layer's own."""
        choice = self.choice(*x.shape)
        form = self._form
        if form is None or form.choice != choice:
            form = self._changed(choice)
        if isinstance(form.convolution, Winograd):
            return form.convolution(x, bias=bias, residual=residual, scratch=scratch)
        return form.convolution(x, bias=bias, residual=residual)

    def choice(self, frames: int, _: int, height: int, width: int) -> Choice:
        """The fastest form for images of this shape."""
        pixels = height * width // self.stride**2
        if self.wide and pixels <= FEW:
            return Choice("neighbourhoods")
        if frames * pixels >= self.transforms_from:
            return Choice("winograd")
        return Choice("direct", height, width)

    def made(self, weight: Tensor, choice: Choice) -> Form:
        """The form that was chosen."""
        if choice.kind == "neighbourhoods":
            near = Neighbourhoods(weight, self.bias, stride=self.stride)
            return Form(choice, near, lambda: near.weight)
        if choice.kind == "winograd":
            shared = weight.contiguous(memory_format=torch.channels_last)
            return Form(choice, Winograd(shared, self.bias, keep=small(weight)), lambda: shared)
        direct = Direct(weight, self.bias, stride=self.stride, pixels=(choice.height, choice.width))
        return Form(choice, direct, lambda: direct.weight.to_dense() if direct.packed else direct.weight)

    def _changed(self, choice: Choice) -> Form:
        with self._changing:
            if self._form is None or self._form.choice != choice:  # unless another thread was first
                weight = self._weight if self._form is None else self._form.weight()
                assert weight is not None
                self._form, self._weight = self.made(weight, choice), None
            return self._form


def transforms_from(layer: nn.Conv2d) -> float:
    """The pixels of all frames from which Winograd is the fastest way for a layer; infinitely many if it never is."""
    outputs, inputs = layer.weight.shape[:2]
    if layer.stride[0] == 1 and small(layer.weight):
        return ENOUGH
    if layer.stride[0] != 1 or min(outputs, inputs) < WIDE:
        return math.inf
    exact, compiled = layer.weight.dtype == torch.float32, calls.winograd_fits(layer.weight, 4)
    if exact and compiled and outputs * inputs <= LARGE:
        return SOME
    return MANY if exact or compiled else math.inf
