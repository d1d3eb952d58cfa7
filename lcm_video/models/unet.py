"""The UNet as the path calls it, whatever its family."""

from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from lcm_video.models.call import Call, calling
from lcm_video.types import Encoding, Latents

LORA = "lora:"
"""What the names of varying LoRAs begin with in an encoding: ``lora:fox`` is the strength per frame of ``fox``."""


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
        own = {name: value.to(self.model.device, self.model.dtype) for name, value in encoding.items()}
        x = latents.to(self.model.device, self.model.dtype)
        # On a CPU the rounding of a batch may depend on its size: clip by clip, a film's bits depend on no batch.
        batch = clip if x.device.type == "cpu" else len(x)
        pieces = zip(x.split(batch), *(value.split(batch) for value in own.values()), strict=True)
        noise = [self.predicted(piece, timestep, dict(zip(own, rows, strict=True)), clip) for piece, *rows in pieces]
        return torch.cat(noise).to(latents)

    def predicted(self, latents: Latents, timestep: float, encoding: Encoding, clip: int) -> Latents:
        """One pass of the model, on its device and in its precision."""
        strengths = {name.removeprefix(LORA): rows for name, rows in encoding.items() if name.startswith(LORA)}
        sdxl = {"text_embeds": encoding["pooled"], "time_ids": encoding["time_ids"]} if "pooled" in encoding else None
        with calling(Call(clip, encoding.get("motion_scale"), strengths)):
            return self.model(latents, timestep, encoding["tokens"], added_cond_kwargs=sdxl, return_dict=False)[0]
