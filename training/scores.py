"""Pictures scored against what was asked for: rows of the evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

from training.drawing import draw
from training.measures import Seen, overlaps, seen
from training.world import COLOURS, SCENES, SHAPES, Thing

Row = dict[str, Any]

MEASURED = ("iou", "roughness", "colour_error")
"""Scores that are numbers, not right or wrong."""


def scored(pictures: Tensor, wanted: Sequence[Thing]) -> Row:
    """How often background, colour and shape are right; means of what is `MEASURED`, and their standard errors."""
    each = [score(picture, thing) for picture, thing in zip(pictures, wanted, strict=True)]
    row: Row = {"n": len(wanted)}
    row |= {key: fmean(own[key] for own in each) for key in ("background", "colour", "shape")}
    for key in MEASURED:
        row |= {key: fmean(own[key] for own in each), f"{key}_error": standard_error([own[key] for own in each])}
    by_shape = {s: [own["shape"] for own, thing in zip(each, wanted, strict=True) if thing.shape == s] for s in SHAPES}
    return row | {"by_shape": {shape: fmean(own) for shape, own in by_shape.items() if own}}


def gains(before: Tensor, after: Tensor, wanted: Sequence[Thing]) -> Row:
    """How much better pictures became, with the standard error of each mean; of the same prompts and noise, in pairs.

    What is low when it is good (roughness, colour error) counts as gained where it fell.
    """
    row: Row = {"n": len(wanted)}
    pairs = [(score(a, thing), score(b, thing)) for a, b, thing in zip(before, after, wanted, strict=True)]
    for key in MEASURED:
        sign = 1 if key == "iou" else -1
        changes = [sign * (b[key] - a[key]) for a, b in pairs]
        row |= {key: fmean(changes), f"{key}_error": standard_error(changes)}
    return row


def score(picture: Tensor, thing: Thing) -> Mapping[str, float]:
    """One picture's scores."""
    view = seen(picture)
    found = overlaps(view)
    return {
        "background": view.background == thing.background,
        "colour": view.colour == thing.colour,
        "shape": max(found, key=lambda shape: found[shape]) == thing.shape,
        "iou": found[thing.shape],
        "roughness": roughness(picture),
        "colour_error": colour_error(view, thing),
    }


def colour_error(view: Seen, thing: Thing) -> float:
    """How far object and background are from the colours asked for: mean distance in RGB, each channel 0 to 1."""
    pairs = ((view.rgb, thing.colour), (view.behind, thing.background))
    return fmean(float((rgb - torch.tensor(COLOURS[name])).norm()) for rgb, name in pairs)


def roughness(picture: Tensor, *, band: int = 10) -> float:
    """Mean absolute Laplacian along the picture's border, where no object is: 0 for a plain one, high for noise."""
    inner = picture[:, 1:-1, 1:-1]
    around = picture[:, :-2, 1:-1] + picture[:, 2:, 1:-1] + picture[:, 1:-1, :-2] + picture[:, 1:-1, 2:]
    bent = (inner - around / 4).abs().mean(0)
    at_border = torch.ones_like(bent)
    at_border[band:-band, band:-band] = 0
    return float((bent * at_border).sum() / at_border.sum())


def scenery(picture: Tensor, *, band: int = 10) -> Tensor:
    """What a picture's border looks like, wherever its waves and stripes are: mean colour, contrast across and down."""
    pixels = (picture + 1) / 2
    top, sides = pixels[:, :band].mean(1), pixels[..., :band].mean(2)
    mean = torch.cat([top, sides], 1).mean(1)
    return torch.cat([mean, top.std(1).mean().view(1), sides.std(1).mean().view(1)])


def scene_of(picture: Tensor, thing: Thing) -> str:
    """The scene whose drawing the picture's border is most like, with the same background colour."""
    drawn = draw([replace(thing, scene=scene) for scene in SCENES], torch.zeros(len(SCENES)))
    far = [float((scenery(picture) - scenery(own)).norm()) for own in drawn]
    return SCENES[far.index(min(far))]


def standard_error(values: Sequence[float]) -> float:
    """The standard error of the mean of ``values``."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
