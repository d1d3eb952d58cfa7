"""What every setting of Deforum becomes. Most describe a camera and how each frame is made from the one before it."""

from collections.abc import Callable
from typing import Any

from lcm_video.importers.a1111.samplers import chosen
from lcm_video.importers.deforum.schedules import Unreadable, curve
from lcm_video.importers.draft import Draft, named
from lcm_video.importers.fields import Field, as_file, as_number, is_on, left_out, missing, without_effect
from lcm_video.importers.values import RANGES, number, shown

CAMERA = "there is no camera here: what moves is drawn by the motion module"
FEEDBACK = "each frame is made from the one before it there; here all are drawn together, held by the motion module"
NAME_IT = "the file is elsewhere: name it in {}"


def _still(neutral: float) -> Field:
    """A schedule of the camera's; nothing is lost where it does not move."""

    def handle(draft: Draft, field: str, value: Any) -> None:
        try:
            found, _ = curve(value, frames=2, low=-1e9, high=1e9)
        except Unreadable:
            found = None
        if found == neutral:
            draft.note(field, "exact", "nothing moves")
        else:
            draft.drop(field, CAMERA)

    return handle


def _part_of(*switches: str, reason: str) -> Field:
    """One of many settings of a part; nothing is lost where that is switched off."""

    def handle(draft: Draft, field: str, value: Any) -> None:
        if any(is_on(draft.data.get(switch)) for switch in switches):
            draft.drop(field, reason)
        else:
            draft.note(field, "exact", "switched off")

    return handle


def _when(condition: Callable[[Draft], bool], reason: str) -> Field:
    def handle(draft: Draft, field: str, value: Any) -> None:
        if condition(draft):
            draft.drop(field, reason)
        else:
            draft.note(field, "exact", "switched off")

    return handle


def _guidance(draft: Draft, field: str, value: Any) -> None:
    path = "sampling.guidance"
    try:
        found, reason = curve(value, frames=length(draft), low=RANGES[path][0], high=RANGES[path][1])
    except Unreadable as error:
        draft.drop(field, str(error))
        return
    if reason:
        draft.near(field, path, found, reason)
    else:
        draft.exact(field, path, found)


def _sampler(draft: Draft, field: str, value: Any) -> None:
    found = chosen(str(value), str(draft.data.get("scheduler", "")))
    if found is None:
        draft.drop(field, f"unknown here: {shown(value)}")
        return
    draft.put("sampling.sampler", found.sampler)
    draft.put("sampling.timesteps", found.timesteps)
    draft.note(field, "approximated" if found.reason else "exact", found.reason, becomes="sampling.sampler")


def _mode(draft: Draft, field: str, value: Any) -> None:
    if value in ("Interpolation", "None"):
        draft.note(field, "exact", "prompts travel" if value == "Interpolation" else "frames stand alone")
    else:
        draft.drop(field, FEEDBACK)


def _seeds(draft: Draft, field: str, value: Any) -> None:
    if value in ("fixed", "iter"):
        draft.note(field, "exact", "every frame has noise of its own here, from one seed")
    else:
        draft.drop(field, "seeds may be keyframed: sampling.seed: {0: 1, 2s: 7}")


def _gif(draft: Draft, field: str, value: Any) -> None:
    if is_on(value):
        draft.exact(field, "output.formats", ["gif"])
    else:
        draft.note(field, "exact", "switched off")


def _title(draft: Draft, field: str, value: Any) -> None:
    draft.title = named(value)
    draft.note(field, "exact", "the film's name")


def _has_picture(draft: Draft) -> bool:
    return is_on(draft.data.get("use_init"))


def _has_video(draft: Draft) -> bool:
    return draft.data.get("animation_mode") == "Video Input"


def _has_control(draft: Draft) -> bool:
    return any(is_on(draft.data.get(f"cn_{unit}_enabled")) for unit in range(1, 6))


def length(draft: Draft) -> int:
    """The film's length in frames, as the file says it."""
    found = number(draft.data.get("max_frames"), 120) or 120  # what Deforum takes
    return int(min(max(found, 1), RANGES["video.frames"][1]))


READ_TOGETHER = (
    "prompts", "animation_prompts", "animation_prompts_positive", "animation_prompts_negative", "scheduler",
)  # fmt: skip

