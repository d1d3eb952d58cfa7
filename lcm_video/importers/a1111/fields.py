"""What every setting of the web UI and of its AnimateDiff extension becomes."""

from collections.abc import Mapping
from typing import Any

from lcm_video.importers.a1111.samplers import chosen
from lcm_video.importers.draft import Draft
from lcm_video.importers.fields import Field, as_file, as_number, is_on, missing, read, without_effect
from lcm_video.importers.values import number, shown

SECOND_PASS = "there is no second pass: set video.width and video.height"
NOT_IN_FILE = "the picture that it began from is not in the file: set start.source and start.strength"
OTHER_NOISE = "noise is drawn in a way of its own here"


def _embeddings(draft: Draft, field: str, value: Any) -> None:
    """The textual inversions that took part, by name."""
    names = [name for part in str(value).split(",") if (name := part.partition(":")[0].strip())]
    if names:
        draft.exact(field, "model.embeddings", list(dict.fromkeys(names)))


def drawn_again(handle: Field) -> Field:
    """A setting of FreeInit, which says nothing where that is off; freeinit_enable is read before it."""

    def when_on(draft: Draft, field: str, value: Any) -> None:
        (handle if draft.section("freeinit") else without_effect("FreeInit is off"))(draft, field, value)

    return when_on


SETTINGS: dict[str, Field] = {
    "Model": as_file("model.checkpoint"),
    "VAE": lambda draft, field, value: (
        without_effect("the checkpoint's own")(draft, field, value)
        if str(value) in ("None", "Automatic")
        else as_file("model.vae")(draft, field, value)
    ),
    "Clip skip": as_number("model.clip_skip"),
    "Steps": as_number("sampling.steps"),
    "CFG scale": as_number("sampling.guidance"),
    "Seed": lambda draft, field, value: draft.seed(field, value),
    "TI hashes": _embeddings,
    "Denoising strength": missing(NOT_IN_FILE),
    "Hires*": missing(SECOND_PASS),
    "Lora hashes": without_effect("the prompt names them"),
    "Model hash": without_effect("files are found by name; a lock file holds their SHA-256"),
    "VAE hash": without_effect("files are found by name"),
    "Version": without_effect("the UI's"),
    "User": without_effect("who made it"),
    "Face restoration": missing("there is none here"),
    "Variation*": missing("there are no variation seeds; seeds may be keyframed"),
    "Seed resize*": missing("there are no variation seeds; seeds may be keyframed"),
    "Eta*": missing(OTHER_NOISE),
    "ENSD": missing(OTHER_NOISE),
    "RNG": missing(OTHER_NOISE),
    "Tiling": missing("there is no tiling here"),
    "Token merging*": missing("a shortcut that is not taken here"),
    "ControlNet*": missing("there is no ControlNet here"),
    "Mask blur": missing("there are no masks here"),
    "Refiner*": missing("there is no refiner here"),
    "Dynamic thresholding*": missing("there is none here"),
    "Pad conds": without_effect("all prompts of a film have as many tokens here"),
}
"""The UI's settings by the names that it writes."""

ANIMATEDIFF: dict[str, Field] = {
    "model": as_file("model.motion"),
    "fps": as_number("video.fps"),
    "batch_size": as_number("windows.length"),
    "stride": as_number("windows.stride"),
    "loop_number": lambda draft, field, value: _repeat(draft, field, value),
    "interp": missing("there is no frame interpolation here: raise video.frames and video.fps"),
    "interp_x": without_effect("says nothing without interp"),
    "enable": without_effect("it was on"),
    "freeinit_enable": lambda draft, field, value: _freeinit(draft, field, value),
    "freeinit_iters": drawn_again(lambda draft, field, value: _rounds(draft, field, value)),
    "freeinit_filter": drawn_again(lambda draft, field, value: _filter(draft, field, value)),
    "freeinit_ds": drawn_again(as_number("freeinit.space")),
    "freeinit_dt": drawn_again(as_number("freeinit.time")),
    "mm_hash": without_effect("files are found by name"),
    "version": without_effect("the extension's"),
    "latent_*": missing("there is no pull towards a first or last picture; name one in start.source"),
    "video_*": missing(NOT_IN_FILE),
    "mask_path": missing("there are no masks here"),
    "last_frame": missing("there is no last picture to end on"),
    "request_id": without_effect("the API's"),
    "format": lambda draft, field, value: _formats(draft, field, value),
}
"""The extension's settings."""

