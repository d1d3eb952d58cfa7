"""Headless AnimateDiff prompt travel with LCM-LoRA: a storyboard becomes a film.

    board = load("storyboard.yaml")
    pipeline = Pipeline.load(board.model, board.runtime)
    write(pipeline.frames(board), board.output, fps=board.video.fps)

What is here is the public interface; the rest is imported from its module by name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcm_video.decoder import decode
    from lcm_video.errors import LcmVideoError
    from lcm_video.media import Output, write
    from lcm_video.media.encoders import ENCODERS
    from lcm_video.pipeline import Pipeline
    from lcm_video.reader import load
    from lcm_video.storyboard import Storyboard, Video
    from lcm_video.timeline import Keyframe

__all__ = [
    "ENCODERS",
    "Keyframe",
    "LcmVideoError",
    "Output",
    "Pipeline",
    "Storyboard",
    "Video",
    "decode",
    "load",
    "write",
]

_HOMES = {
    "ENCODERS": "media.encoders",
    "Keyframe": "timeline",
    "LcmVideoError": "errors",
    "Output": "media",
    "Pipeline": "pipeline",
    "Storyboard": "storyboard",
    "Video": "storyboard",
    "decode": "decoder",
    "load": "reader",
    "write": "media",
}


def __getattr__(name: str) -> Any:
    """Loads a public name's module when it is first used, so that the command line need not load torch to say help."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