TABLE: dict[str, Field] = {
    "batch_name": _title,
    "W": as_number("video.width"),
    "H": as_number("video.height"),
    "max_frames": as_number("video.frames"),
    "fps": as_number("video.fps"),
    "make_gif": _gif,
    "seed": lambda draft, field, value: draft.seed(field, value),
    "seed_behavior": _seeds,
    "seed_iter_N": without_effect("every frame has noise of its own here"),
    "seed_schedule": _when(
        lambda draft: draft.data.get("seed_behavior") == "schedule",
        "seeds may be keyframed: sampling.seed: {0: 1, 2s: 7}",
    ),
    "sampler": _sampler,
    "steps": as_number("sampling.steps"),
    "scale": as_number("sampling.guidance"),
    "cfg_scale": as_number("sampling.guidance"),
    "cfg_scale_schedule": _guidance,
    "sd_model_name": as_file("model.checkpoint"),
    "sd_model_hash": without_effect("files are found by name"),
    "animation_mode": _mode,
    "zoom": _still(1),
    "angle": _still(0),
    "translation_*": _still(0),
    "rotation_3d_*": _still(0),
    "transform_center_*": _still(0.5),
    "shake_*": missing(CAMERA),
    "perspective_flip_*": _part_of("enable_perspective_flip", reason=CAMERA),
    "enable_perspective_flip": missing(CAMERA),
    "strength_schedule": missing(FEEDBACK),
    "strength": _when(_has_picture, NAME_IT.format("start.source, with 1 minus this in start.strength")),
    "init_image": _when(_has_picture, NAME_IT.format("start.source")),
    "use_init": missing(NAME_IT.format("start.source")),
    "strength_0_no_init": without_effect("says nothing without a first picture"),
    "video_init_path": _when(_has_video, NAME_IT.format("start.source")),
    "extract_*": _when(_has_video, "a video is used whole here"),
    "soundtrack_path": _part_of("add_soundtrack", reason=NAME_IT.format("output.audio.source")),
    "add_soundtrack": missing(NAME_IT.format("output.audio.source")),
    "enable_*": missing("this does not change over time here"),
    "steps_schedule": _part_of("enable_steps_scheduling", reason="all frames have as many steps here"),
    "subseed*": _part_of("enable_subseed_scheduling", reason="there are no variation seeds; seeds may be keyframed"),
    "sampler_schedule": _part_of("enable_sampler_scheduling", reason="a shot has one sampler"),
    "scheduler_schedule": _part_of("enable_scheduler_scheduling", reason="a shot has one sampler"),
    "checkpoint_schedule": _part_of("enable_checkpoint_scheduling", reason="a film has one model"),
    "clipskip_schedule": _part_of("enable_clipskip_scheduling", reason="set model.clip_skip"),
    "noise_multiplier_schedule": _part_of("enable_noise_multiplier_scheduling", reason=FEEDBACK),
    "ddim_eta_schedule": _part_of("enable_ddim_eta_scheduling", reason="samplers have no eta here"),
    "ancestral_eta_schedule": _part_of("enable_ancestral_eta_scheduling", reason="samplers have no eta here"),
    "hybrid_*": _part_of("hybrid_motion", "hybrid_composite", reason="films are not mixed with videos here"),
    "use_mask": missing("there are no masks here"),
    "use_noise_mask": missing("there are no masks here"),
    "use_mask_video": missing("there are no masks here"),
    "frame_interpolation_*": _part_of("frame_interpolation_engine", reason="raise video.frames and video.fps"),
    "r_upscale_*": _part_of("r_upscale_video", reason="there is no upscaler: set video.width and video.height"),
    "parseq_*": _part_of("parseq_manifest", reason="Parseq's curves can be written as curves here"),
    "cn_*": _when(_has_control, "there is no ControlNet here"),
    "distilled_*": left_out("for FLUX models"),
    "tiling": missing("there is no tiling here"),
    "restore_faces": missing("there is none here"),
} | {
    name: _part_of("use_mask", "use_noise_mask", "use_mask_video", reason="there are no masks here")
    for name in (
        "mask_*", "noise_mask_*", "invert_mask", "overlay_mask", "full_res_mask*", "fill", "use_alpha_as_mask",
        "video_mask_*",
    )
} | {
    name: _part_of("use_looper", reason="there are no guided images here")
    for name in ("init_images", "use_looper", "image_strength_*", "blendFactor*", "tweening_*", "color_correction_*")
} | {
    name: left_out("the camera's: there is none here")
    for name in (
        "border", "fov_*", "near_*", "far_*", "aspect_ratio_*", "use_depth_*", "depth_*", "midas_*", "padding_mode",
        "sampling_mode", "save_depth_maps",
    )
} | {
    name: left_out(FEEDBACK)
    for name in (
        "noise_*", "contrast_*", "perlin_*", "color_*", "legacy_colormatch", "amount_*", "kernel_*", "sigma_*",
        "threshold_*", "diffusion_*", "optical_flow_*", "cadence_*", "redo_*", "turbo_*", "reroll_*", "pix2pix_*",
        "keyframe_strength_*",
    )
} | {
    name: without_effect("says nothing about the picture")
    for name in (
        "deforum_git_*", "resume_*", "show_info_on_ui", "skip_video_creation", "store_frames_in_ram", "delete_*",
        "save_*", "seed_resize_*", "motion_preview_mode", "overwrite_*", "outdir", "timestring", "make_*",
        "image_path", "mp4_path", "ffmpeg_*",
    )
}  # fmt: skip
"""Deforum's settings; a name ending in ``*`` stands for all that begin so."""
