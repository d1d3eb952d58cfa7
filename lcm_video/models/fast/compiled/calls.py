"""The compiled layers as functions of tensors. Whether they are there is for the caller to ask: `built_for`."""

import ctypes
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lcm_video.models.fast.compiled import address, built_for, function
from lcm_video.models.fast.compiled.weights import Norm, Widening

Rows = Float[Tensor, "rows _"]
Lines = Float[Tensor, "images _ _ _"]
"""Images, channels last: (images, lines, columns, channels)."""


class HeadsPlan(ctypes.Structure):
    """What `attention.cpp` calls a plan."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("sequences", "heads", "queries", "keys", "width", "threads")),
        *((name, ctypes.c_int64) for name in ("q_sequence", "q_head", "q_token", "k_sequence", "k_head", "k_token")),
        *((name, ctypes.c_int64) for name in ("v_sequence", "v_head", "v_token", "sequence", "head", "token")),
        ("scale", ctypes.c_float),
    )


def attention(
    q: Float[Tensor, "sequences heads queries width"],
    k: Float[Tensor, "sequences heads keys width"],
    v: Float[Tensor, "sequences heads keys width"],
    *,
    tokens_first: bool = False,
) -> Rows:
    """What each query sees of all keys: rows of all heads, sequence after sequence, or token after token.

    PyTorch's `scaled_dot_product_attention` gives it where nothing is compiled.
    """
    sequences, heads, queries, width = q.shape
    order = (2, 0, 1, 3) if tokens_first else (0, 2, 1, 3)
    kind = built_for(q)
    if not kind or q.stride(3) != 1 or k.stride(3) != 1 or v.stride(3) != 1:
        seen = F.scaled_dot_product_attention(q, k, v)
        return seen.permute(order).reshape(-1, heads * width)
    rows = q.new_empty(sequences * queries, heads * width)
    pair = (queries, sequences) if tokens_first else (sequences, queries)
    out = rows.view(*pair, heads, width).permute((1, 2, 0, 3) if tokens_first else (0, 2, 1, 3))
    shape = (sequences, heads, queries, k.shape[2], width, torch.get_num_threads())
    strides = (*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *out.stride()[:3])
    task = HeadsPlan(*shape, *strides, width**-0.5)
    function("attention", kind)(ctypes.byref(task), address(q), address(k), address(v), address(out))
    return rows


class Plan(ctypes.Structure):
    """What `rows.cpp` calls a plan."""

    _fields_ = tuple((name, ctypes.c_int64) for name in ("rows", "inputs", "outputs", "threads"))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
    """``residual`` plus the products of float32 rows with ``weight`` (inputs, outputs).

    All are contiguous, and both sizes multiples of 16.
    """
    out = x.new_empty(len(x), weight.shape[1])
    where = (address(x), address(weight), address(bias), address(residual), address(out))
    function("linear", "float32")(ctypes.byref(Plan(*x.shape, weight.shape[1], torch.get_num_threads())), *where)
    return out


def feed_forward(x: Tensor, norm: Norm, weights: Widening) -> Tensor:
    """``x`` plus what a feed-forward with a gate (GEGLU) makes of its rows, normalised; widths are multiples of 32."""
    out = torch.empty_like(x)
    parts = (ctypes.byref(part.plan) for part in (norm, weights))
    task = Plan(*x.shape, x.shape[1], torch.get_num_threads())
    function("feed_forward", built_for(x))(ctypes.byref(task), address(x), *parts, address(out))
    return out


class GroupPlan(ctypes.Structure):
    """What `norms.cpp` calls a plan."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "lines", "columns", "channels", "groups", "silu", "threads")),
        *((name, ctypes.c_int64) for name in ("image", "line")),
        ("epsilon", ctypes.c_float),
    )


