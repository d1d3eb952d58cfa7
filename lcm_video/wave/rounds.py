"""A shot that is drawn several times, each time from the one before: whole waves, of which only the last is shown."""

from dataclasses import replace
from functools import cache

from lcm_video.chunks import chunks_of
from lcm_video.freeinit import FreeInit, mix
from lcm_video.samplers import noised
from lcm_video.scratch import room
from lcm_video.types import Latents
from lcm_video.wave.running import Wave
from lcm_video.wave.take import Map, Take

FRESH = 2**30
"""The number of the first round's fresh noise, beyond that of any step."""


def again(take: Take, options: FreeInit, *, map: Map = map, breadth: int = 1) -> Take:
    """A take that begins where ``options.rounds`` earlier drawings of it lead (see `freeinit`).

    They are made when the first of its frames begins, whole: the shot's latents are then all held, many of them in a
    file (`scratch`). A wave's ``live`` holds nothing of this; who goes on from it makes them again, if a frame that
    has not begun is asked for.
    """

    if not options.rounds:
        return take

    @cache
    def beginnings() -> Latents:
        drawn, fresh = (room(take.frames, *take.shape) for _ in range(2))
        begun = replace(take, begin=lambda number, frames: drawn[[*frames]])
        for number in range(options.rounds):
            # Finished frames are laid where they began: nothing asks for that any more.
            for turn in Wave(begun if number else take, map=map, breadth=breadth):
                if turn.finished is not None:
                    own = take.noise(0, turn.stretch)
                    drawn[turn.stretch.start : turn.stretch.stop] = noised(turn.finished, own, take.levels[0].alpha)
            for chunk in chunks_of(take.frames):
                fresh[chunk.start : chunk.stop] = take.begin(FRESH + number, chunk)
            mix(drawn, fresh, options)
        return drawn

    return replace(take, begin=lambda number, frames: beginnings()[[*frames]])
