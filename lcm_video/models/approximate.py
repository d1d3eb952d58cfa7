"""What in a model trades nearness for speed, so that a plan can say it. Reads tables of contents, no weights."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lcm_video.errors import CheckpointError
from lcm_video.models.contents import contents
from lcm_video.models.slots import slots

if TYPE_CHECKING:
    from lcm_video.models import Model

TINY = "decoded by {name}, a TAESD: frames resemble the VAE's, they are not the same; one takes a fifth of the time"
"""Of our own decoder's time for 256×256 pixels in float32, on one core."""


def approximations(model: "Model", folders: Sequence[str] = ()) -> Iterator[str]:
    """Yields each, with what it gains. Files that are missing or damaged are told elsewhere."""
    for slot in slots(model):
        if slot.slot == "vae":
            try:
                path = slot.find(folders)
                if contents(path).kind == "TAESD":
                    yield TINY.format(name=path.name)
            except CheckpointError:
                continue
