"""Prompt files of animatediff-cli (one video per prompt) and animatediff-cli-prompt-travel (one that travels).

The JSON says what is drawn; length, size and windows are options of the tool's command line, and guessed here.
"""

from collections.abc import Mapping
from typing import Any

from lcm_video.importers.animatediff_cli.fields import DEFAULTS, FIELDS, READ_TOGETHER
from lcm_video.importers.animatediff_cli.travel import by_frame, joined, keyframes
from lcm_video.importers.document import Document, parsed
from lcm_video.importers.draft import Draft, check_size
from lcm_video.importers.fields import read
from lcm_video.importers.report import Imported
from lcm_video.importers.values import USUAL_LENGTH, guessed_length, number, seed

TOOL = "animatediff-cli"

PROMPTS = {"prompt_map", "head_prompt", "n_prompt", "prompt"}
"""What its files hold, and hardly any other tool's."""

OWN = {"prompt_map", "head_prompt", "tail_prompt", "prompt_fixed_ratio", "lora_map", "motion_lora_map", "lcm_map"}
"""What other tools' files do not hold at all."""


def recognises(document: Document) -> bool:
    """Whether this is such a file: prompts by its names, beside a motion module or other fields of its own."""
    fields = _values(document).keys()
    if document.data is None or fields & {"prompt_map", "head_prompt"}:
        return bool(fields & OWN)
    return bool(fields & PROMPTS and fields & {"motion_module", "controlnet_map", *OWN})


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The storyboard; with ``faithful`` the film is a loop whose last prompt travels back to the first, as it was."""
    data = _values(document)
    draft = Draft(TOOL)
    if document.data is None:
        draft.note("the file", "approximated", "a part of one, as in the tool's documentation: what it lacks is usual")
    for field, value in DEFAULTS.items():
        if field not in data:
            FIELDS[field](draft, f"{field} (left out)", value)
    read(draft, data, FIELDS, done=READ_TOGETHER)
    if isinstance(data.get("prompt_map"), Mapping) or "prompt" not in data:
        _travel(draft, data, faithful=faithful)
    else:
        _shots(draft, data)
    return draft.done()


def _values(document: Document) -> Mapping[str, Any]:
    """The file's fields; those of a part of a file, too, as people copy it from the documentation."""
    if isinstance(document.data, Mapping):
        return document.data
    text = document.text.strip()
    if document.data is None and text[:1] in ('"', "#") and any(f'"{name}"' in text for name in OWN):
        whole = parsed(f"{{\n{text.rstrip(',')}\n}}")
        return whole if isinstance(whole, Mapping) else {}
    return {}


def _travel(draft: Draft, data: Mapping[str, Any], *, faithful: bool) -> None:
    """One film whose prompts travel; the first negative prompt and the first seed are its own."""
    head, tail = (_text(data.get(name)) for name in ("head_prompt", "tail_prompt"))
    prompts = data.get("prompt_map")
    placed, strange = by_frame(prompts if isinstance(prompts, Mapping) else {})
    if not placed and head + tail:
        placed = {0: ""}
    check_size(placed.values(), around=len(head) + len(tail) + 2)
    length = guessed_length([*placed])
    hold = min(max(number(data.get("prompt_fixed_ratio"), 0.5) or 0.0, 0.0), 1.0)
    whole = {at: joined(head, text, tail) for at, text in placed.items()}
    travelling = keyframes(whole, hold=hold, frames=length, wraps=faithful)
    draft.put("prompts", {str(at): text for at, text in travelling.items()})
    _report_travel(draft, data, strange, faithful=faithful, loops=len({*whole.values()}) > 1)
    draft.near("length (not in the file)", "video.frames", length, "guessed: the tool's -L is not in its file")
    if faithful:
        draft.put("video.loop", True)
    for lora in draft.section("model.loras").values():
        if isinstance(lora["scale"], dict):
            lora["scale"] = {at: value for at, value in lora["scale"].items() if int(at) < length} or 1.0
    _firsts(draft, data)


def _report_travel(draft: Draft, data: Mapping[str, Any], strange: list[str], *, faithful: bool, loops: bool) -> None:
    """What became of the fields that make up the travel."""
    if "prompt_map" in data:
        wraps = "the last prompt holds to the end; the tool lets it travel back to the first (--faithful does, too)"
        fate = "approximated" if loops and not faithful else "exact"
        draft.note("prompt_map", fate, wraps if fate == "approximated" else "", becomes="prompts")
    for key in strange:
        draft.drop(f"prompt_map.{key}", "no frame with a text")
    for field in ("head_prompt", "tail_prompt"):
        if field in data:
            draft.note(field, "exact", "written into every prompt", becomes="prompts")
    if "prompt_fixed_ratio" in data:
        draft.note(
            "prompt_fixed_ratio", "exact", "prompts are written again where they begin to travel", becomes="prompts"
        )
    if "prompt" in data:
        draft.drop("prompt", "prompt_map takes its place")


def _firsts(draft: Draft, data: Mapping[str, Any]) -> None:
    """The first seed and negative prompt; the tool takes the others when it repeats the film."""
    seeds, negatives = _list(data.get("seed")), _list(data.get("n_prompt"))
    if seeds:
        draft.seed("seed", seeds[0])
    if negatives:
        draft.exact("n_prompt", "negative", _text(negatives[0]))
    for field, values, path in (("seed", seeds, "sampling.seed"), ("n_prompt", negatives, "negative")):
        if len(values) > 1:
            again = f"only the first of {len(values)}: the tool takes the others for further films (-r); set {path}"
            draft.drop(f"{field}[1:]", again)


def _shots(draft: Draft, data: Mapping[str, Any]) -> None:
    """One shot for each prompt, where the tool renders one film for each; it goes through seeds and negatives alike."""
    prompts, seeds, negatives = (_list(data.get(name)) for name in ("prompt", "seed", "n_prompt"))
    texts = [text for text in prompts if isinstance(text, str)]
    negatives = [_text(text) for text in negatives]
    draft.near("length (not in the file)", "video.frames", USUAL_LENGTH, "the tool's -L is not in its file")
    if len(texts) == 1:
        draft.exact("prompt", "prompts", {"0": texts[0]})
        _firsts(draft, data)
        return
    check_size(texts)
    for at, text in enumerate(texts):
        shot: dict[str, Any] = {"prompts": {"0": text}}
        if negatives:
            shot["negative"] = negatives[at % len(negatives)]
        if seeds and (found := seed(seeds[at % len(seeds)])[0]) is not None:
            shot["seed"] = found
        draft.put(f"shots.prompt-{at + 1}", shot)
    draft.note(
        "prompt", "approximated", f"{len(texts)} shots, cut hard; the tool makes a film of each", becomes="shots"
    )
    if seeds:
        draft.note("seed", "approximated", "the same number draws other noise here", becomes="shots.*.seed")
    if negatives:
        draft.note("n_prompt", "exact", becomes="shots.*.negative")


def _list(value: Any) -> list[Any]:
    """A list as it is; one value as a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
