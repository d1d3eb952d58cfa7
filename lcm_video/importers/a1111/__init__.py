"""AUTOMATIC1111's web UI: the parameters of its pictures and films, prompt-travel text, and requests to its API."""

import re

from lcm_video.importers.a1111.api import is_request, requested
from lcm_video.importers.a1111.fields import animatediff, settings
from lcm_video.importers.a1111.infotext import NEGATIVE, Infotext, infotext, is_settings
from lcm_video.importers.a1111.travel import EXACT, MEANT, Travel, travel
from lcm_video.importers.document import Document
from lcm_video.importers.draft import Draft
from lcm_video.importers.report import Imported
from lcm_video.importers.values import guessed_length, number

TOOL = "AUTOMATIC1111"

OTHERS = re.compile(r"""\s*(?:[0-9:.\-]+\s*=|[{\["'])""")
"""How lines begin in which other tools schedule prompts: ``0:16 = "a fox"``, ``"0": "a fox"``."""


NUMBERS = re.compile(r"\s*[0-9]+\s*:\s*\([-+0-9. ]*\)\s*,?\s*")
"""A line of a schedule of numbers, which is no prompt: ``0: (1.02),``."""


def recognises(document: Document) -> bool:
    """Whether this is the UI's: settings, a negative prompt or ``N: prompt`` lines, or a request to its API."""
    if is_request(document.data):
        return True
    lines = document.text.strip().split("\n")
    if document.carrier.lower() == "parameters" or is_settings(lines[-1]):
        return True
    frames = [line for line in lines if MEANT.fullmatch(line)]
    if any(map(OTHERS.match, lines)) or (frames and all(map(NUMBERS.fullmatch, frames))):
        return False
    return len(frames) > 1 or any(line.startswith(NEGATIVE) or EXACT.fullmatch(line) for line in lines)


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The storyboard; with ``faithful``, prompt travel is read exactly as the extension does, even where it stops."""
    found = requested(document.data) if is_request(document.data) else infotext(document.text)
    draft = Draft(TOOL)
    settings(draft, found.settings)
    if found.animatediff is not None:
        animatediff(draft, found.animatediff)
    route = travel(found.prompt, as_coded=faithful)
    frames = _length(draft, found, route)
    if route:
        _travelling(draft, route, frames)
    else:
        draft.exact("prompt", "prompts", {"0": found.prompt})
    if found.negative:
        draft.exact("negative prompt", "negative", found.negative)
    return draft.done()


def _length(draft: Draft, found: Infotext, route: Travel | None) -> int:
    """The film's length: the extension's, one picture without it, or a guess for a text that does not say."""
    field, path = "video_length", "video.frames"
    length = number((found.animatediff or {}).get(field))
    if length:
        draft.number(field, length, path)
    elif found.animatediff is None and found.settings and not route:
        draft.exact("a picture", path, 1)
    else:
        guess = guessed_length([*route.prompts] if route else [])
        draft.near(f"{field} (not in the file)", path, guess, "guessed: the text does not say how long the film is")
    return int(draft.board["video"][path.partition(".")[2]])


def _travelling(draft: Draft, route: Travel, frames: int) -> None:
    """Prompts at frames; the extension turns from one to the next."""
    draft.put("travel.blend", "slerp")
    kept = {str(at): text for at, text in route.prompts.items() if at < frames}
    draft.exact("prompt", "prompts", kept, "with what stands before and after them")
    for note in route.notes:
        draft.note("prompt", "approximated", note, becomes="prompts")
    for at in list(route.prompts)[len(kept) :][:20]:
        draft.drop(f"prompt {at}", f"beyond the film's {frames} frames; the extension stops there with an error")
