"""Latents to frames, a few at a time, so that memory does not grow with the film."""

from collections.abc import Iterator

import torch
from einops import rearrange

from lcm_video.errors import EncodeError
from lcm_video.types import Frame, Latents, Vae


def decode(vae: Vae, latents: Latents, *, batch: int = 4) -> Iterator[Frame]:
    """Yields one frame per latent, decoding ``batch`` at once. Raises EncodeError for pixels that are not numbers."""
    for start in range(0, len(latents), batch):
        pixels = vae.decode(latents[start : start + batch])
        if not pixels.isfinite().all():
            raise EncodeError(
                f"the VAE decoded frames {start} to {start + len(pixels) - 1} to values that are not numbers",
                remedy="16-bit VAEs can overflow: set runtime.dtype=float32",
            )
        pixels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        yield from rearrange(pixels, "frames rgb rows columns -> frames rows columns rgb").cpu().numpy()
