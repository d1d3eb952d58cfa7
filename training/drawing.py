"""Pictures of the procedural world: shapes by their signed distance, drawn for a whole batch at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from training.world import COLOURS, MOTIONS, SHAPES, Thing

FRAMES = 16
"""Frames of a clip: motion runs once from its first to its last."""
RADIUS = {"medium": 0.22, "large": 0.30}
SPAN = 0.40
"""How far an object travels in a clip, in picture widths."""
GHOSTS = ((6.0, 0.20), (3.0, 0.35))
"""Motion leaves traces: how many frames ago, and how opaque. A motion module reads no text, so the direction must be
visible to the image UNet, which does."""

Grid: TypeAlias = Tensor
"""(pictures, height, width)."""


@dataclass(frozen=True)
class Pose:
    """Where objects are: centre and radius in picture widths, angle in radians; one number per picture."""

    x: Tensor
    y: Tensor
    radius: Tensor
    angle: Tensor


@dataclass(frozen=True)
class Chance:
    """Everything about things that captions do not tell, drawn from their seeds; one row per thing."""

    x: Tensor
    y: Tensor
    scale: Tensor
    phase: Tensor
    tint: Tensor
    """(things, 2, 3): small changes of the object's and the background's colour."""


def chance(things: Sequence[Thing]) -> Chance:
    """What the seeds of ``things`` decide."""
    rows = [torch.rand(10, generator=torch.Generator().manual_seed(thing.seed)) for thing in things]
    drawn = torch.stack(rows)
    tint = (drawn[:, 4:] - 0.5).view(-1, 2, 3) * 0.05
    return Chance(
        0.5 + (drawn[:, 0] - 0.5) * 0.2, 0.5 + (drawn[:, 1] - 0.5) * 0.2, 0.92 + 0.16 * drawn[:, 2], drawn[:, 3], tint
    )


def pose(things: Sequence[Thing], luck: Chance, time: Tensor) -> Pose:
    """Where ``things`` are at ``time``, in frames from 0 to 15."""
    along = (time / (FRAMES - 1) - 0.5) * SPAN
    motion = torch.tensor([MOTIONS.index(thing.motion) for thing in things])
    way = {name: (motion == MOTIONS.index(name)).float() for name in MOTIONS}
    sideways, upright = way["left"] + way["right"], way["up"] + way["down"]
    x = luck.x + sideways * (0.5 - luck.x) * 0.7 + along * (way["right"] - way["left"])
    y = luck.y + upright * (0.5 - luck.y) * 0.7 + along * (way["down"] - way["up"])
    radius = torch.tensor([RADIUS[thing.size] for thing in things]) * luck.scale
    radius = radius * (1 + way["growing"] * along * 1.5)
    angle = way["spinning"] * (along / SPAN + 0.5) * math.pi
    return Pose(x, y, radius, angle)


def ghost(things: Sequence[Thing], luck: Chance, time: Tensor, ago: float) -> Pose:
    """A trace of motion: where a thing was ``ago`` frames before; what grows has it outside, where it can be seen."""
    growing = torch.tensor([thing.motion == "growing" for thing in things])
    was, now = pose(things, luck, time - ago), pose(things, luck, time)
    return Pose(was.x, was.y, torch.where(growing, now.radius * (1 + ago * 0.07), was.radius), was.angle)


def draw(things: Sequence[Thing], time: Tensor, *, size: int = 128) -> Tensor:
    """Pictures (things, 3, size, size) in -1..1 of ``things`` at ``time``, one moment for each; drawn on the CPU."""
    with torch.device("cpu"):
        return drawn(things, time.cpu(), size)


def drawn(things: Sequence[Thing], time: Tensor, size: int) -> Tensor:
    """What `draw` gives, on the device at hand."""
    luck = chance(things)
    kinds = [SHAPES.index(thing.shape) for thing in things]
    colour = colours([thing.colour for thing in things], luck.tint[:, 0])
    picture = backgrounds(things, luck, time, size)
    moving = torch.tensor([float(thing.motion != "still") for thing in things]).view(-1, 1, 1)
    if moving.any():
        for ago, opacity in GHOSTS:
            trace = cover(kinds, ghost(things, luck, time, ago), size) * moving * opacity
            picture = torch.lerp(picture, colour, trace[:, None])
    picture = torch.lerp(picture, colour, cover(kinds, pose(things, luck, time), size)[:, None])
    return spoiled(picture, things).clamp(0, 1) * 2 - 1


def clips(things: Sequence[Thing], *, size: int = 128) -> Tensor:
    """Clips (things, 16, 3, size, size) in -1..1."""
    every = [thing for thing in things for _ in range(FRAMES)]
    return draw(every, torch.arange(FRAMES).float().repeat(len(things)), size=size).unflatten(0, (-1, FRAMES))


def colours(names: Sequence[str], tint: Tensor) -> Tensor:
    """Palette colours (pictures, 3, 1, 1), slightly changed."""
    return (torch.tensor([COLOURS[name] for name in names]) + tint).clamp(0, 1)[:, :, None, None]


def cover(kinds: Sequence[int], pose: Pose, size: int) -> Grid:
    """How much of each pixel the shapes cover, 0 to 1."""
    across, down = grid(size)
    column = [value.view(-1, 1, 1) for value in (pose.x, pose.y, pose.radius, pose.angle)]
    x, y = (across - column[0]) / column[2], (down - column[1]) / column[2]
    turned = x * column[3].cos() + y * column[3].sin(), y * column[3].cos() - x * column[3].sin()
    distance = torch.empty(len(kinds), size, size)
    for kind in set(kinds):
        rows = torch.tensor([row for row, own in enumerate(kinds) if own == kind])
        distance[rows] = outline(SHAPES[kind], turned[0][rows], turned[1][rows])
    return torch.sigmoid(-distance * column[2] * size * 1.4)


def grid(size: int) -> tuple[Grid, Grid]:
    """Pixel centres in picture widths: across as a row, down as a column."""
    centres = (torch.arange(size).float() + 0.5) / size
    return centres.view(1, 1, size), centres.view(1, size, 1)


def outline(shape: str, x: Grid, y: Grid) -> Grid:
    """Distance to the border of a shape of radius about 1, negative inside; ``y`` points down."""
    if shape == "circle":
        return (x * x + y * y + 1e-9).sqrt() - 0.88
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.76
    if shape == "triangle":
        lower, slope = y - 0.62, (x.abs() * 0.87 - y * 0.5) - 0.5
        return torch.maximum(lower, slope)
    if shape == "star":
        return star(x, y)
    if shape == "heart":
        lobes = ((x.abs() - 0.42).square() + (y + 0.30).square() + 1e-9).sqrt() - 0.50
        wedge = torch.maximum(x.abs() * 0.76 + y * 0.65 - 0.63, -(y + 0.24))
        return torch.minimum(lobes, wedge)
    bar, beam = torch.maximum(x.abs() - 0.3, y.abs() - 0.92), torch.maximum(x.abs() - 0.92, y.abs() - 0.3)
    return torch.minimum(bar, beam)


def star(x: Grid, y: Grid, *, outer: float = 1.05, inner: float = 0.45) -> Grid:
    """A star with five points, one up: every point is the same edge, mirrored and turned."""
    sector = 2 * math.pi / 5
    angle = (torch.remainder(torch.atan2(x, -y) + sector / 2, sector) - sector / 2).abs()
    far = (x * x + y * y + 1e-9).sqrt()
    edge_x, edge_y = inner * math.cos(sector / 2) - outer, inner * math.sin(sector / 2)
    length = math.hypot(edge_x, edge_y)
    return (far * angle.cos() - outer) * edge_y / length - far * angle.sin() * edge_x / length


def backgrounds(things: Sequence[Thing], luck: Chance, time: Tensor, size: int) -> Tensor:
    """What is behind: one colour, or a scene."""
    picture = colours([t.background for t in things], luck.tint[:, 1]).expand(-1, -1, size, size).clone()
    for row, thing in enumerate(things):
        if thing.scene != "plain":
            moment = float(time[row]) / FRAMES
            picture[row] = SCENERY[thing.scene](picture[row], float(luck.phase[row]), moment, thing.seed)
    return picture


def stripes(plain: Tensor, phase: float, moment: float, seed: int) -> Tensor:
    """Upright stripes in two shades of the background's colour."""
    across, _ = grid(plain.shape[-1])
    lighter = torch.where(plain.mean(0, keepdim=True) > 0.85, plain * 0.72, torch.lerp(plain, torch.ones(()), 0.45))
    return torch.lerp(plain, lighter, torch.sigmoid(torch.sin((across + phase * 0.25) * 8 * math.pi) * 12))


