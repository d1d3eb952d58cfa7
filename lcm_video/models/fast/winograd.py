"""Winograd's convolution F(m×m, k×k): 4 multiplications per output of a 3×3 kernel's 9 become 2.25, in float32.

The image is cut into overlapping tiles of n = m + k - 1 pixels a side. In the domain that `cook_toom` transforms to, a
convolution is one product per tile pixel, so all tiles and channels together are n² matrix products (Lavin and Gray,
"Fast Algorithms for Convolutional Neural Networks", 2016, §4).

What makes it win in plain PyTorch, measured on one core against oneDNN's direct convolution, which runs at peak:
512 channels 2.2-2.5×, 256 1.8×, 128 1.5×.

- Tiles are worked off in strips whose every intermediate stays in the cache (one go over the image: 0.8× as fast).
- Transforms are sums of a few shifted views instead of multiplications by small matrices, which BLAS does at a third
  of its speed (1.1-1.2×); the first one reads the image itself, so that overlapping tiles are never copied out.

Rounding: 8e-7 to 1.2e-6 of the norm for F(4, 3), 3e-7 for F(3, 2), where the direct sum has 2e-7 to 6e-7. In 16 bits
it would be 2e-2, so it works in float32 whatever it is given. The quarter of the multiplications at half the speed is
still 1.3× as fast as bfloat16's direct convolution for 512 channels of 64×64 pixels (without AMX), and rounds less.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lcm_video.models.fast.compiled import built_for, calls
from lcm_video.models.fast.scratch import Scratch

POINTS = {4: (0, 1, -1), 6: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)}
"""Where polynomials are evaluated, beside infinity, by how many values it takes.

The usual 0, ±1, ±2 round 2.3 times as much: what matters is that powers of the points are neither large nor small.
"""

APART = 2**18
"""Numbers in transformed weights up to which each thread works on its own tiles, when compiled: larger ones are worth
sharing. Measured 2.0x at 16 channels and 128 × 128 pixels, 1.15x at 64 and 8 × 8, 0.85x at 96 and 4 × 4."""

Terms = list[list[tuple[int, float]]]
"""A small sparse matrix: per row, columns and their factors, a factor of 1 first if there is one."""


def cook_toom(outputs: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices A, G, B such that a kernel g over a stretch d has the ``outputs`` values A((G g) · (B d)), float64.

    A convolution multiplies polynomials: evaluate both at n points, multiply, interpolate. Correlating is the transpose
    of that. A and B are scaled, at the cost of G, such that most of their rows hold a 1, which saves a pass.
    """
    points = torch.tensor(POINTS[outputs + taps - 1], dtype=torch.float64)

    def evaluation(size: int) -> Tensor:
        at_infinity = torch.eye(size, dtype=torch.float64)[-1:]
        return torch.cat([points[:, None] ** torch.arange(size), at_infinity])

    a, g = evaluation(outputs).T, evaluation(taps)
    b = torch.linalg.inv(evaluation(len(g))).T
    last = torch.stack([row[row.abs() > 1e-9][-1] for row in b])[:, None]
    width = torch.where(points == 0, 1, points.abs())
    width = torch.cat([width, width.new_ones(1)])
    return a / width, g * last * width[:, None], b / last


def terms(matrix: Tensor) -> Terms:
    """The entries of ``matrix`` other than 0, row by row."""
    rows = [[(column, factor) for column, factor in enumerate(row) if abs(factor) > 1e-9] for row in matrix.tolist()]
    return [sorted(row, key=lambda term: abs(term[1] - 1) > 1e-9) for row in rows]


def combine(matrix: Terms, parts: Sequence[Tensor], out: Tensor) -> None:
    """Writes ``matrix`` times ``parts`` to ``out``, one sum of parts per row."""
    for ((first, factor), *others), target in zip(matrix, out, strict=True):
        start = parts[first]
        if abs(factor - 1) > 1e-9:
            start = torch.mul(start, factor, out=target)
        for index, factor in others:
            start = torch.add(start, parts[index], alpha=factor, out=target)


