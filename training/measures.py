"""What pictures show, measured without training: colours by the palette, shapes by templates, motion by position."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from training.drawing import grid, outline
from training.world import COLOURS, SHAPES

PALETTE = torch.tensor(list(COLOURS.values()))
TILTS = (-0.12, 0.0, 0.12)
"""Angles at which a shape is still upright, in radians."""
FAINT = 0.25
"""Pictures that differ nowhere more than this from their border show no object."""


class Seen(NamedTuple):
    """What a picture shows.

    background, colour: the nearest colours of the palette; no colour if there is no object.
    behind, rgb: what colours they are, 0 to 1.
    x, y, area: the object's centre and size, in picture widths.
    mask: where it is.
    """

    background: str
    colour: str
    x: float
    y: float
    area: float
    mask: Tensor
    rgb: Tensor
    behind: Tensor


def nearest(rgb: Tensor) -> str:
    """The palette's name for a colour."""
    return list(COLOURS)[int((PALETTE - rgb).square().sum(1).argmin())]


def seen(picture: Tensor) -> Seen:
    """What ``picture`` (3, size, size) in -1..1 shows: the background is the border's colour, the object the rest."""
    pixels = (picture + 1) / 2
    size, edge = pixels.shape[-1], pixels.shape[-1] // 16
    border = [pixels[:, :edge], pixels[:, -edge:], pixels[..., :edge], pixels[..., -edge:]]
    behind = torch.cat([part.flatten(1) for part in border], 1).median(1).values
    difference = (pixels - behind.view(3, 1, 1)).norm(dim=0)
    if difference.max() < FAINT:
        return Seen(nearest(behind), "", 0.5, 0.5, 0.0, torch.zeros(size, size), behind, behind)
    core = difference > 0.7 * difference.flatten().kthvalue(int(0.995 * difference.numel())).values
    rgb = pixels[:, core].median(1).values
    nearer = (pixels - rgb.view(3, 1, 1)).norm(dim=0) < difference
    mask = (nearer & (difference > 0.4 * (rgb - behind).norm())).float()
    across, down = grid(size)
    count = mask.sum().clamp(min=1)
    x, y = float((mask * across[0]).sum() / count), float((mask * down[0]).sum() / count)
    return Seen(nearest(behind), nearest(rgb), x, y, float(mask.mean()), mask, rgb, behind)


@lru_cache(maxsize=64)
def unit(shape: str, tilt: float) -> tuple[float, float, float]:
    """Area and centre of a shape of radius 1."""
    line = torch.linspace(-1.4, 1.4, 96)
    x, y = line.view(1, -1), line.view(-1, 1)
    inside = (tilted(shape, x, y, tilt) < 0).float()
    total = inside.sum()
    return float(total * (2.8 / 96) ** 2), float((inside * x).sum() / total), float((inside * y).sum() / total)


def tilted(shape: str, x: Tensor, y: Tensor, tilt: float) -> Tensor:
    """Distance to a shape turned by ``tilt``."""
    return outline(shape, x * math.cos(tilt) + y * math.sin(tilt), y * math.cos(tilt) - x * math.sin(tilt))


def overlaps(view: Seen) -> Mapping[str, float]:
    """Intersection over union of the object with every shape of the same area, at the same centre."""
    across, down = (line[0] for line in grid(view.mask.shape[-1]))
    found = {}
    for shape in SHAPES:
        best = 0.0
        for tilt in TILTS:
            area, x, y = unit(shape, tilt)
            radius = math.sqrt(max(view.area, 1e-4) / area)
            inside = tilted(shape, (across - view.x) / radius + x, (down - view.y) / radius + y, tilt) < 0
            both = (inside & (view.mask > 0)).sum()
            best = max(best, float(both / (inside | (view.mask > 0)).sum().clamp(min=1)))
        found[shape] = best
    return found


def shape_of(view: Seen) -> str:
    """The shape that the object overlaps with best."""
    found = overlaps(view)
    return max(found, key=lambda shape: found[shape])


def way(frames: Tensor) -> str:
    """Where the object of a clip goes: left, right, up or down; still if hardly anywhere."""
    views = [view for view in map(seen, frames) if view.area]
    if len(views) < 2:
        return "still"
    across, down = slope([view.x for view in views]), slope([view.y for view in views])
    if max(abs(across), abs(down)) < 0.08:
        return "still"
    if abs(across) > abs(down):
        return "right" if across > 0 else "left"
    return "down" if down > 0 else "up"


def slope(values: Sequence[float]) -> float:
    """How far a straight line through ``values`` rises from the first to the last."""
    y = torch.tensor(values)
    x = torch.linspace(-0.5, 0.5, len(values))
    return float(((y - y.mean()) * x).sum() / x.square().sum())


def flicker(frames: Tensor) -> float:
    """Mean absolute difference of neighbouring frames, of values in 0..1."""
    return float((frames[1:] - frames[:-1]).abs().mean() / 2)


def rank_correlation(values: Sequence[float]) -> float:
    """Spearman's correlation of ``values`` with their order."""
    order = torch.tensor(values).argsort().argsort().float()
    index = torch.arange(len(values)).float()
    return float(torch.corrcoef(torch.stack([order, index]))[0, 1])
