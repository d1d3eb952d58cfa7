"""The stretches in which a shot's frames are computed, stored and read."""

CHUNK = 16
"""Frames in a stretch; a shot's last may be shorter."""


def chunks_of(frames: int) -> list[range]:
    """The chunks of a shot.

    >>> chunks_of(40)
    [range(0, 16), range(16, 32), range(32, 40)]
    """
    return [range(first, min(first + CHUNK, frames)) for first in range(0, frames, CHUNK)]
