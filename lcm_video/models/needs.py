"""What fits: an estimate of the memory that a stage holds at its peak, and the picture size it leaves room for.

Counted for SD 1.5 in 16 bits at 512x512: 2.54 GB for a UNet call of 16 frames, 0.40 GB for each frame that the VAE
decodes. Both grow with the picture's area and the width of the first layer.
"""

from typing import Any

import torch

from lcm_video.models import memory
from lcm_video.models.streams import device_of, dtype_of

UNET, VAE = 2.54e9 / 16 / 64**2, 0.40e9 / 64**2
"""Bytes for each latent pixel of a frame."""

FULL = 16 * 64 * 64
"""Latent pixels of a call that keeps a large GPU busy: 16 frames of 512x512."""

WIDTHS = {UNET: 320, VAE: 128}
"""Channels of the first layer where that was counted."""


def need(each: float, model: Any, frames: int, height: int, width: int) -> float:
    """Bytes that a model holds at its peak, for frames of so many latent pixels."""
    width_ratio = model.config["block_out_channels"][0] / WIDTHS[each]
    return each * frames * height * width * dtype_of(model).itemsize / 2 * width_ratio


def windows_at_once(unet: Any, clip: int, height: int, width: int) -> int:
    """How many windows of ``clip`` frames suit one call of a UNet: enough to fill its device, as far as they fit.

    One on a CPU, where more gain nothing. Depends on the memory the device has, not on what is free at the moment: the
    rounding on a GPU may depend on the batch, and a film should not depend on what else runs.
    """
    model = getattr(unet, "model", None)
    if model is None or device_of(model).type == "cpu":
        return 1
    one = clip * height * width
    fitting = memory.total(device_of(model)) / 2 / need(UNET, model, clip, height, width)
    return max(1, min(FULL // one, int(fitting), 64))


def unet_fits(model: Any, clip: int, height: int, width: int) -> str:
    """What to change so that the UNet fits."""
    smaller = smaller_size(need(UNET, model, clip, height, width), device_of(model), height, width)
    return f"try {smaller}, or a smaller windows.length{cheaper(model)}"


def vae_fits(model: Any, height: int, width: int) -> str:
    """What to change so that the VAE fits."""
    smaller = smaller_size(need(VAE, model, 1, height, width), device_of(model), height, width)
    return f"try {smaller}, or a smaller decoder: model.vae=taesd_decoder{cheaper(model)}"


def smaller_size(needed: float, device: torch.device, height: int, width: int) -> str:
    """The largest size of a like shape for which there is room, in pixels; at most seven tenths of what failed."""
    room = memory.free(device)
    share = min((room / needed) ** 0.5 if room else 0.7, 0.7)
    rows, columns = (max(int(side * share), 1) * 8 for side in (height, width))
    return f"video.width={columns} video.height={rows}"


def cheaper(model: Any) -> str:
    """A precision that needs half the memory, where there is one."""
    return ", or runtime.dtype=bfloat16" if dtype_of(model).itemsize == 4 else ""
