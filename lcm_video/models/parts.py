"""What loading gives: the parts of a pipeline, and what is known about where they came from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lcm_video.models.cards import Card, Schedule
from lcm_video.models.digests import digest
from lcm_video.types import TextEncoder, Unet, Vae


@dataclass(frozen=True)
class ModelFile:
    """A file that took part: its role (``checkpoint``, ``motion``, ``lora:lcm`` …), place and what was done.

    Loading takes less time than hashing: the hash is computed when it is first asked for, and remembered on disk.
    """

    role: str
    path: Path
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @cached_property
    def sha256(self) -> str:
        """The file's SHA-256 in hexadecimal."""
        return digest(self.path)


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