def norms(x: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether `group_norm` takes images of this kind."""
    same = x.dtype == weight.dtype == bias.dtype
    return bool(built_for(x)) and x.shape[3] % 16 == 0 and same and x.is_contiguous()


def group_norm(x: Lines, groups: int, weight: Tensor, bias: Tensor, epsilon: float, out: Lines, *, silu: bool) -> None:
    """Fills ``out`` with GroupNorm of each image, and its SiLU if ``silu``.

    ``out`` may be part of larger images, and float32 where ``x`` is bfloat16.
    """
    strides = (out.stride(0), out.stride(1))
    task = GroupPlan(*x.shape, groups, silu, torch.get_num_threads(), *strides, epsilon)
    where = (address(x), address(weight), address(bias), address(out))
    kind = built_for(x) if out.dtype == x.dtype else f"{built_for(x)}_to_float32"
    function("group_norm", kind)(ctypes.byref(task), *where)


class TilePlan(ctypes.Structure):
    """What `winograd.cpp` calls a plan."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("frames", "lines", "columns", "ahead", "inputs", "outputs")),
        *((name, ctypes.c_int64) for name in ("height", "width", "doubling", "tiles", "apart", "threads")),
        *((name, ctypes.c_int64) for name in ("out_frame", "out_line", "added_frame", "added_line", "tile", "taps")),
        ("to_points", ctypes.c_void_p),
        ("from_points", ctypes.c_void_p),
    )


class Transforms(NamedTuple):
    """Winograd's matrices in float32: of tiles (n, n), of products (m, n), of kernels (n, k)."""

    tiles: Tensor
    products: Tensor
    kernels: Tensor


def winograd_fits(weight: Float[Tensor, "out into k k"], tile: int) -> bool:
    """Whether `winograd` takes a convolution with such weights; 2 × 2 are those of a doubled image, all four phases."""
    outputs, inputs, taps = weight.shape[:3]
    if (tile, taps) not in ((4, 3), (3, 2)) or not built_for(weight):
        return False
    return inputs % 16 == 0 and outputs % (64 if taps == 2 else 16) == 0


def winograd_weights(weight: Float[Tensor, "out taps into"], transforms: Transforms, out: Tensor) -> None:
    """Fills ``out``, which has as many numbers as tiles have points for each of the weight's."""
    outputs, taps, inputs = weight.shape
    sizes = (ctypes.c_int64 * 4)(outputs, inputs, round(taps**0.5), torch.get_num_threads())
    where = (address(weight), ctypes.addressof(sizes), address(transforms.kernels), address(out))
    function("winograd_weights", built_for(weight))(*where)


class Tiling(NamedTuple):
    """A convolution by Winograd's way.

    weight: as `winograd_weights` made it
    bias: of each output, float32
    tiles: worked off at a time
    apart: whether each thread works on its own tiles, so that none waits for another: for small weights
    doubling: whether outputs are the four phases of an image of twice the size
    """

    weight: Tensor
    bias: Tensor
    transforms: Transforms
    tiles: int
    apart: bool = False
    doubling: bool = False


def winograd(x: Lines, ahead: int, layer: Tiling, added: Lines | None, out: Lines, memory: Tensor) -> None:
    """Fills ``out`` with the convolution of ``x`` (float32), its bias and ``added``.

    ahead: lines and columns of zeros around ``x`` that are not in memory
    memory: for as many tiles as are worked off at a time, rounded up to six, n² numbers for each input and output;
        so much for each thread where they work ``apart``
    """
    tile, side = layer.transforms.products.shape
    taps, scale = side - tile + 1, 2 if layer.doubling else 1
    outputs = out.shape[3] * scale**2
    height, width = (size // scale for size in out.shape[1:3])
    strides = (out.stride(0), out.stride(1), *((0, 0) if added is None else (added.stride(0), added.stride(1))))
    work = (layer.doubling, layer.tiles, layer.apart, torch.get_num_threads())
    shape = (*x.shape[:3], ahead, x.shape[3], outputs, height, width, *work)
    matrices = (layer.transforms.tiles.data_ptr(), layer.transforms.products.data_ptr())
    task = TilePlan(*shape, *strides, tile, taps, *matrices)
    where = (address(x), address(layer.weight), address(layer.bias), address(added), address(out))
    function("winograd", built_for(out))(ctypes.byref(task), *where, address(memory))
