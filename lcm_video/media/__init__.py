"""Frames to files and back.

`output` says what can be written and is all that planning needs. The rest loads PyAV or imageio when first used:
`readiness` (will this work?), `space` (will it fit?), `locking` (is somebody else at it?), `writing` (one pass over
the frames, several files), `encoders` (one entry per file ending), `reading`, `embedded_text` and `inspecting` (what
a file holds), `contact_sheet`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lcm_video.media.output import FORMATS, Audio, Format, Output

if TYPE_CHECKING:
    from lcm_video.media.carried_texts import texts
    from lcm_video.media.contact_sheet import picked, sheet
    from lcm_video.media.embedded_text import about
    from lcm_video.media.grid_sheet import grid
    from lcm_video.media.inspecting import MediaFacts, facts
    from lcm_video.media.locking import locked
    from lcm_video.media.readiness import preflight
    from lcm_video.media.reading import read_frames
    from lcm_video.media.space import check_space, space_needed
    from lcm_video.media.writing import Written, write

__all__ = [
    "FORMATS", "Audio", "Format", "MediaFacts", "Output", "Written",
    "about", "check_space", "facts", "grid", "locked", "picked", "preflight", "read_frames", "sheet", "space_needed",
    "texts", "write",
]  # fmt: skip

# No module is named like a function it holds: importing it would hide the function.
_HOMES = {
    "about": "embedded_text", "facts": "inspecting", "MediaFacts": "inspecting", "preflight": "readiness",
    "read_frames": "reading", "picked": "contact_sheet", "sheet": "contact_sheet", "texts": "carried_texts",
    "grid": "grid_sheet", "write": "writing", "Written": "writing",
    "check_space": "space", "space_needed": "space", "locked": "locking",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Loads the module behind a name on first use, so that `lcm-video plan` never loads PyAV."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
