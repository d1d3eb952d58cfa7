"""AnimateDiff's own prompt configs (guoyww): a list of settings, each with a list of prompts, a film of each.

Here every prompt becomes a shot. Shots share one model: settings with another one than the first are left out.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lcm_video.importers.document import Document, parsed
from lcm_video.importers.draft import Draft, bare, check_size, named
from lcm_video.importers.fields import Field, as_number, missing, read, without_effect
from lcm_video.importers.report import Imported
from lcm_video.importers.values import USUAL_LENGTH, fit, number, seed

TOOL = "AnimateDiff"

HINT = re.compile(r"^[ -]*motion_module[ ]*:", re.MULTILINE)
"""What every such file has; cheaper to look for than to parse all YAML."""

BASE_MODEL = "stable-diffusion-v1-5"
USUAL_ALPHA = 0.8
SPARSE = "there is no SparseCtrl here"

MODEL = (
    "dreambooth_path", "base", "path", "lora_model_path", "lora_alpha", "motion_module", "motion_module_lora_configs",
    "adapter_lora_path", "domain_lora_scale", "W", "H", "L",
)  # fmt: skip
"""Fields that all shots share."""

SHAPE = {"W": ("video.width", 512), "H": ("video.height", 512), "L": ("video.frames", USUAL_LENGTH)}
OF_SHOT = {"steps": "sampling.steps", "guidance_scale": "sampling.guidance"}
LISTS = ("prompt", "n_prompt", "seed")


class Setting(NamedTuple):
    """One entry of a file."""

    name: str
    fields: Mapping[str, Any]


def recognises(document: Document) -> bool:
    """Whether this is such a file: entries that name a motion module and prompts."""
    return bool(_settings(document))


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The storyboard: one shot for each prompt of all settings with the first one's model."""
    first, *others = _settings(document)
    draft = Draft(TOOL)
    _model(draft, first.fields)
    alike = [first]
    for setting in others:
        if all(setting.fields.get(field) == first.fields.get(field) for field in MODEL):
            alike.append(setting)
        else:
            draft.drop(setting.name, "it draws with another model than the first: import it from a file of its own")
    _shots(draft, alike)
    return draft.done()


def _settings(document: Document) -> list[Setting]:
    """The entries of a file, whether it is a list of them (as now) or a map (as at first)."""
    if not HINT.search(document.text):
        return []
    data = document.data
    if data is None:
        found = parsed(f"settings:\n{document.text.removeprefix('---')}")
        data = found.get("settings") if isinstance(found, Mapping) else None
    if isinstance(data, list):
        data = {f"setting {at + 1}": one for at, one in enumerate(data)}
    entries = data.items() if isinstance(data, Mapping) else ()
    return [
        Setting(named(name), one)
        for name, one in entries
        if isinstance(one, Mapping) and "motion_module" in one and "prompt" in one
    ]


def _model(draft: Draft, fields: Mapping[str, Any]) -> None:
    """What all shots share; what the file leaves out is as in the tool's code."""
    checkpoint, lora = (fields.get("base"), fields.get("path")) if bare(fields.get("base")) else (None, None)
    checkpoint = checkpoint or fields.get("dreambooth_path") or fields.get("path")
    if file := bare(checkpoint):
        draft.exact("dreambooth_path", "model.checkpoint", file, "found by its name in a model folder")
    else:
        draft.near("dreambooth_path", "model.checkpoint", BASE_MODEL, "empty: the tool's own, Stable Diffusion 1.5")
    draft.put("sampling.sampler", "ddim")
    draft.note("sampler (not in the file)", "exact", "the tool always takes DDIM", becomes="sampling.sampler")
    draft.put("windows.blend", "flat")
    read(draft, fields, TABLE, done=(*MODEL, *OF_SHOT, *LISTS))
    modules = _list(fields["motion_module"])
    if modules and (file := bare(modules[0])):
        draft.exact("motion_module", "model.motion", file, "found by its name in a model folder")
    for module in modules[1:]:
        draft.drop(f"motion_module {bare(module)}", "a film for each there; here the first: set model.motion")
    _loras(draft, fields, lora)
    for field, path, usual in (
        ("W", "video.width", 512),
        ("H", "video.height", 512),
        ("L", "video.frames", USUAL_LENGTH),
    ):
        draft.number(field if field in fields else f"{field} (left out)", fields.get(field, usual), path)


