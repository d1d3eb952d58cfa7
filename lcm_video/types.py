"""The shapes and parts that travel between stages.

Axis names mean the same everywhere: ``frames`` is time; ``channels height width`` are latent space;
``rgb rows columns`` are pixels; ``tokens features`` is encoded text. Tests check every annotated call
against them (pyproject.toml: --jaxtyping-packages); production pays nothing.

At run time the array type is left open, so that this module does not load torch, nor NumPy: `lcm-video plan` answers
in well under a second because nothing below the pipeline imports them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, overload, runtime_checkable

from pydantic import ConfigDict

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Float, UInt8
else:

    class Float:
        """Stands in for jaxtyping's where nothing is checked: ``Float[Tensor, "frames channels"]`` is anything."""

        def __class_getitem__(cls, shape: Any) -> Any:
            return Any

    UInt8 = Float

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Array = np.ndarray
else:
    Tensor = Array = Any

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=True)
"""How storyboard sections are checked: ``@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)``."""

Latents: TypeAlias = Float[Tensor, "frames channels height width"]
Images: TypeAlias = Float[Tensor, "frames rgb rows columns"]
"""Pixels in [-1, 1], as VAEs speak."""

Frame: TypeAlias = UInt8[Array, "rows columns 3"]
"""Pixels in 0..255, sRGB, as encoders and users speak."""

Encoding: TypeAlias = Mapping[str, Float[Tensor, "prompts ..."]]
"""Encoded prompts by name: always ``tokens`` (prompts, tokens, features); families may add more (``pooled``).

For a run of frames one row per frame, and then also what else depends on the frame: ``motion_scale`` (frames,),
``lora:<name>`` (frames,) for a LoRA whose strength varies.
"""

FrameNumbers: TypeAlias = Sequence[int]
"""Positions in the shot, so that a stage given some frames knows which."""

Denoiser: TypeAlias = Callable[[Latents, float, FrameNumbers], Latents]
"""(noisy latents of unit variance, timestep in 0..999, frame numbers) → predicted noise."""

Conditioning: TypeAlias = Callable[[FrameNumbers], Encoding]
"""Frame numbers → the encoding each of them is drawn from."""

Noise: TypeAlias = Callable[[int, FrameNumbers], Latents]
"""(step, frame numbers) → unit Gaussian noise; equal arguments give equal noise."""


@dataclass(frozen=True)
class Clips(Sequence[int]):
    """Frame numbers of several clips of ``length`` frames in one batch, one after the other.

    The batch axis is time, so a part that lets frames see each other must know where a clip ends.

    >>> clips = Clips([4, 5, 6, 7], length=2)
    >>> list(clips), clip_length(clips), clip_length([4, 5, 6])
    ([4, 5, 6, 7], 2, 3)
    """

    numbers: Sequence[int]
    length: int

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        return self.numbers[index]

    def __len__(self) -> int:
        return len(self.numbers)


def clip_length(frames: FrameNumbers) -> int:
    """How many of ``frames`` belong to one clip: all, unless they are `Clips`."""
    return frames.length if isinstance(frames, Clips) else len(frames)


@runtime_checkable
class TextEncoder(Protocol):
    """Prompts to encodings, all with the same number of tokens."""

    def __call__(self, prompts: Sequence[str], /) -> Encoding: ...


@runtime_checkable
class Unet(Protocol):
    """Predicts the noise in clips of ``clip`` consecutive frames each: the batch axis is time."""

    def __call__(self, latents: Latents, timestep: float, encoding: Encoding, /, *, clip: int) -> Latents: ...


@runtime_checkable
class Vae(Protocol):
    """Pixels to latents and back; latents are scaled to unit variance."""

    @property
    def channels(self) -> int: ...
    @property
    def factor(self) -> int: ...  # image pixels per latent pixel, along one side

    def encode(self, images: Images, /) -> Latents: ...
    def decode(self, latents: Latents, /) -> Images: ...
