"""Schedulers of animatediff-cli, and LCM, which takes the place of any of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lcm_video.importers.draft import Draft
from lcm_video.importers.values import MOST_LCM_STEPS, SCALES, number, shown, within

USUAL_STEPS = 25


class Scheduler(NamedTuple):
    """What is nearest to one of the tool's schedulers."""

    sampler: str
    timesteps: str = ""
    reason: str = ""  # why it is not the same


def _nearest(sampler: str, timesteps: str = "") -> Scheduler:
    return Scheduler(sampler, timesteps, f"there is no such sampler here, {sampler} is the nearest")


SCHEDULERS: dict[str, Scheduler] = {
    "lcm": Scheduler("lcm"),
    "ddim": Scheduler("ddim"),
    "euler": Scheduler("euler"),
    "euler_a": Scheduler("euler_a"),
    "dpmpp_2m": Scheduler("dpmpp_2m"),
    "k_dpmpp_2m": Scheduler("dpmpp_2m", "karras"),
    "k_dpmpp": _nearest("dpmpp_2m", "karras"),
    "dpmpp": _nearest("dpmpp_2m"),
    "pndm": _nearest("ddim"),
    "heun": _nearest("euler"),
    "unipc": _nearest("dpmpp_2m"),
    "lms": _nearest("euler"),
    "k_lms": _nearest("euler", "karras"),
    "dpm_2": _nearest("euler"),
    "k_dpm_2": _nearest("euler", "karras"),
    "dpm_2_a": _nearest("euler_a"),
    "k_dpm_2_a": _nearest("euler_a", "karras"),
    "dpmpp_sde": _nearest("euler_a"),
    "k_dpmpp_sde": _nearest("euler_a", "karras"),
    "dpmpp_2m_sde": _nearest("dpmpp_2m"),
    "k_dpmpp_2m_sde": _nearest("dpmpp_2m", "karras"),
}
"""The tool's schedulers; ``k_`` stands for Karras' noise levels."""

LCM_MAP = {"start_scale": 0.15, "end_scale": 0.75, "gradient_start": 0.2, "gradient_end": 0.75}
"""Fields of lcm_map, and their usual values."""

LCM_LORA = "lcm-lora-sdv1-5"
"""What the tool downloads when its LCM is switched on."""


def scheduler(draft: Draft, field: str, value: Any) -> None:
    """The sampler and its noise levels."""
    known = SCHEDULERS.get(value) if isinstance(value, str) else None
    if known is None:
        draft.drop(field, f"unknown scheduler {shown(value)}")
        return
    draft.put("sampling.sampler", known.sampler)
    if known.timesteps:
        draft.put("sampling.timesteps", known.timesteps)
    draft.note(field, "approximated" if known.reason else "exact", known.reason, becomes="sampling.sampler")


def lcm(draft: Draft, field: str, value: Any) -> None:
    """LCM takes the scheduler's place, and its LoRA grows stronger from step to step."""
    if not isinstance(value, Mapping) or not value.get("enable"):
        draft.note(field, "exact", "switched off")
        return
    if draft.board.get("sampling", {}).get("sampler") not in (None, "lcm"):
        draft.findings = [one for one in draft.findings if not one.field.startswith("scheduler")]
        draft.drop("scheduler", "lcm_map takes its place there, too; to keep it, set sampling.sampler")
    draft.put("sampling.sampler", "lcm")
    draft.board["sampling"].pop("timesteps", None)
    steps = int(draft.board["sampling"].get("steps", USUAL_STEPS))
    draft.lora(field, LCM_LORA, 1.0, steps=growing(value, min(steps, MOST_LCM_STEPS)))


def growing(lcm_map: Mapping[str, Any], steps: int) -> dict[str, float]:
    """The LCM-LoRA's strength at each step, left out where it is as before and after.

    It is ``start_scale`` up to the share ``gradient_start`` of all steps, counted with the one being done, and from
    there grows to ``end_scale`` at ``gradient_end``.
    """
    low, high, begin, end = (number(lcm_map.get(name), usual) or 0.0 for name, usual in LCM_MAP.items())
    low, high = within(low, *SCALES)[0], within(high, *SCALES)[0]

    def scale(step: int) -> float:
        done = (step + 1) / steps
        share = min(max((done - begin) / (end - begin), 0.0), 1.0) if end > begin else float(done >= begin)
        return round(low + (high - low) * share, 9)

    scales = [scale(step) for step in range(steps)]
    turns = [at for at in range(steps) if not 0 < at < steps - 1 or not scales[at - 1] == scales[at] == scales[at + 1]]
    return {str(at): scales[at] for at in turns}
