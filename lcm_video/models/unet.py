"""The UNet as the path calls it, whatever its family."""

from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from lcm_video.models.call import Call, calling
from lcm_video.models.size import NAMED, SIZES
from lcm_video.types import Encoding, Latents

LORA = "lora:"
"""What the names of varying LoRAs begin with in an encoding: ``lora:fox`` is the strength per frame of ``fox``."""

PIXELS = 8
"""Image pixels per latent pixel, along one side, in every family that has a size conditioning."""


@dataclass(frozen=True)
class Unet:
    """A diffusers UNet, with or without temporal layers (see `motion`) and varying LoRAs (see `beside`).

    Computes on its own device in its own precision; what it predicts comes back as the latents came.
    """

    model: UNet2DConditionModel

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()

    def __call__(self, latents: Latents, timestep: float, encoding: Encoding, /, *, clip: int) -> Latents:
        """The predicted noise of clips of ``clip`` frames each; clips in one batch do not see each other."""
        # Sizes stay in float32: 16 bits do not hold every number of pixels.
        own = {
            name: value.to(self.model.device, torch.float32 if name.startswith(NAMED) else self.model.dtype)
            for name, value in encoding.items()
        }
        x = latents.to(self.model.device, self.model.dtype)
        # On a CPU the rounding of a batch may depend on its size: clip by clip, a film's bits depend on no batch.
        batch = clip if x.device.type == "cpu" else len(x)
        pieces = zip(x.split(batch), *(value.split(batch) for value in own.values()), strict=True)
        noise = [self.predicted(piece, timestep, dict(zip(own, rows, strict=True)), clip) for piece, *rows in pieces]
        return torch.cat(noise).to(latents)

    def predicted(self, latents: Latents, timestep: float, encoding: Encoding, clip: int) -> Latents:
        """One pass of the model, on its device and in its precision."""
        strengths = {name.removeprefix(LORA): rows for name, rows in encoding.items() if name.startswith(LORA)}
        sdxl = None
        if "pooled" in encoding:
            sdxl = {"text_embeds": encoding["pooled"], "time_ids": size_numbers(latents, encoding)}
        with calling(Call(clip, encoding.get("motion_scale"), strengths)):
            return self.model(latents, timestep, encoding["tokens"], added_cond_kwargs=sdxl, return_dict=False)[0]


def size_numbers(latents: Latents, encoding: Encoding) -> Float[Tensor, "frames 6"]:
    """The six `SIZES` of each frame, in pixels: the picture's own, not cropped, where ``encoding`` says nothing."""
    height, width = (PIXELS * side for side in latents.shape[-2:])
    own = (height, width, 0, 0, height, width)
    columns = [
        encoding.get(NAMED + name, torch.full((len(latents),), float(value), device=latents.device))
        for name, value in zip(SIZES, own, strict=True)
    ]
    return torch.stack(columns, dim=1)
