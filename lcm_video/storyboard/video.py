"""The film's shape: length, frame rate, size."""

import re
from fractions import Fraction
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic.dataclasses import dataclass

from lcm_video.errors import StoryboardError
from lcm_video.timeline import Tempo
from lcm_video.types import STRICT

MAX_FRAMES = 1_000_000

RATES = {"film": Fraction(24), "ntsc-film": Fraction(24000, 1001), "ntsc": Fraction(30000, 1001), "pal": Fraction(25)}
"""Frame rates with a name."""


def frame_rate(value: Any) -> Fraction:
    """Frames per second as an exact fraction, from ``12``, ``"23.976"``, ``"24000/1001"`` or a name in RATES.

    Decimals near a television rate become it: 29.97 is 30000/1001. Raises StoryboardError for all else.

    >>> [str(frame_rate(rate)) for rate in ("12", 12.5, "23.976", "59.94", "ntsc")]
    ['12', '25/2', '24000/1001', '60000/1001', '30000/1001']
    """
    text = str(value).strip().lower()
    if text in RATES:
        return RATES[text]
    if not re.fullmatch(r"-?[0-9]{1,9}(\.[0-9]{0,20})?|-?[0-9]{1,9}/[0-9]{1,9}", text) or re.search(r"/0+$", text):
        message = f"{text[:40]!r} is not a frame rate"
        raise StoryboardError(message, remedy=f"write 12, 23.976, 24000/1001 or one of {', '.join(RATES)}")
    rate = Fraction(text).limit_denominator(1001)
    if not 0 < rate <= 240:
        raise StoryboardError(f"{text} is not above 0 and at most 240", remedy="8 to 30 frames per second is usual")
    television = (Fraction(whole * 1000, 1001) for whole in (24, 30, 48, 60, 120))
    return next((exact for exact in television if "." in text and abs(rate - exact) < Fraction(1, 1000)), rate)


def _multiple_of_8(pixels: int) -> int:
    if pixels % 8:
        below = pixels // 8 * 8
        raise StoryboardError(f"{pixels} is not a multiple of 8", remedy=f"use {below} or {below + 8}")
    return pixels


def _bpm(tempo: Any) -> Any:
    return {"bpm": tempo} if isinstance(tempo, str | int | float) else tempo


FrameRate: TypeAlias = Annotated[
    Fraction,
    BeforeValidator(frame_rate),
    PlainSerializer(str),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 240}, {"type": "string"}]}),
]
Pixels: TypeAlias = Annotated[int, Field(ge=64, le=8192), AfterValidator(_multiple_of_8)]
FrameCount: TypeAlias = Annotated[int, Field(ge=1, le=MAX_FRAMES)]


@dataclass(frozen=True, config=STRICT)
class Video:
    """The film's shape.

    frames: length of a shot in frames, 1 to 1,000,000; left out, a shot ends at its last keyframe
    fps: frames per second, above 0 and at most 240, exact: 12, 23.976, 24000/1001, film, ntsc-film, ntsc or pal
    width: pixels, a multiple of 8 (the VAE's step), 64 to 8192
    height: pixels, as width
    loop: whether the film's end meets its beginning
    tempo: the music's beats per minute, for moments such as 4b and 2bar; ``tempo: 120`` is short for {bpm: 120}
    """

    frames: FrameCount | None = None
    fps: FrameRate = Fraction(8)
    width: Pixels = 512
    height: Pixels = 512
    loop: bool = False
    tempo: Annotated[Tempo, BeforeValidator(_bpm, json_schema_input_type=float | Tempo)] | None = None