READ_TOGETHER = ("Sampler", "Schedule type", "Size", "video_length", "overlap", "closed_loop")

FILTERS = ("butterworth", "gaussian", "ideal")

LOOPS = ("R+P", "A")
"""Values of closed_loop with which the last prompt travels back to the first."""


def settings(draft: Draft, values: Mapping[str, Any]) -> None:
    """All that the UI says."""
    read(draft, values, SETTINGS, done=READ_TOGETHER)
    if "Sampler" in values:
        _sampler(draft, str(values["Sampler"]), str(values.get("Schedule type", "")))
    if "Size" in values:
        width, _, height = str(values["Size"]).partition("x")
        draft.number("Size", width, "video.width")
        draft.number("Size", height, "video.height")


def animatediff(draft: Draft, values: Mapping[str, Any]) -> None:
    """All that the extension says."""
    read(draft, values, ANIMATEDIFF, done=READ_TOGETHER)
    window = int(number(values.get("batch_size"), 16) or 16)
    overlap = number(values.get("overlap"), -1)
    if overlap is None or overlap < 0:
        overlap = window // 4  # -1: what the extension takes for it
    if overlap >= window:
        overlap, why = window // 4, f"{overlap} is not below the window length"
    else:
        why = "windows are blended there where they overlap; in the extension the last one wins"
    draft.near("overlap", "windows.overlap", max(int(overlap), 0), why)
    _loop(draft, values, window)


def _loop(draft: Draft, values: Mapping[str, Any], window: int) -> None:
    """Whether the film is a loop: only where it has several windows, and the extension was told to close it."""
    kind = values.get("closed_loop", "N")
    longer = (number(values.get("video_length"), 0) or 0) > window
    if kind in LOOPS and longer:
        reason = "" if kind == "A" else "windows run across the seam, too; there only prompts do"
        draft.put("video.loop", True)
        draft.note("closed_loop", "approximated" if reason else "exact", reason, becomes="video.loop")
    elif "closed_loop" in values:
        draft.note("closed_loop", "exact", "the film has two ends", becomes="video.loop")


def _freeinit(draft: Draft, field: str, value: Any) -> None:
    if is_on(value):
        draft.near(field, "freeinit.rounds", 2, "three drawings, as by default there; mixed as in FreeInit's paper")
    else:
        draft.note(field, "exact", "off")


def _rounds(draft: Draft, field: str, value: Any) -> None:
    """There the first drawing counts."""
    times = number(value)
    if times is None or times < 1:
        draft.drop(field, f"{shown(value)} is no number of drawings")
    else:
        draft.number(field, times - 1, "freeinit.rounds")


def _filter(draft: Draft, field: str, value: Any) -> None:
    if str(value) in FILTERS:
        draft.exact(field, "freeinit.filter", str(value))
    else:
        draft.drop(field, f"unknown here: {shown(value)}; butterworth is used")


def _sampler(draft: Draft, name: str, schedule: str) -> None:
    found = chosen(name, schedule)
    if found is None:
        draft.drop("Sampler", f"unknown here: {shown(name)}")
        return
    draft.put("sampling.sampler", found.sampler)
    draft.put("sampling.timesteps", found.timesteps)
    draft.note("Sampler", "approximated" if found.reason else "exact", found.reason, becomes="sampling.sampler")


def _repeat(draft: Draft, field: str, value: Any) -> None:
    times = number(value, 0)
    if times == 0:
        draft.exact(field, "output.repeat", True)
    else:
        draft.near(field, "output.repeat", False, f"played once; {shown(times)} times there")


def _formats(draft: Draft, field: str, value: Any) -> None:
    known = {"gif": "gif", "mp4": "mp4", "webp": "webp", "webm": "webm", "png": "png"}
    found = (
        [known[one.lower()] for one in value if isinstance(one, str) and one.lower() in known]
        if isinstance(value, list)
        else []
    )
    if found:
        first, *others = dict.fromkeys(found)
        draft.exact(field, "output.path", f"out/film.{first}")
        draft.put("output.formats", others)
    else:
        draft.drop(field, f"{shown(value)} names no format")
