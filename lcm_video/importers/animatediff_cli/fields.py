"""What every field of animatediff-cli's JSON becomes: one entry of FIELDS for each.

To add a field, write what it becomes and name it in the table.
"""

from collections.abc import Mapping
from typing import Any

from lcm_video.importers.animatediff_cli.sampling import USUAL_STEPS, lcm, scheduler
from lcm_video.importers.animatediff_cli.travel import by_frame
from lcm_video.importers.draft import Draft, bare, named
from lcm_video.importers.fields import Field, as_file, as_number, missing, without_effect
from lcm_video.importers.values import SCALES, number, shown, within

USUAL_ALPHA = 0.8
"""How strong ``path`` is where it is a LoRA and lora_alpha is left out."""

VP9_SCALE, H264_SCALE = 63, 51

ENDINGS = {"gif": "gif", "mp4": "mp4", "h264": "mp4", "hevc": "mp4", "webm": "webm", "webp": "webp"}


def _base(draft: Draft, field: str, value: Any) -> None:
    """Where a base is named, it is the checkpoint, and ``path`` was a LoRA for it."""
    if not (file := bare(value)):
        draft.note(field, "exact", "empty")
        return
    lora = draft.board.get("model", {}).get("checkpoint", "")
    draft.exact(field, "model.checkpoint", file, "found by its name in a model folder")
    if lora:
        draft.findings = [one for one in draft.findings if one.field != "path"]
        draft.lora("path", lora, USUAL_ALPHA, reason="a LoRA, since a base is named")


def _alpha(draft: Draft, field: str, value: Any) -> None:
    loras = draft.board.get("model", {}).get("loras", {})
    for name, lora in loras.items():
        lora["scale"], _ = within(number(value, USUAL_ALPHA) or 0.0, *SCALES)
        draft.note(field, "exact", becomes=f"model.loras.{name}.scale")
    if not loras:
        draft.note(field, "exact", "says nothing without a base")


def _schedule(draft: Draft, field: str, value: Any) -> None:
    draft.put("windows.blend", "flat")  # overlaps are averaged there
    if value in ("shuffle", "composite"):
        draft.near(field, "windows.schedule", "uniform", f"there are no {value} windows here")
    elif value in (None, "", "uniform"):
        draft.exact(field, "windows.schedule", "uniform", "windows cover every frame here, also at stride 2 and more")
    else:
        draft.drop(field, f"unknown there, too: {shown(value)}")


def _blend(draft: Draft, field: str, value: Any) -> None:
    draft.exact(field, "travel.blend", "linear" if value is False else "slerp")


def _loras(draft: Draft, field: str, value: Any) -> None:
    for path, option in value.items() if isinstance(value, Mapping) else ():
        place = f"{field}.{bare(path) or shown(path)}"
        if not isinstance(option, Mapping):
            draft.lora(place, path, option)
            continue
        points, _ = by_frame({at: str(scale) for at, scale in dict(option.get("scale") or {}).items()})
        curve = {str(at): within(number(scale, 0.0) or 0.0, *SCALES)[0] for at, scale in sorted(points.items())}
        reason = "paced in a straight line; there it is quadratic, and the same for all frames of a window"
        if (regions := option.get("region")) and regions not in (["background"], "background"):
            where = ", ".join(map(str, regions))[:40] if isinstance(regions, list) else shown(regions)
            reason = f"it acts on the whole picture, there only in region {where}; {reason}"
        draft.lora(place, path, curve or 1.0, reason=reason if curve or regions else "")


def _motion_loras(draft: Draft, field: str, value: Any) -> None:
    for path, scale in value.items() if isinstance(value, Mapping) else ():
        draft.lora(f"{field}.{bare(path) or shown(path)}", path, number(scale, 1.0))


def _output(draft: Draft, field: str, value: Any) -> None:
    value = value if isinstance(value, Mapping) else {}
    _format(draft, f"{field}.format", value.get("format"))
    if "fps" in value:
        draft.number(f"{field}.fps", value["fps"], "video.fps")
    encoding = value.get("encode_param")
    for name, setting in encoding.items() if isinstance(encoding, Mapping) else ():
        place = f"{field}.encode_param.{shown(name)[1:-1]}"
        if name == "crf" and value.get("format") == "webm":
            reason = f"VP9 counts to {VP9_SCALE}, quality to {H264_SCALE}"
            quality = round((number(setting, 18) or 0) * H264_SCALE / VP9_SCALE)
            draft.number(place, quality, "output.quality", reason=reason)
        elif name == "crf":
            draft.number(place, setting, "output.quality")
        else:
            draft.drop(place, "an encoder's own setting; here quality, codec and chroma say it all")
    if value.get("preview_steps"):
        draft.drop(f"{field}.preview_steps", "there are no pictures of half-way steps")


def _format(draft: Draft, field: str, value: Any) -> None:
    ending = ENDINGS.get(value) if isinstance(value, str) else None
    if ending is None:
        if value is not None:
            draft.drop(field, f"unknown format {shown(value)}")
        return
    draft.put("output.path", f"out/{draft.title}.{ending}")
    reason = "the tool wrote h264 under that name; for H.265 set output.codec to h265" if value == "hevc" else ""
    draft.note(field, "approximated" if reason else "exact", reason, becomes="output.path")


def _name(draft: Draft, field: str, value: Any) -> None:
    draft.title = named(value)
    draft.note(field, "exact", "the film's name")


DEFAULTS = {
    "scheduler": "k_dpmpp_2m",
    "steps": USUAL_STEPS,
    "guidance_scale": 7.5,
    "context_schedule": "uniform",
    "tensor_interpolation_slerp": True,
}
"""What the tool takes where its file is silent, and a storyboard does not."""

READ_TOGETHER = ("prompt_fixed_ratio", "head_prompt", "prompt_map", "tail_prompt", "prompt", "n_prompt", "seed")
"""Fields that mean something only together: see `convert`."""

FIELDS: dict[str, Field] = {
    "name": _name,
    "path": as_file("model.checkpoint"),
    "vae_path": as_file("model.vae"),
    "base": _base,
    "lora_alpha": _alpha,
    "motion_module": as_file("model.motion"),
    "context_schedule": _schedule,
    "tensor_interpolation_slerp": _blend,
    "scheduler": scheduler,
    "steps": as_number("sampling.steps"),
    "guidance_scale": as_number("sampling.guidance"),
    "unet_batch_size": as_number("runtime.window_batch"),
    "clip_skip": as_number("model.clip_skip"),
    "lora_map": _loras,
    "motion_lora_map": _motion_loras,
    "lcm_map": lcm,
    "output": _output,
    "compile": without_effect("makes no difference to the picture"),
    "result": without_effect("written by the tool, not read by it"),
    "gradual_latent_hires_fix_map": missing("latents do not grow while they are drawn: set the size you want"),
    "ip_adapter_map": missing("there are no image prompts here"),
    "img2img_map": missing("a folder of images by frame number: name it or a video in start.source"),
    "region_map": missing("prompts are for the whole picture here"),
    "controlnet_map": missing("there is no ControlNet here"),
    "upscale_config": missing("a second pass of the tool's own command, not of this film"),
    "stylize_config": missing("settings of the tool's stylize command"),
    "is_single_prompt_mode": missing("every frame has its own prompt here, not every window"),
}
"""Fields in the order in which they are read: base and lcm_map after what they take the place of."""
