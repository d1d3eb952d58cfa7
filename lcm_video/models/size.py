"""What SDXL is told of a picture's size and cropping (arXiv:2307.01952 §2.2). Loads no torch."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, TypeAlias

from pydantic.dataclasses import dataclass

from lcm_video.timeline import Curve, within
from lcm_video.types import STRICT

NAMED = "size:"
"""What the names of these numbers begin with in an encoding, each (frames,): ``size:crop_top``."""

Side: TypeAlias = Annotated[Curve, within(0, 16384)]


@dataclass(frozen=True, config=STRICT)
class Size:
    """What SDXL is told of the picture, in pixels, 0 to 16384; each number may vary over time.

    original_height, original_width: its size before it was scaled for training; 0 is the film's own, small is blurry.
    crop_top, crop_left: how far it was cropped; 0 shows subjects whole.
    target_height, target_width: the size it was cropped to; 0 is the film's own.
    """

    original_height: Side = 0.0
    original_width: Side = 0.0
    crop_top: Side = 0.0
    crop_left: Side = 0.0
    target_height: Side = 0.0
    target_width: Side = 0.0

    def given(self) -> Iterator[tuple[str, Curve]]:
        """Yields the numbers that are not left to the film, under their names in an encoding."""
        for name in SIZES:
            if (curve := getattr(self, name)) != 0:
                yield NAMED + name, curve


SIZES = tuple(field.name for field in fields(Size))
"""The numbers in the order in which SDXL's UNet takes them."""
