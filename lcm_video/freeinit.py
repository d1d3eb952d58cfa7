"""FreeInit (arXiv:2312.07537): a film is drawn again from the low frequencies of its first drawing.

Noise that a model was trained to begin from still holds a trace of the film; pure noise holds none. So what was drawn
is noised again, and its slow and coarse part, in time and space, takes the place of that part of fresh noise.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from lcm_video.types import STRICT, Latents

if TYPE_CHECKING:
    from torch import Tensor

Cutoff = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class FreeInit:
    """Drawing a shot several times, each time from the low frequencies of the time before (arXiv:2312.07537).

    rounds: how many times it is drawn before, 0 to 10; each costs as much as the film, and frames come only then. 0 is
        off; the authors use 2 to 4
    filter: how sharply low frequencies are told from high ones: butterworth, gaussian or ideal
    order: how sharp the butterworth filter is, 1 to 16
    space: up to which share of the highest spatial frequency the former drawing is kept, above 0 to 1
    time: the same of the highest frequency in time
    """

    rounds: Annotated[int, Field(ge=0, le=10)] = 0
    filter: Literal["butterworth", "gaussian", "ideal"] = "butterworth"
    order: Annotated[int, Field(ge=1, le=16)] = 4
    space: Cutoff = 0.25
    time: Cutoff = 0.25


def kept(options: FreeInit, frames: int, height: int, width: int) -> "Tensor":
    """How much of each frequency is kept, as `torch.fft.rfftn` orders them: frames, height, half the width."""
    import torch

    def squared(frequencies: "Tensor") -> "Tensor":
        return (2 * frequencies.double()) ** 2  # 1 is the highest that a grid can hold

    times = (options.space / options.time) ** 2 * squared(torch.fft.fftfreq(frames))
    rows, columns = squared(torch.fft.fftfreq(height)), squared(torch.fft.rfftfreq(width))
    distance = times[:, None, None] + rows[:, None] + columns
    if options.filter == "butterworth":
        share = 1 / (1 + (distance / options.space**2) ** options.order)
    elif options.filter == "gaussian":
        share = (-distance / (2 * options.space**2)).exp()
    else:  # the authors compare the square with twice the cut-off, and so does everybody
        share = (distance <= 2 * options.space).double()
    return share.float()


def mix(drawn: Latents, fresh: Latents, options: FreeInit) -> None:
    """Puts low frequencies of ``drawn`` and high ones of ``fresh`` together, in place of ``drawn``.

    Both are whole shots, noised to the same level. Channel by channel, so that of a long film, which may lie in a file,
    a part is in memory at a time.
    """
    import torch

    frames, channels, height, width = drawn.shape
    share = kept(options, frames, height, width)
    for channel in range(channels):
        own, other = drawn[:, channel], fresh[:, channel]
        slow = torch.fft.irfftn(torch.fft.rfftn(own - other) * share, s=(frames, height, width))
        drawn[:, channel] = other + slow
