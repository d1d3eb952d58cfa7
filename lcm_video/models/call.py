"""What layers deep inside the UNet must know of the call they run in, beyond their input.

Kept in a context variable, not on the modules: several threads may run windows of one UNet at the same time.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

PerFrame = Float[Tensor, " frames"]
"""One number for each frame of the batch."""


@dataclass(frozen=True)
class Call:
    """One call of the UNet: frames to a clip, strength of the motion module, strengths of varying LoRAs by name."""

    clip: int
    motion_scale: PerFrame | None = None
    strengths: Mapping[str, PerFrame] = field(default_factory=dict)


_CALL: ContextVar[Call | None] = ContextVar("unet call", default=None)


@contextmanager
def calling(call: Call) -> Iterator[None]:
    """Makes ``call`` the `current` one, in this thread only, until the block ends."""
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


def current(frames: int) -> Call:
    """The call that runs; outside of any, the whole batch of ``frames`` is one clip and nothing varies."""
    return _CALL.get() or Call(frames)
