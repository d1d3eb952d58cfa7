"""What a shot's moments and curves may refer to beyond the shot itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lcm_video.timeline.moments import Tempo
from lcm_video.timeline.sound import Hear


@dataclass(frozen=True)
class Film:
    """The film around a shot.

    first: the shot's first frame in the film
    tempo: the music's; None refuses beats and bars
    curves: named curves, which expressions call ``@name``
    hear: reads the sounds that curves follow; None refuses them
    """

    first: int = 0
    tempo: Tempo | None = None
    curves: Mapping[str, Any] = field(default_factory=dict)
    hear: Hear | None = None


ALONE = Film()
"""A shot that is a film of its own, without music."""
