"""ComfyUI's samplers: which node draws the film, and what its values are here."""

from collections.abc import Mapping
from typing import Any

from lcm_video.importers.comfy.graph import Graph, Node
from lcm_video.importers.comfy.reading import Reading

SAMPLING_NODES = (
    "KSampler", "KSamplerAdvanced", "KSampler (Efficient)", "KSampler Adv. (Efficient)", "AnimateDiffSampler",
    "SamplerCustom", "SamplerCustomAdvanced",
)  # fmt: skip

SAME = {"lcm": "lcm", "euler": "euler", "euler_ancestral": "euler_a", "ddim": "ddim", "dpmpp_2m": "dpmpp_2m"}
NEAR = {
    "heun": "dpmpp_2m", "heunpp2": "dpmpp_2m", "dpm_2": "dpmpp_2m", "lms": "dpmpp_2m", "uni_pc": "dpmpp_2m",
    "uni_pc_bh2": "dpmpp_2m", "dpm_fast": "dpmpp_2m", "dpm_adaptive": "dpmpp_2m", "deis": "dpmpp_2m",
    "ipndm": "dpmpp_2m", "dpm_2_ancestral": "euler_a", "dpmpp_2s_ancestral": "euler_a", "dpmpp_sde": "euler_a",
    "dpmpp_2m_sde": "euler_a", "dpmpp_3m_sde": "euler_a", "ddpm": "euler_a",
}  # fmt: skip
"""Samplers that are not here, and the one that is most like them: with or without fresh noise in every step."""

SCHEDULERS = ("normal", "karras", "sgm_uniform", "simple", "ddim_uniform", "beta")

USUAL = {"steps": 20, "cfg": 8.0, "denoise": 1.0}
"""ComfyUI's own defaults."""


def read_sampling(reading: Reading, node: Node) -> float:
    """Takes everything from the node that draws; returns its denoise, the share of noise it starts from."""
    holders = _holders(reading.graph, node)
    _sampler(reading, holders)
    _seed(reading, holders)
    for name, field, low, high in (("steps", "steps", 1, 1000), ("cfg", "guidance", 0, 30)):
        holder = _holder(holders, name)
        number, fate, reason = reading.bounded(holder, name, low, high, USUAL[name])
        reading.keep(holder, name, f"sampling.{field}", int(number) if name == "steps" else number, fate, reason)
    if node.type.startswith(("KSamplerAdvanced", "KSampler Adv")):
        return _range(reading, node)
    holder = _holder(holders, "denoise")
    return float(reading.bounded(holder, "denoise", 0, 1, 1.0)[0])


def _holders(graph: Graph, node: Node) -> list[Node]:
    """The nodes that hold a sampler's values: itself, or those for its sampler, noise, sigmas and guidance."""
    parts = [graph.source(node, name) for name in ("sampler", "sigmas", "guider", "noise")]
    return [node, *(part[0] for part in parts if part)]


def _holder(holders: list[Node], *names: str) -> Node:
    return next((node for node in holders if any(name in node.inputs for name in names)), holders[0])


def _sampler(reading: Reading, holders: list[Node]) -> None:
    holder = _holder(holders, "sampler_name")
    name = reading.text(holder, "sampler_name", "lcm" if any("LCM" in one.type for one in holders) else "euler")
    known = name.removesuffix("_gpu").removesuffix("_cfg_pp")
    if name in SAME:
        reading.keep(holder, "sampler_name", "sampling.sampler", SAME[name])
    elif known in SAME or known in NEAR:
        near = SAME.get(known) or NEAR[known]
        reading.keep(holder, "sampler_name", "sampling.sampler", near, "approximated", f"there is no {name}")
    else:
        reading.keep(
            holder, "sampler_name", "sampling.sampler", "euler_a", "approximated", f"{name[:40]!r} is not known here"
        )
    holder = _holder(holders, "scheduler")
    spacing = reading.text(holder, "scheduler", _implied(holders))
    fits = spacing in SCHEDULERS
    reason = "" if fits else f"there is no {spacing[:40]}"
    kept = f"comfy_{spacing if fits else 'normal'}"
    reading.keep(holder, "scheduler", "sampling.timesteps", kept, "exact" if fits else "approximated", reason)


def _implied(holders: list[Node]) -> str:
    """The spacing of a node that has no choice of it."""
    return "sgm_uniform" if any(one.type in ("LCMScheduler", "SDTurboScheduler") for one in holders) else "normal"


def _seed(reading: Reading, holders: list[Node]) -> None:
    name = next((name for name in ("seed", "noise_seed") if any(name in one.inputs for one in holders)), "seed")
    holder = _holder(holders, name)
    seed = int(reading.number(holder, name, 0))
    reason = "ComfyUI draws all frames' noise at once, here each frame has its own: another film of the same kind"
    if not 0 <= seed < 2**63:
        reason = (
            f"{seed} is beyond the seeds there are here; {reason}" if seed >= 0 else "drawn anew in every run there"
        )
    reading.keep(holder, name, "sampling.seed", seed % 2**63 if seed >= 0 else 0, "approximated", reason)


def _range(reading: Reading, node: Node) -> float:
    """KSamplerAdvanced runs some steps of a schedule; its start is a share of noise, its end cannot be said here."""
    steps = max(1, int(reading.number(node, "steps", 20)))
    first, last = int(reading.number(node, "start_at_step", 0)), int(reading.number(node, "end_at_step", 10000))
    if first > 0:
        reading.find(
            node, "start_at_step", "approximated", f"{first} of {steps} steps are left out", becomes="start.strength"
        )
        reading.board.setdefault("sampling", {})["steps"] = max(1, steps - first)
    if last < steps:
        reading.find(node, "end_at_step", "ignored", "every film is denoised to the end")
    reading.value(node, "add_noise")
    reading.value(node, "return_with_leftover_noise")
    return max(0.0, min(1.0, 1 - first / steps))


def board_sampler(board: Mapping[str, Any]) -> str:
    """The sampler that has been read."""
    return board.get("sampling", {}).get("sampler", "")
