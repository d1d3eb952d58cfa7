"""Convolutions of trained layers that do less work than the layer and give the same, to rounding.

All take and give channels-last images (frames, channels, height, width), hold their own copy of the weights, and have
no state that a call changes, so any number of threads may call them. `best` knows which one wins where.
"""

from functools import cache
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcm_video.models.fast.compiled import calls
from lcm_video.models.fast.scratch import Scratch
from lcm_video.models.fast.winograd import Winograd
from lcm_video.models.placing import bfloat16_unit

PHASES = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float64)
"""Which taps of three fall on the same pixel of an image doubled: by phase, for each of two pixels."""


NARROW, ENOUGH = 2**15, 64
"""Inputs times outputs of `small` layers, and the pixels of all frames from which Winograd wins there: even if tiles
are half empty, for oneDNN's direct convolution takes 2 ms for 16 images of 2 × 2 if it has AVX2 alone, 0.07 otherwise.
"""

Memory = Literal["kept", "made", "off"]
"""Winograd's weights, 4 times the plain ones: kept; or made when needed (for 512 channels 38 MB and 6 to 10 ms, which
1024 pixels pay back twice; for 256 a thirtieth of the time); or Winograd is not used."""


@runtime_checkable
class Convolution(Protocol):
    """A convolution with fixed weights."""

    def __call__(self, x: Tensor, /, *, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """The convolution of ``x`` plus ``residual``.

        bias: (channels,) in place of the layer's own, for what is the same at every pixel, as an embedded time is
        """
        ...


class Direct:
    """The layer as it is, with weights in oneDNN's own order and the residual added while the sum is in a register.

    The order saves 1.3× where images are tiny (8 pixels a side and 1280 channels), the residual one pass over memory.
    Where oneDNN's private operators are missing or wrong (see `packs`), an ordinary convolution over channels-last
    weights.

    weight: (outputs, inputs, k, k)
    padding: zeros on all sides
    edges: more zeros left, right, above and below; a VAE's encoder pads on two sides only
    pixels: height and width of the images to come; others are just as right
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 1,
        edges: tuple[int, int, int, int] = (0, 0, 0, 0), pixels: tuple[int, int] = (32, 32),
    ) -> None:  # fmt: skip
        weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.stride, self.padding, self.edges = [stride] * 2, [padding] * 2, edges
        self.bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        self.packed = packs(weight.device.type, weight.dtype)
        if self.packed:
            shape = [1, weight.shape[1], *pixels]
            weight = _reordered(weight, self.stride, self.padding, shape)
        self.weight = weight

    def __call__(self, x: Tensor, /, *, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """The convolution of ``x`` plus ``residual``; ``bias`` stands in for the layer's own."""
        bias = self.bias if bias is None else bias
        if any(self.edges):
            left, right, above, below = self.edges
            x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, right, above, below)).permute(0, 3, 1, 2)
        if self.packed:
            return _packed(x, self.weight, bias, self.stride, self.padding, residual)
        out = F.conv2d(x, self.weight, bias, self.stride, self.padding)
        return out if residual is None else out.add_(residual)


class Subpixel:
    """Doubling an image to its nearest pixels and a 3×3 convolution, without the doubled image.

    Of the nine pixels under the kernel only four differ. Which of them share a tap depends on the phase, so there are
    four 2×2 kernels; one convolution with four times the outputs makes all phases, and a shuffle puts them in place.
    Measured 2.1-2.3× as fast as doing it in two steps, and 2.7-3.3× with Winograd's F(3, 2) inside; 4× in bfloat16.

    winograd: whether to multiply in Winograd's domain (float32 only)
    keep: see `Winograd`
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, *, winograd: bool = False, keep: bool = True,
        pixels: tuple[int, int] = (32, 32),
    ) -> None:  # fmt: skip
        phases, taps = PHASES.to(weight.device), weight.detach().double()
        folded = torch.einsum("atk,bsl,oikl->aboits", phases, phases, taps).flatten(0, 2).to(weight.dtype)
        self.outputs, self.bias = len(weight), bias.detach()
        none = torch.zeros_like(self.bias).repeat(4)
        self.inner = (
            Winograd(folded, none, padding=1, tile=3, keep=keep)
            if winograd
            else Direct(folded, none, padding=1, pixels=pixels)
        )

    def __call__(self, x: Tensor, /, *, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """The convolution of ``x`` at twice its size, plus ``residual``; ``bias`` stands in for the layer's own."""
        frames, _, height, width = x.shape
        out = x.new_empty(frames, 2 * height, 2 * width, self.outputs)
        self.write(x, out, bias=bias)
        out = out.permute(0, 3, 1, 2)
        return out if residual is None else out.add_(residual)

    def write(self, x: Tensor, out: Tensor, *, bias: Tensor | None = None, scratch: Scratch | None = None) -> None:
        """Fills ``out`` (frames, height, width, channels)."""
        scratch = scratch or Scratch()
        if isinstance(self.inner, Winograd) and self.inner.transforms is not None:
            offset, lines = self.bias if bias is None else bias, x.permute(0, 2, 3, 1)
            lines = lines if self.inner.takes(lines) else self.inner.padded(x, scratch)
            self.inner.compiled(lines, out, offset, None, scratch, doubling=True)
            return
        out = out.unflatten(2, (x.shape[3], 2)).unflatten(1, (x.shape[2], 2))
        bias = self.bias if bias is None else bias
        if isinstance(self.inner, Winograd):
            for frames, first, phases in self.inner.strips(self.inner.padded(x, scratch), scratch=scratch):
                phases += bias.repeat(4)
                self._place(phases, out[frames], first)
        else:
            self._place(self.inner(x, bias=bias.repeat(4)).permute(0, 2, 3, 1), out, 0)

    def _place(self, phases: Tensor, out: Tensor, first: int) -> None:
        """Writes lines of all phases, of which the first has this number, to where they belong.

        The kernels see one pixel more than the image has along each side, at the end that their phase does not need.
        """
        phases = phases.unflatten(3, (2, 2, self.outputs))
        height, width = out.shape[1], out.shape[3]
        for row in (0, 1):
            top, bottom = max(first, row), min(first + phases.shape[1], row + height)
            for column in (0, 1):
                source = phases[:, top - first : bottom - first, column : column + width, row, column]
                out[:, top - row : bottom - row, row, :, column] = source


