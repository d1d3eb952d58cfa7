"""The VAE as the path calls it."""

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from lcm_video.types import Images, Latents


@dataclass(frozen=True)
class Vae:
    """A VAE whose latents are scaled to unit variance: by 0.18215 in SD 1.5, by 0.13025 in SDXL.

    TAESD's latents are scaled by itself. Computes in its own precision; what it makes comes back as it came.
    """

    model: AutoencoderKL | AutoencoderTiny

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()

    @property
    def channels(self) -> int:
        """Channels of a latent pixel."""
        return self.model.config["latent_channels"]

    @property
    def factor(self) -> int:
        """Image pixels per latent pixel, along one side."""
        return 2 ** (len(self.model.config["block_out_channels"]) - 1)

    def encode(self, images: Images, /) -> Latents:
        """The mean latents of ``images``, without the noise a VAE can add: encoding is repeatable."""
        own = images.to(self.model.device, self.model.dtype)
        found = self.model.encode(own, return_dict=False)[0]
        mean = found if isinstance(found, torch.Tensor) else found.mean
        return (mean * self.model.config["scaling_factor"]).to(images)

    def decode(self, latents: Latents, /) -> Images:
        own = latents.to(self.model.device, self.model.dtype) / self.model.config["scaling_factor"]
        return self.model.decode(own, return_dict=False)[0].to(latents)
