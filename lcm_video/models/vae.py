"""The VAE as the path calls it."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor

from lcm_video.models.kernels import Choice, Decoder, Kernels, fast_vae
from lcm_video.models.ladder import Ladder, Notes, Task
from lcm_video.models.needs import vae_fits
from lcm_video.models.streams import Lane, arranged, device_of, dtype_of, moved
from lcm_video.models.tiles import halvings, side_after, tiled
from lcm_video.types import Images, Latents

Autoencoder = AutoencoderKL | AutoencoderTiny


@dataclass(frozen=True)
class Vae:
    """A VAE whose latents are scaled to unit variance: by 0.18215 in SD 1.5, by 0.13025 in SDXL.

    TAESD's latents are scaled by itself. Computes in its own precision, and again in float32 what overflows in that;
    what it makes comes back as it came. ``kernels`` and ``strict`` are those of `Runtime`.
    """

    model: Autoencoder
    kernels: Choice = "plain"
    strict: bool = False
    ladder: Ladder = field(init=False, repr=False, compare=False)
    fast: Kernels[Decoder] = field(init=False, repr=False, compare=False)
    lane: Lane = field(init=False, repr=False, compare=False)
    _exact: list[Autoencoder] = field(init=False, repr=False, compare=False, default_factory=list)
    _lock: Lock = field(init=False, repr=False, compare=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self.model.requires_grad_(False).eval()
        arranged(self.model)
        ladder = Ladder("the VAE", "frame", "in tiles", device_of(self.model), strict=self.strict)
        object.__setattr__(self, "ladder", ladder)
        object.__setattr__(self, "fast", Kernels(fast_vae, self.kernels, ladder.notes))
        object.__setattr__(self, "lane", Lane(device_of(self.model)))

    @property
    def channels(self) -> int:
        """Channels of a latent pixel."""
        return self.model.config["latent_channels"]

    @property
    def factor(self) -> int:
        """Image pixels per latent pixel, along one side."""
        return 2 ** (len(self.model.config["block_out_channels"]) - 1)

    @property
    def tiny(self) -> bool:
        """Whether it is a TAESD, which decodes a frame in next to no time."""
        return isinstance(self.model, AutoencoderTiny)

    @property
    def notes(self) -> Notes:
        """What happened while it ran, in sentences."""
        return self.ladder.notes

    @property
    def overlaps(self) -> bool:
        """Whether `later` gives time for other work: on a GPU."""
        return self.lane.stream is not None

    def encode(self, images: Images, /) -> Latents:
        """The mean latents of ``images``, without the noise a VAE can add: encoding is repeatable."""
        return torch.cat([made.to(images) for made in self._run(self._encoded, images, unit=self.factor)])

    def decode(self, latents: Latents, /) -> Images:
        """The pictures of ``latents``. Frames of which a finite latent gives no numbers, even in float32, hold NaN."""
        return torch.cat([made.to(latents) for made in self._run(self._decoded, latents)])

    def later(self, latents: Latents, finish: Callable[[Images], Sequence[Tensor]], /) -> Callable[[], list[Tensor]]:
        """Begins to decode; what is given waits for what ``finish`` makes of the pictures on the device."""
        with self.lane.working():
            pieces = [self.lane.fetched(finish(made)) for made in self._run(self._decoded, latents, guarded=False)]
        return lambda: [torch.cat(parts) for parts in zip(*(wait() for wait in pieces), strict=True)]

    def _run(
        self, make: Callable[[Autoencoder, Tensor], Tensor], x: Tensor, *, unit: int = 1, guarded: bool = True
    ) -> list[Tensor]:
        """What ``make`` gives for each piece of ``x``, of which ``unit`` pixels are one latent pixel."""
        height, width = (side // unit for side in x.shape[-2:])
        task = Task(
            count=len(x),
            most=self._few(make, height, width) if device_of(self.model).type == "cpu" else 0,
            resorts=halvings(height, width),
            about=f"{make.__name__.strip('_')} {height}x{width} {described(self.model)}",
            fits=partial(vae_fits, self.model, height, width),
        )

        def piece(rows: slice, sparing: int) -> Tensor:
            def whole(model: Autoencoder, part: Tensor) -> Tensor:
                if not sparing:
                    return make(model, part)
                return tiled(partial(make, model), part, side=side_after(sparing, height, width), unit=unit)

            return self._finite(whole, x[rows]) if guarded else whole(self.model, x[rows])

        return self.ladder.run(piece, task)

    def _few(self, make: Callable[[Autoencoder, Tensor], Tensor], height: int, width: int) -> int:
        """Frames at once on a CPU: one, so that no batch changes its rounding; in our decoder none does."""
        fast = self.fast.of(self.model, height, width) if make == self._decoded else None
        return fast.most if fast else 1

    def _finite(self, make: Callable[[Autoencoder, Tensor], Tensor], x: Tensor) -> Tensor:
        """What ``make`` gives, in float32 for items that overflow in the VAE's own precision.

        Each is judged alone: what becomes of a frame does not depend on those it was decoded with.
        """
        made = make(self.model, x)
        if dtype_of(self.model) == torch.float32:
            return made
        bad = finite(x).to(made.device) & ~finite(made)
        if bad.any():
            name = str(dtype_of(self.model)).removeprefix("torch.")
            self.notes.add(f"the VAE overflows in {name}: what does is computed again in float32")
            made = made.float()
            made[bad] = make(self._in_float32(), x[bad.to(x.device)])
        return made

    def _in_float32(self) -> Autoencoder:
        """A copy of the model in float32, made at its first use."""
        with self._lock:
            if not self._exact:
                self._exact.append(copy.deepcopy(self.model).float())
        return self._exact[0]

    def _encoded(self, model: Autoencoder, images: Tensor) -> Tensor:
        found = model.encode(moved(images, device_of(model), dtype_of(model)), return_dict=False)[0]
        mean = found if isinstance(found, Tensor) else found.mean
        return mean * model.config["scaling_factor"]

    def _decoded(self, model: Autoencoder, latents: Tensor) -> Tensor:
        own = moved(latents, device_of(model), dtype_of(model)) / model.config["scaling_factor"]
        if model is self.model and (fast := self.fast.of(model, *own.shape[-2:])):
            return fast(own)
        return model.decode(own, return_dict=False)[0]


def described(model: Autoencoder) -> str:
    """A model's precision and widths, on which the memory it needs depends."""
    return f"{dtype_of(model)} {model.config['block_out_channels']}"


def finite(x: Tensor) -> Tensor:
    """Which items along the first axis hold only finite numbers."""
    return x.isfinite().flatten(1).all(dim=1)
