"""Latents to frames, a few at a time, so that memory does not grow with the film."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from lcm_video.errors import NumbersError
from lcm_video.types import Frame, Images, Latents, Vae


def decode(vae: Vae, latents: Latents, *, batch: int = 4) -> Iterator[Frame]:
    """Yields one frame per latent, decoding ``batch`` at once. Raises NumbersError for pixels that are not numbers."""
    batches = latents.split(batch) if len(latents) else ()
    done = 0
    for these, (pixels, sound) in zip(batches, _decoded(vae, batches), strict=True):
        if not sound.all():
            raise no_picture(these, [done + number for number in (~sound).nonzero().flatten().tolist()])
        yield from pixels.numpy()
        done += len(these)


def _decoded(vae: Vae, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields what `finished` makes of each batch; on a GPU, the next batch is queued before one is waited for."""
    if not getattr(vae, "overlaps", False):
        for batch in batches:
            yield finished(vae.decode(batch))
        return
    begin: Any = getattr(vae, "later")  # noqa: B009 (a Vae of the protocol has none)
    begun: deque[tuple[Latents, Callable[[], Sequence[Tensor]]]] = deque()
    for batch in batches:
        begun.append((batch, begin(batch, finished)))
        if len(begun) == 2:
            yield _arrived(vae, *begun.popleft())
    for batch, wait in begun:
        yield _arrived(vae, batch, wait)


def _arrived(vae: Vae, batch: Latents, wait: Callable[[], Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """What was begun, once it is there; if it overflowed, decoded again the careful way, which may mend it."""
    pixels, sound = wait()
    return (pixels, sound) if sound.all() else finished(vae.decode(batch))


def finished(pixels: Images) -> tuple[Tensor, Tensor]:
    """Pictures as bytes with the colours last, and which of them hold only numbers; on the device they are on."""
    sound = pixels.isfinite().flatten(1).all(dim=1)
    # The largest 16-bit number times 127.5 is infinite, yet only a colour out of range.
    whole = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rearrange(whole, "frames rgb rows columns -> frames rows columns rgb").contiguous(), sound


def no_picture(latents: Latents, frames: Sequence[int]) -> NumbersError:
    """What is told of frames in which there is no picture."""
    named = f"frame {frames[0]}" if len(frames) == 1 else f"frames {', '.join(map(str, frames))}"
    if not latents.isfinite().all():
        message = f"{named}: what is to be decoded is not numbers"
        return NumbersError(message, remedy="the UNet overflowed: set runtime.dtype=float32, or bfloat16")
    remedy = "the VAE may be damaged, or made for another family: name another one under model.vae"
    return NumbersError(f"{named}: the VAE decoded to what is not numbers", remedy=remedy)
