"""A curve's value in every frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.timeline.arithmetic import Now
from lcm_video.timeline.curves import Curve, calls
from lcm_video.timeline.expressions import ExpressionError, parse
from lcm_video.timeline.film import ALONE, Film
from lcm_video.timeline.sound import Heard
from lcm_video.timeline.tracks import Track


def values(
    curve: Curve, *, fps: Fraction | float, frames: int, loop: bool = False, film: Film = ALONE
) -> tuple[float, ...]:
    """One number per frame, by the same rules as `plan`; a plain number stays itself.

    Raises StoryboardError for a named curve that ``film`` does not have, and where a frame's value is not finite.

    >>> from lcm_video.timeline.curves import Point
    >>> values({"0": Point(1), "4": Point(2)}, fps=8, frames=6)
    (1.0, 1.25, 1.5, 1.75, 2.0, 2.0)
    """
    shot = _Shot(Fraction(fps), frames, loop, film)
    known: dict[str, tuple[float, ...]] = {}
    for name in used(curve, film):
        known[name] = shot.values(film.curves[name], known)
    return shot.values(curve, known)


def used(curve: Curve, film: Film) -> list[str]:
    """The named curves that a curve takes to evaluate, in the order of the film.

    A named curve may use those above it, so that none can use itself. Raises StoryboardError for one that is not there.
    """
    names = [*film.curves]
    places = {name: place for place, name in enumerate(names)}
    needed = {*_called(curve, places, names)}
    for place in range(len(names) - 1, -1, -1):
        if names[place] in needed:
            needed.update(_called(film.curves[names[place]], places, names[:place]))
    return [name for name in names if name in needed]


def _called(curve: Curve, places: Mapping[str, int], known: Sequence[str]) -> set[str]:
    """The named curves that an expression of a curve calls; all must be among ``known``, the first ones of a film."""
    found: set[str] = set()
    for field, name, column in calls(curve):
        found.add(name)
        if places.get(name, len(known)) >= len(known):
            message = f"there is no curve {name!r}" + (" above this one" if name in places else "")
            remedy = did_you_mean(name, known) if known else f"write curves: {{{name}: …}} in the storyboard"
            if name in places:
                remedy = f"move {name} above it: a curve may use those above, so that none uses itself"
            raise ExpressionError(message, remedy=remedy, field=field, column=column)
    return found


@dataclass(frozen=True)
class _Shot:
    """Where curves are evaluated."""

    fps: Fraction
    frames: int
    loop: bool
    film: Film

    def values(self, curve: Curve, known: Mapping[str, Sequence[float]]) -> tuple[float, ...]:
        """A curve's value in every frame; ``known`` are those of the named curves."""
        if isinstance(curve, Heard):
            if self.film.hear is None:
                raise StoryboardError("sound cannot be read here", remedy="evaluate the curve in its storyboard")
            return curve.scaled(self.film.hear(curve, self.fps, self.film.first, self.frames))
        if not isinstance(curve, Mapping):
            return tuple(map(self.by_frame(curve, known), range(self.frames)))
        track = Track(curve, fps=self.fps, frames=self.frames, loop=self.loop, film=self.film)
        numbers = [self.by_frame(point.value, known) for point in track.keys]

        def value(frame: int) -> float:
            left, right, mix = track.between(frame)
            low = numbers[left](frame)
            return low if mix == 0 else low + (numbers[right](frame) - low) * mix

        return tuple(map(value, range(self.frames)))

    def by_frame(self, value: float | str, known: Mapping[str, Sequence[float]]) -> Callable[[int], float]:
        """What a number or an expression is in a frame."""
        if not isinstance(value, str):
            return lambda frame: float(value)
        expression, fps, n = parse(value), float(self.fps), float(self.frames)
        return lambda frame: expression.at(Now(float(frame), frame / fps, n, fps, known))