def best(
    conv: nn.Conv2d, *, pixels: tuple[int, int], frames: int = 1, doubling: bool = False, winograd: Memory = "kept"
) -> Convolution:
    """The fastest convolution with the weights of ``conv``, by measured rule.

    pixels: height and width of the images it will see, before they are doubled
    frames: how many of them in one call
    doubling: whether images are doubled before it, as diffusers' ``Upsample2D`` does
    """
    weight, bias = conv.weight.detach(), conv.bias
    assert bias is not None, "every convolution of the networks known here has a bias"
    (stride, _), (padding, _) = conv.stride, _sides(conv)
    wins = winograd != "off" and winograd_wins(conv, frames * pixels[0] * pixels[1], doubling=doubling)
    keep = winograd == "kept" or small(weight)
    if doubling:
        return Subpixel(weight, bias, winograd=wins, keep=keep, pixels=pixels)
    if wins:
        return Winograd(weight, bias.detach(), keep=keep)
    return Direct(weight, bias, stride=stride, padding=padding, pixels=pixels)


def winograd_wins(conv: nn.Conv2d, pixels: int, *, doubling: bool = False) -> bool:
    """Whether Winograd is faster: for wide 3×3 layers on a CPU that see enough pixels in a call.

    Measured gains: from 1.4× at 128 channels to 2.5× at 640. Doubling, Winograd saves only 1.8 of the multiplications.
    In bfloat16, where the direct one is twice as fast, 1.3× at 512 channels; with AMX it is faster still, and stays.
    Compiled, from 2.3× to 3×, and over bfloat16 1.3× to 1.6× from 128 channels; in float32 2× for fewer, and 1.6× to
    3.6× where they double.
    """
    fits = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and _sides(conv) == (1, 1)
    if not fits or conv.weight.device.type != "cpu":
        return False
    width, compiled = min(conv.weight.shape[:2]), calls.winograd_fits(conv.weight, 4)
    if small(conv.weight):
        return doubling or pixels >= ENOUGH
    if conv.weight.dtype == torch.float32:
        return width >= (256 if doubling else 128) and pixels >= 512
    if doubling or bfloat16_unit() == "AMX-BF16":
        return False
    return width >= 128 and pixels >= 1024 if compiled else width >= 512 and pixels >= 4096


def small(weight: Tensor) -> bool:
    """Whether a 3×3 layer is so narrow that Winograd, compiled, wins for few pixels, and its weights are kept."""
    outputs, inputs = weight.shape[:2]
    exact = weight.dtype == torch.float32 and weight.shape[2:] == (3, 3)
    return exact and outputs * inputs <= NARROW and calls.winograd_fits(weight, 4)


@cache
def packs(device: str, dtype: torch.dtype) -> bool:
    """Whether oneDNN's private operators, which PyTorch's compiler uses, are here and compute what they should."""
    if device != "cpu":
        return False
    numbers = torch.arange(9 * 16 * 16, dtype=torch.float32) % 7 - 3
    weight = numbers.view(16, 16, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    x = (numbers[: 16 * 36] % 5).view(1, 16, 6, 6).to(dtype).contiguous(memory_format=torch.channels_last)
    bias = weight[:, 0, 0, 0]
    plain = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    wanted = [plain, plain + x]
    try:
        packed = _reordered(weight, [1, 1], [1, 1], [1, 16, 6, 6])
        found = [_packed(x, packed, bias, [1, 1], [1, 1], residual) for residual in (None, x)]
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return all(torch.allclose(one.double(), other, rtol=0.01) for one, other in zip(found, wanted, strict=True))


def _reordered(weight: Tensor, stride: list[int], padding: list[int], shape: list[int]) -> Tensor:
    private: Any = torch._C
    return private._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), padding, stride, [1, 1], 1, shape)


def _packed(
    x: Tensor, weight: Tensor, bias: Tensor, stride: list[int], padding: list[int], residual: Tensor | None
) -> Tensor:
    place = (padding, stride, [1, 1], 1)
    bias = bias.contiguous()  # it would read on past the stride
    if residual is None:
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *place, "none", [], "")
    added = ("add", 1.0, None, [], None)
    return torch.ops.mkldnn._convolution_pointwise.binary(x, residual, weight, bias, *place, *added)


def _sides(conv: nn.Conv2d) -> tuple[int, int]:
    if isinstance(conv.padding, str):
        return (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2) if conv.padding == "same" else (0, 0)
    return (conv.padding[0], conv.padding[1])
