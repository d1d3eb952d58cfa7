"""A drawing of rectangles, areas, lines and words, written as SVG or PNG. `plan` draws the timeline with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal, TypeAlias

from lcm_video.errors import EncodeError

PointXY: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: Sequence[PointXY]
    colour: str


@dataclass(frozen=True)
class Line:
    """A polyline of ``width`` pixels."""

    points: Sequence[PointXY]
    colour: str
    width: float = 1


@dataclass(frozen=True)
class Words:
    """One line of text; ``at`` is its baseline's start, middle or end."""

    at: PointXY
    text: str
    colour: str
    size: float = 12
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass
class Picture:
    """Shapes in drawing order, on a sheet of ``width`` by ``height`` pixels."""

    width: float
    height: float
    background: str
    shapes: list[Area | Line | Words] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Adds a filled rectangle."""
        self.shapes.append(Area([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour))

    def write(self, path: Path) -> Path:
        """Writes the picture in the format that the ending of ``path`` names, and returns the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".svg":
            path.write_text(svg(self), encoding="utf-8")
        elif path.suffix.lower() == ".png":
            png(self, path)
        else:
            raise EncodeError(f"cannot draw {path.name!r}", remedy="give the picture a name ending in .svg or .png")
        return path


def svg(picture: Picture) -> str:
    """The picture as one SVG document without outside references."""
    size = f'width="{picture.width:g}" height="{picture.height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {picture.width:g} {picture.height:g}" '
        'font-family="ui-sans-serif, system-ui, sans-serif">',
        f'<rect {size} fill="{picture.background}"/>',
        *(_element(shape) for shape in picture.shapes),
        "</svg>\n",
    ]
    return "\n".join(lines)


def _element(shape: Area | Line | Words) -> str:
    if isinstance(shape, Words):
        (x, y), look = shape.at, f'fill="{shape.colour}" font-size="{shape.size:g}" text-anchor="{shape.anchor}"'
        return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(shape.text)}</text>'
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
    if isinstance(shape, Area):
        return f'<polygon points="{points}" fill="{shape.colour}"/>'
    return f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"/>'


def png(picture: Picture, path: Path, *, scale: int = 2) -> None:
    """Writes the picture as pixels, ``scale`` of them along each unit."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (round(picture.width * scale), round(picture.height * scale)), picture.background)
    draw = ImageDraw.Draw(image)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in picture.shapes:
        if isinstance(shape, Words):
            x, y = shape.at
            font = ImageFont.load_default(size=shape.size * scale)
            draw.text((x * scale, y * scale), shape.text, shape.colour, font, anchor=anchors[shape.anchor])
        elif len(points := [(x * scale, y * scale) for x, y in shape.points]) > 1:
            if isinstance(shape, Area):
                draw.polygon(points, shape.colour)
            else:
                draw.line(points, shape.colour, round(shape.width * scale), joint="curve")
    image.save(path)
