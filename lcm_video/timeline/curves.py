"""Numbers that change over time: plain, expressions, points at moments, or a sound."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, TypeAlias, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, GetCoreSchemaHandler, Tag
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

from lcm_video.errors import StoryboardError
from lcm_video.timeline.arithmetic import Now
from lcm_video.timeline.easings import Easing
from lcm_video.timeline.expressions import parse
from lcm_video.timeline.moments import Moment
from lcm_video.timeline.sound import Heard
from lcm_video.types import STRICT


def _is_expression(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return isinstance(value, str) and value.strip() != ""
    except TypeError:
        return False
    return False


def _computed(text: str) -> str | float:
    """The expression itself, once it parses; one without variables is the number that it comes to."""
    expression = parse(text)
    return text if expression.varies else expression.at(Now(0, 0, 1, 1, {}))


EXPRESSION = Annotated[str, AfterValidator(_computed), Field(description="an expression such as sin(2*pi*t/24) + 1")]

Value: TypeAlias = Annotated[
    Annotated[float, Tag("<number>")] | Annotated[EXPRESSION, Tag("<expression>")],
    Discriminator(lambda value: "<expression>" if _is_expression(value) else "<number>"),
]
"""A number, or an expression: ``1.5`` or ``"sin(2*pi*t/24)*0.5 + 1"``."""


@dataclass(frozen=True, config=STRICT)
class Point:
    """A number at a moment.

    value: the number, or an expression that goes on until the next moment
    ease: how the way from this number to the next is paced
    """

    value: Value
    ease: Easing = "linear"


def short(field: str, kind: Any) -> BeforeValidator:
    """Lets a keyframe or point be written as its main field alone: ``0: a fox`` for ``0: {text: a fox}``."""
    return BeforeValidator(
        lambda value: {field: value} if isinstance(value, str | int | float) else value, json_schema_input_type=kind
    )


def _kind(value: Any) -> str:
    if isinstance(value, Heard) or (isinstance(value, Mapping) and "audio" in value):
        return "<sound>"
    return "<curve>" if isinstance(value, Mapping) else "<expression>" if _is_expression(value) else "<number>"


# A tag tells pydantic which alternative was meant, so that only that one's errors are told. Angle brackets mark it as
# no field's name where it turns up in an error's path.
Curve: TypeAlias = Annotated[
    Annotated[float, Tag("<number>")]
    | Annotated[EXPRESSION, Tag("<expression>")]
    | Annotated[dict[Moment, Annotated[Point, short("value", float | str | Point)]], Tag("<curve>")]
    | Annotated[Heard, Tag("<sound>")],
    Discriminator(_kind),
]
"""A number, an expression, numbers at moments, or a sound.

``1.5``, ``"@pulse * 0.5 + 1"``, ``{"0": 1, "2s": {"value": 2, "ease": "smooth"}}``, ``{"audio": "drums.wav"}``.
"""

CurveName: TypeAlias = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


@plain_dataclass(frozen=True)
class within:
    """A check for a Curve field, as in ``guidance: Annotated[Curve, within(0, 30)]``: every value lies in the range.

    What is known without a film is checked at once; `check_frames` is for the value of each frame.
    """

    low: float
    high: float

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, curve: Any) -> Any:
        """The curve, if all plain numbers in it lie in the range."""
        if isinstance(curve, dict) and not curve:
            raise StoryboardError("a curve needs at least one moment", remedy="write a number, or {0: 1, 2s: 0.5}")
        for field, value in _numbers(curve):
            self.refuse(value, field=field)
        return curve

    def refuse(self, value: float, *, field: str = "", place: str = "") -> None:
        """Raises StoryboardError if the value lies outside."""
        if not self.low <= value <= self.high:
            message = f"{value:g}{place} is not between {self.low:g} and {self.high:g}"
            remedy = f"choose a number from {self.low:g} to {self.high:g}"
            raise StoryboardError(message, remedy=remedy, field=field)

    def check_frames(self, numbers: Sequence[float]) -> None:
        """Raises StoryboardError, naming the frame, for the first number outside."""
        for frame, value in enumerate(numbers):
            self.refuse(value, place=f" at frame {frame}")


def ranges(section: type) -> dict[str, within]:
    """The range of every field of a section that has one."""
    hints = get_type_hints(section, include_extras=True)
    found = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: mark for name, marks in found.items() for mark in marks if isinstance(mark, within)}


def _numbers(curve: Any) -> Iterator[tuple[str, float]]:
    """Yields the plain numbers of a curve, each with the path of its field within it."""
    if isinstance(curve, float):
        yield "", curve
    elif isinstance(curve, Heard):
        yield from (("range", end) for end in curve.range)
    elif isinstance(curve, dict):
        yield from ((at, point.value) for at, point in curve.items() if isinstance(point.value, float))


def calls(curve: Any) -> Iterator[tuple[str, str, int]]:
    """Yields every ``@name`` in a curve: the path of its field within the curve, the name, its column there."""
    texts = {"": curve} if isinstance(curve, str) else {}
    if isinstance(curve, Mapping):
        points = ((at, point) for at, point in curve.items() if isinstance(point, Point))
        texts = {f"{at}.value": point.value for at, point in points if isinstance(point.value, str)}
    for field, text in texts.items():
        yield from ((field, name, column) for name, column in parse(text).curves.items())
