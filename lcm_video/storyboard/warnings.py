"""What a valid storyboard asks for that will probably disappoint."""

from collections.abc import Iterator

from lcm_video.storyboard.board import Storyboard
from lcm_video.storyboard.scenes import Scene, shots
from lcm_video.timeline import parse_moment


def warnings(board: Storyboard) -> list[str]:
    """One sentence for each thing that is allowed but probably not meant; equal ones once."""
    found = (f"{_place(scene)}{text}" for scene in shots(board) for text in _of_shot(board, scene))
    return list(dict.fromkeys(found))


def _place(scene: Scene) -> str:
    return f"shot {scene.name!r}: " if scene.name else ""


def _of_shot(board: Storyboard, scene: Scene) -> Iterator[str]:
    """Yields what may disappoint in one shot."""
    for moments in (scene.prompts, scene.negative):
        for moment in moments:
            at = parse_moment(moment, fps=scene.fps, frames=scene.frames, tempo=scene.film.tempo, first=scene.first)
            if at > scene.frames:
                yield f"the keyframe at {moment} lies beyond the end: the shot has {scene.frames} frames"
    for moment, key in scene.prompts.items():
        if not key.text.strip():
            yield f"the prompt at {moment} is empty: the model draws what it likes"
    guidance = max(scene.values(scene.sampling.guidance))
    if guidance <= 1 and any(key.text.strip() for key in scene.negative.values()):
        yield "the negative prompt does nothing at guidance 1; raise sampling.guidance to 1.5, or remove it"
    if guidance > 2 and scene.sampling.sampler == "lcm":
        yield f"guidance {guidance:g} is high for the lcm sampler: colours burn above 2"
    if not scene.start.source and scene.start.strength != 1:
        yield "start.strength does nothing without start.source"
