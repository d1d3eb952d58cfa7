"""The UNet as the path calls it, whatever its family."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from lcm_video.models.call import Call, calling
from lcm_video.models.graphs import Graphs, graphs_for
from lcm_video.models.kernels import Choice, Kernels, fast_unet, refuse_taken
from lcm_video.models.ladder import Ladder, Notes, Task
from lcm_video.models.needs import unet_fits
from lcm_video.models.size import NAMED, SIZES
from lcm_video.models.slices import in_slices
from lcm_video.models.streams import arranged, device_of, dtype_of, moved
from lcm_video.types import Encoding, Latents

LORA = "lora:"
"""What the names of varying LoRAs begin with in an encoding: ``lora:fox`` is the strength per frame of ``fox``."""

PIXELS = 8
"""Image pixels per latent pixel, along one side, in every family that has a size conditioning."""

SLICES = (1, 4, 16)
"""In how many slices the transformer blocks run, once a single clip is too much, and then again."""


@dataclass(frozen=True)
class Unet:
    """A diffusers UNet, with or without temporal layers (see `motion`) and varying LoRAs (see `beside`).

    Computes on its own device in its own precision; what it predicts comes back as the latents came. ``kernels``,
    ``compile`` and ``strict`` are those of `Runtime`. Several threads may call it at the same time.
    """

    model: UNet2DConditionModel
    kernels: Choice = "plain"
    compile: str = "off"
    strict: bool = False
    ladder: Ladder = field(init=False, repr=False, compare=False)
    fast: Kernels[Callable[..., Any]] = field(init=False, repr=False, compare=False)
    graphs: Graphs | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()
        refuse_taken(self.model)
        arranged(self.model)
        ladder = Ladder("the UNet", "clip", "with its layers in slices", device_of(self.model), strict=self.strict)
        object.__setattr__(self, "ladder", ladder)
        object.__setattr__(self, "fast", Kernels(fast_unet, self.kernels, ladder.notes))
        object.__setattr__(self, "graphs", graphs_for(self.model, self.predicted, self.compile, ladder.notes))

    @property
    def notes(self) -> Notes:
        """What happened while it ran, in sentences."""
        return self.ladder.notes

    def __call__(self, latents: Latents, timestep: float, encoding: Encoding, /, *, clip: int) -> Latents:
        """The predicted noise of clips of ``clip`` frames each; clips in one batch do not see each other."""
        on_cpu, fast = device_of(self.model).type == "cpu", self.fast.of(self.model)
        height, width = latents.shape[-2:]
        task = Task(
            count=len(latents) // clip,
            # On a CPU the rounding of a batch may depend on its size: clip by clip, a film's bits depend on no batch.
            most=1 if on_cpu else 0,
            resorts=0 if fast else len(SLICES) - 1,
            about=f"{clip}x{height}x{width} {dtype_of(self.model)} {self.model.config['block_out_channels']}",
            fits=partial(unet_fits, self.model, clip, height, width),
        )

        def piece(clips: slice, sparing: int) -> Latents:
            rows = slice(clips.start * clip, clips.stop * clip)
            if fast:
                return fast(latents[rows], timestep, of_frames(encoding, rows), clip)
            own = {name: self._moved(name, value[rows]) for name, value in encoding.items()}
            noise = self._predict(self._moved("latents", latents[rows]), timestep, own, clip, sparing)
            return noise.to(latents)

        return torch.cat(self.ladder.run(piece, task))

    def _moved(self, name: str, value: Tensor) -> Tensor:
        # Sizes stay in float32: 16 bits do not hold every number of pixels.
        dtype = torch.float32 if name.startswith(NAMED) else dtype_of(self.model)
        return moved(value, device_of(self.model), dtype)

    def _predict(self, x: Latents, timestep: float, encoding: Encoding, clip: int, sparing: int) -> Latents:
        """One pass of the plain model: in slices, recorded, or as it is."""
        if sparing:
            with in_slices(self.model, SLICES[sparing]):
                return self.predicted(x, timestep, encoding, clip)
        if self.graphs is not None:
            return self.graphs(x, timestep, encoding, clip)
        return self.predicted(x, timestep, encoding, clip)

    def predicted(self, latents: Latents, timestep: float | Tensor, encoding: Encoding, clip: int) -> Latents:
        """One pass of the plain model, on its device and in its precision."""
        strengths = {name.removeprefix(LORA): rows for name, rows in encoding.items() if name.startswith(LORA)}
        sdxl = None
        if "pooled" in encoding:
            sdxl = {"text_embeds": encoding["pooled"], "time_ids": size_numbers(latents, encoding)}
        with calling(Call(clip, encoding.get("motion_scale"), strengths)):
            return self.model(latents, timestep, encoding["tokens"], added_cond_kwargs=sdxl, return_dict=False)[0]


def of_frames(encoding: Mapping[str, Any], frames: slice) -> Mapping[str, Any]:
    """The encoding of some of the frames; one that knows its prompts stays one."""
    some = getattr(encoding, "of", None)
    return some(frames) if some else {name: rows[frames] for name, rows in encoding.items()}


def size_numbers(latents: Latents, encoding: Encoding) -> Float[Tensor, "frames 6"]:
    """The six `SIZES` of each frame, in pixels: the picture's own, not cropped, where ``encoding`` says nothing."""
    height, width = (PIXELS * side for side in latents.shape[-2:])
    own = (height, width, 0, 0, height, width)
    columns = [
        encoding.get(NAMED + name, torch.full((len(latents),), float(value), device=latents.device))
        for name, value in zip(SIZES, own, strict=True)
    ]
    return torch.stack(columns, dim=1)