def _loras(draft: Draft, fields: Mapping[str, Any], path: Any) -> None:
    """LoRAs for the picture, for its domain, and for its motion."""
    alpha = number(fields.get("lora_alpha"), USUAL_ALPHA)
    for field, file in (("path", path), ("lora_model_path", fields.get("lora_model_path"))):
        if bare(file):
            draft.lora(field, file, alpha)
    if bare(fields.get("adapter_lora_path")):
        draft.lora("adapter_lora_path", fields["adapter_lora_path"], number(fields.get("domain_lora_scale"), 1.0))
    for one in _list(fields.get("motion_module_lora_configs")):
        if isinstance(one, Mapping):
            draft.lora("motion_module_lora_configs", one.get("path"), number(one.get("alpha"), 1.0))


TABLE: dict[str, Field] = {
    "inference_config": without_effect("the motion module's card says it"),
    "fps": as_number("video.fps"),
    "controlnet_*": missing(SPARSE),
    "random_seed": without_effect("what the tool drew, beside the seeds"),
}


def _shots(draft: Draft, settings: list[Setting]) -> None:
    """One shot for each prompt, with the seed and the negative prompt at its place in their lists."""
    check_size([text for one in settings for text in _list(one.fields["prompt"]) if isinstance(text, str)])
    shots: dict[str, Any] = {}
    for setting in settings:
        texts, negatives, seeds = (_list(setting.fields.get(name)) for name in LISTS)
        sampling = {
            path.partition(".")[2]: fit(found, path)[0]
            for field, path in OF_SHOT.items()
            if (found := number(setting.fields.get(field), {"steps": 25, "guidance_scale": 7.5}[field])) is not None
        }
        for at, text in enumerate(text for text in texts if isinstance(text, str)):
            shot: dict[str, Any] = {"prompts": {"0": text}, "sampling": dict(sampling)}
            if isinstance(negative := _at(negatives, at), str):
                shot["negative"] = negative
            if (drawn := seed(_at(seeds, at))[0]) is not None:
                shot["seed"] = drawn
            shots[f"{setting.name}-{at + 1}"] = shot
    _put(draft, shots)
    brackets = any(mark in shot["prompts"]["0"] for shot in shots.values() for mark in "([")
    _report(draft, len(shots), brackets=brackets)


def _put(draft: Draft, shots: dict[str, Any]) -> None:
    """Writes shots; what is the same in all of them stands above them, and one alone needs no shots."""
    values = [*shots.values()]
    if values and all(shot["sampling"] == values[0]["sampling"] for shot in values):
        for name, value in values[0]["sampling"].items():
            draft.put(f"sampling.{name}", value)
        for shot in values:
            del shot["sampling"]
    if len(values) == 1:
        (only,) = values
        draft.put("prompts", only["prompts"])
        draft.put("negative", only.get("negative", ""))
        draft.put("sampling.seed", only.get("seed", 0))
    elif values:
        draft.put("shots", shots)


def _report(draft: Draft, count: int, *, brackets: bool) -> None:
    where = "shots.*." if count > 1 else ""
    several = "" if count == 1 else f"{count} shots, cut hard; the tool makes a film of each"
    weighed = "brackets weigh words here; there they are read as they stand: write \\( for one that should stay"
    reason = "; ".join(filter(None, [several, weighed if brackets else ""]))
    draft.note("prompt", "approximated" if reason else "exact", reason, becomes=f"{where}prompts")
    draft.note("n_prompt", "exact", becomes=f"{where}negative")
    draft.note("seed", "approximated", "the same number draws other noise here", becomes=f"{where or 'sampling.'}seed")
    for field, path in OF_SHOT.items():
        draft.note(field, "exact", becomes=f"{where}{path}" if count > 1 else path)


def _at(values: list[Any], place: int) -> Any:
    """The value for the film at ``place``: one alone is for all of them."""
    if len(values) == 1:
        return values[0]
    return values[place] if place < len(values) else None


def _list(value: Any) -> list[Any]:
    """A list as it is; one value as a list of one; nothing as none."""
    return value if isinstance(value, list) else [] if value in (None, "") else [value]
