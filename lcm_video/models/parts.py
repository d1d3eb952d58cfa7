"""What loading gives: the parts of a pipeline, and what is known about where they came from."""

from dataclasses import dataclass

from lcm_video.models.cards import Card, Schedule
from lcm_video.types import TextEncoder, Unet, Vae


@dataclass(frozen=True)
class ModelFile:
    """A file that took part: its role (``checkpoint``, ``motion``, ``lora:lcm`` …), name, content and what was done."""

    role: str
    name: str
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """A film's model: text to encodings, latents to noise, latents to pixels.

    ``betas`` is the noise schedule the motion module (or, without one, the checkpoint) was trained with.
    ``notes`` are what a user should know about this loading: one sentence each.
    """

    text: TextEncoder
    unet: Unet
    vae: Vae
    betas: Schedule
    card: Card | None = None
    files: tuple[ModelFile, ...] = ()
    notes: tuple[str, ...] = ()