class Winograd:
    """A convolution of stride 1 over channels-last images of any size, in tiles and in float32.

    weight: (outputs, inputs, k, k)
    padding: zeros around the image
    tile: output pixels along one side of a tile
    keep: whether transformed weights are kept, 4 times (F(4, 3)) to 7 times (F(3, 2)) the plain ones in memory, or
        made when they are needed, which takes 10 ms for 512 channels (see `Scratch.weight`). The plain ones are
        shared if they are channels-last
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, padding: int = 1, tile: int = 4, keep: bool = True) -> None:
        self.outputs, self.inputs, self.kernel = weight.shape[:3]
        self.padding, self.tile, self.bias = padding, tile, bias.detach()
        self.side = tile + self.kernel - 1
        a, g, b = cook_toom(tile, self.kernel)
        self.out_terms, self.in_terms = terms(a), terms(b)
        self.transforms, self.apart = None, False
        if calls.winograd_fits(weight, tile):
            self.transforms = calls.Transforms(b.float().contiguous(), a.float().contiguous(), g.float().contiguous())
            self.apart = self.side**2 * self.inputs * self.outputs <= APART
        points = torch.kron(g, g).unflatten(0, (self.side, self.side))
        transform = points.transpose(0, 1).flatten(0, 1)  # columns before rows, as images are transformed
        plain = weight.detach().contiguous(memory_format=torch.channels_last)
        self.plain = plain.permute(0, 2, 3, 1).flatten(1, 2)  # (outputs, k², inputs)
        self.transform = transform.float()
        self.kept = None
        if keep:
            self.kept = torch.empty(len(weight), self.side**2, self.inputs)
            self._make(self.kept)
            del self.plain
        # Fewer make the matrix products slow; with more, a strip falls out of the cache.
        self.tiles_at_once = 64 if self.inputs <= 128 else 128
        if self.transforms is not None:
            self.tiles_at_once = 48 if self.inputs <= 128 else 96
        if self.apart:
            self.tiles_at_once = 24 if self.inputs <= 16 else 12

    def __call__(
        self, x: Tensor, /, *, bias: Tensor | None = None, residual: Tensor | None = None,
        scratch: Scratch | None = None,
    ) -> Tensor:  # fmt: skip
        """The convolution of ``x`` plus ``residual``; ``bias`` stands in for the layer's own."""
        scratch = scratch or Scratch()
        height, width = (size + 2 * self.padding - self.kernel + 1 for size in x.shape[2:])
        out = x.new_empty(len(x), height, width, self.outputs)
        added = None if residual is None else residual.permute(0, 2, 3, 1)
        lines, bias = x.permute(0, 2, 3, 1), self.bias if bias is None else bias
        if self.takes(lines):
            self.compiled(lines, out, bias, added, scratch)
        else:
            self.write(self.padded(x, scratch), out, bias=bias, added=added, scratch=scratch)
        return out.permute(0, 3, 1, 2)

    def takes(self, lines: Tensor) -> bool:
        """Whether `compiled` takes images (frames, height, width, channels) with no zeros around them in memory."""
        return self.transforms is not None and lines.dtype == torch.float32 and lines.is_contiguous()

    def padded(self, x: Tensor, scratch: Scratch) -> Tensor:
        """``x`` as `strips` takes it."""
        whole, inner = self.framed(len(x), x.shape[2], x.shape[3], scratch)
        inner.copy_(x.permute(0, 2, 3, 1))
        return whole

    def framed(self, frames: int, height: int, width: int, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """Memory for images with zeros around them and up to whole tiles, and the part of it for the images alone.

        Both are (frames, height, width, channels).
        """
        ahead = self.padding
        outputs = (size + 2 * ahead - self.kernel + 1 for size in (height, width))
        below, right = (ahead + -size % self.tile for size in outputs)
        shape = (frames, ahead + height + below, ahead + width + right, self.inputs)
        whole = scratch("padded", *shape, like=self.transform)
        whole[:, :ahead], whole[:, ahead + height :], whole[:, :, :ahead], whole[:, :, ahead + width :] = 0, 0, 0, 0
        return whole, whole[:, ahead : ahead + height, ahead : ahead + width]

    def write(
        self, padded: Tensor, out: Tensor, *, bias: Tensor | None = None, added: Tensor | None = None,
        scratch: Scratch | None = None,
    ) -> None:  # fmt: skip
        """Fills ``out`` (frames, height, width, channels), with ``added`` added, which may be ``out`` itself."""
        bias = self.bias if bias is None else bias
        if self.transforms is not None:
            self.compiled(padded, out, bias, added, scratch or Scratch())
            return
        for frames, first, pixels in self.strips(padded, scratch=scratch):
            target = out[frames, first : first + pixels.shape[1]]
            pixels = pixels[:, : target.shape[1], : target.shape[2]]
            if added is not None:
                pixels += added[frames, first : first + target.shape[1]]
            torch.add(pixels, bias, out=target)

    def compiled(
        self, lines: Tensor, out: Tensor, bias: Tensor, added: Tensor | None, scratch: Scratch, *,
        doubling: bool = False,
    ) -> None:  # fmt: skip
        """Does what `write` does, in one call; if ``doubling``, outputs are phases of an image of twice the size.

        The images have zeros around them in memory, as `padded` gives them, or have not.
        """
        assert self.transforms is not None
        if not built_for(out):
            exact = out.float()
            self.compiled(lines, exact, bias, None if added is None else added.float(), scratch, doubling=doubling)
            out.copy_(exact)
            return
        height = out.shape[1] // 2 + 1 if doubling else out.shape[1]
        ahead = self.padding if lines.shape[1] == height - 2 * self.padding + self.kernel - 1 else 0
        tiles, threads = self.tiles_at_once, torch.get_num_threads() if self.apart else 1
        memory = scratch("tiles", threads * self.side**2 * (tiles + 6) * (self.inputs + self.outputs), like=lines)
        layer = calls.Tiling(self._made(scratch), bias.float(), self.transforms, tiles, self.apart, doubling)
        calls.winograd(lines, ahead, layer, added, out, memory)

    def strips(self, padded: Tensor, *, scratch: Scratch | None = None) -> Iterator[tuple[slice, int, Tensor]]:
        """Yields the convolution without its bias while it is in the cache: which frames, the first line, and pixels.

        A strip is part of one image, or several small images. Its pixels end with whole tiles, some beyond the image.
        They are in ``scratch``: the next strip overwrites them.
        """
        scratch = scratch or Scratch()
        weight = self._weight(scratch)
        overlap = self.kernel - 1
        rows, columns = ((size - overlap) // self.tile for size in padded.shape[1:3])
        together = max(1, self.tiles_at_once // (rows * columns))
        height = rows if together > 1 else max(1, min(rows, self.tiles_at_once // columns))
        for frame in range(0, len(padded), together):
            frames = slice(frame, min(frame + together, len(padded)))
            for row in range(0, rows, height):
                first, last = row * self.tile, min(row + height, rows) * self.tile
                yield frames, first, self._strip(padded[frames, first : last + overlap], weight, scratch)

    def _strip(self, x: Tensor, weight: Tensor, scratch: Scratch) -> Tensor:
        """One strip: from padded pixels to output pixels, both (frames, lines, columns, channels)."""
        n, m = self.side, self.tile
        frames, lines, columns = len(x), x.shape[1] - self.kernel + 1, x.shape[2] - self.kernel + 1
        down, across = lines // m, columns // m
        tiles = frames * down * across
        half = scratch("half", n, frames, down, x.shape[2], self.inputs, like=x)
        combine(self.in_terms, [x[:, i : i + lines - m + 1 : m] for i in range(n)], half)
        tile = scratch("tile", n, n, frames, down, across, self.inputs, like=x)
        combine(self.in_terms, [half[:, :, :, i : i + columns - m + 1 : m] for i in range(n)], tile)
        product = scratch("product", n, n, tiles, self.outputs, like=x)
        torch.bmm(tile.view(n * n, tiles, self.inputs), weight, out=product.view(n * n, tiles, self.outputs))
        half = scratch("half", m, n, tiles, self.outputs, like=x)
        combine(self.out_terms, product.unbind(), half)
        half = half.view(m, n, frames, down, across, self.outputs)
        out = scratch("out", frames, down, m, across, m, self.outputs, like=x)
        combine(self.out_terms, half.unbind(1), out.permute(2, 4, 0, 1, 3, 5))
        return out.view(frames, lines, columns, self.outputs)

    def _weight(self, scratch: Scratch) -> Tensor:
        """Weights as the products need them: (n², inputs, outputs)."""
        return self._made(scratch).permute(1, 2, 0)

    def _made(self, scratch: Scratch) -> Tensor:
        """Weights in Winograd's domain: (outputs, n², inputs), or in the order that `compiled` takes."""
        if self.kept is not None:
            return self.kept
        weight, made = scratch.weight(self, self.outputs, self.side**2, self.inputs, like=self.transform)
        if not made:
            self._make(weight)
        return weight

    def _make(self, out: Tensor) -> None:
        if self.transforms is not None:
            calls.winograd_weights(self.plain, self.transforms, out)
        else:
            torch.matmul(self.transform, self.plain.float(), out=out)