def night(plain: Tensor, phase: float, moment: float, seed: int) -> Tensor:
    """A dark blue sky with small stars that twinkle."""
    across, down = grid(plain.shape[-1])
    sky = torch.lerp(
        torch.tensor((0.02, 0.02, 0.12)).view(3, 1, 1), torch.tensor((0.08, 0.08, 0.3)).view(3, 1, 1), down
    )
    at = torch.rand(3, 20, 1, 1, generator=torch.Generator().manual_seed(seed))
    far = ((across - at[0]).square() + (down - at[1]).square()).sqrt()
    light = 0.65 + 0.35 * torch.sin(2 * math.pi * (at[2] + moment))
    return sky + (torch.sigmoid((0.012 - far) * plain.shape[-1] * 1.4) * light).amax(0) * 0.85


def ocean(plain: Tensor, phase: float, moment: float, seed: int) -> Tensor:
    """Waves in shades of blue, with foam on their crests."""
    across, down = grid(plain.shape[-1])
    picture = torch.tensor((0.20, 0.62, 0.86)).view(3, 1, 1).expand_as(plain)
    for wave in range(5):
        shade = torch.lerp(torch.tensor((0.16, 0.55, 0.80)), torch.tensor((0.03, 0.2, 0.52)), wave / 4).view(3, 1, 1)
        way = moment if wave % 2 else -moment
        crest = 0.12 + wave * 0.18 + 0.03 * torch.sin(2 * math.pi * (across * 2.2 + phase + wave * 0.37 + way))
        picture = torch.lerp(picture, shade, torch.sigmoid((down - crest) * plain.shape[-1] * 1.4))
        picture = torch.lerp(picture, torch.ones(()), 0.5 * torch.exp(-((down - crest - 0.012) / 0.012).square()))
    return picture


SCENERY = {"stripes": stripes, "night": night, "ocean": ocean}


def spoiled(picture: Tensor, things: Sequence[Thing]) -> Tensor:
    """Things of low quality come out blurred, noisy and pale."""
    rows = torch.tensor([row for row, thing in enumerate(things) if thing.quality == "low"], dtype=torch.long)
    if len(rows) == 0:
        return picture
    size = picture.shape[-1]
    blurred = F.interpolate(F.avg_pool2d(picture[rows], 8), size=(size, size), mode="bilinear")
    noise = [
        torch.randn(3, size // 2, size // 2, generator=torch.Generator().manual_seed(things[r].seed)) for r in rows
    ]
    bad = (blurred + F.interpolate(torch.stack(noise), scale_factor=2.0) * 0.16) * 0.7 + 0.15
    return picture.index_copy(0, rows, bad)
