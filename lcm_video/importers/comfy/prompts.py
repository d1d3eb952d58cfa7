"""The CONDITIONING line of a workflow: plain prompts and schedules of them."""

import re
from typing import Any, NamedTuple

from lcm_video.importers import ade, fizz
from lcm_video.importers.comfy.graph import Node
from lcm_video.importers.comfy.models import read_clip
from lcm_video.importers.comfy.reading import Reading
from lcm_video.importers.keys import Key, Keys, board_negative, board_prompts, computed

ON = ("positive", "negative", "conditioning", "conditioning_to", "conditioning_1", "cond", "cond_ADD", "positive_A",
      "basic_pipe")  # fmt: skip
FIZZ = ("BatchPromptSchedule", "BatchPromptScheduleLatentInput", "PromptSchedule")
ADE = ("ADE_PromptScheduling", "ADE_PromptSchedulingLatents")
TEXTS = ("text", "text_g", "positive", "prompt", "string")
WEIGHTS = ("pw_a", "pw_b", "pw_c", "pw_d")
EMBEDDING = re.compile(r"embedding:([A-Za-z0-9_.\-\\/]+)", re.IGNORECASE)


class Found(NamedTuple):
    """Texts by frame, and the nodes and inputs they came from."""

    keys: Keys
    clip: tuple[Node, int] | None = None


def read_prompts(reading: Reading, sampler: Node) -> None:
    """Takes the positive and the negative prompts that reach the node that draws, and the CLIP they are read with."""
    graph = reading.graph
    guider = graph.source(sampler, "guider")
    holder = guider[0] if guider else sampler
    reading.put("model.emphasis", "comfy")
    positive = _follow(reading, graph.source(holder, "positive", "conditioning"), "positive")
    negative = _follow(reading, graph.source(holder, "negative"), "negative")
    reading.put("prompts", board_prompts(positive.keys) if positive.keys else {"0": ""})
    if not positive.keys:
        reading.comments["prompts"] = "the workflow's prompt could not be followed: write one"
    if any(key.text for key in negative.keys.values()):
        reading.put("negative", board_negative(negative.keys))
    read_clip(reading, positive.clip or negative.clip)
    _embeddings(reading, [*positive.keys.values(), *negative.keys.values()])


def _follow(reading: Reading, at: tuple[Node, int] | None, role: str) -> Found:
    """Walks back along the line to the node that holds the text."""
    seen = set()
    while at and (at[0].id, at[1]) not in seen:
        node, slot = at
        seen.add((node.id, slot))
        if node.type in FIZZ:
            return _fizz(reading, node, role, slot)
        if node.type in ADE:
            return _ade(reading, node, role)
        if node.type == "ConditioningZeroOut":
            reading.whole(node, "approximated", "zeros in place of an encoded empty prompt", becomes=f"{role}: empty")
            return Found({})
        if node.type == "Efficient Loader":
            return _plain(reading, node, role, "negative" if slot == 2 else "positive")
        if further := _next(reading, node, slot, role):
            _passed(reading, node)
            at = further
        else:
            field = next((name for name in TEXTS if name in node.inputs), "")
            return _plain(reading, node, role, field) if field else _unknown(reading, node, role)
    return Found({})


def _next(reading: Reading, node: Node, slot: int, role: str) -> tuple[Node, int] | None:
    """The conditioning that a node changes, if it takes one."""
    both = reading.graph.source(node, "positive") and reading.graph.source(node, "negative")
    # Nodes that take both put out the positive first.
    names = (("negative" if slot == 1 else "positive"),) if both else (role, *ON)
    return reading.graph.source(node, *names)


def _passed(reading: Reading, node: Node) -> None:
    if node.id in reading.taken:
        return
    control = "control" in node.type.lower() or "control_net" in node.inputs
    combined = any(word in node.type for word in ("Combine", "Concat", "Average"))
    reason = "changes the prompt's encoding in a way that is not known here"
    if control:
        reason = "ControlNet is not there"
    elif combined:
        reason = "only the first of its prompts is taken"
    reading.whole(node, "ignored", reason)


def _unknown(reading: Reading, node: Node, role: str) -> Found:
    reading.whole(node, "ignored", f"the {role} prompt comes from it, and it is not known here")
    return Found({})


def _plain(reading: Reading, node: Node, role: str, field: str) -> Found:
    """One text for the whole film."""
    text = reading.text(node, field).strip()
    becomes = f"{'prompts.0' if role == 'positive' else 'negative'}: {text[:50]}"
    fate, reason = "exact", ""
    if "text_g" in node.inputs and reading.text(node, "text_l").strip() not in ("", text):
        fate, reason = "approximated", "both text encoders read the same text here"
        reading.find(node, "text_l", "ignored", reason)
    if node.type == "BNK_CLIPTextEncodeAdvanced":
        how = (reading.text(node, "token_normalization", "none"), reading.text(node, "weight_interpretation", "comfy"))
        if how == ("mean", "A1111"):
            reading.keep(node, "weight_interpretation", "model.emphasis", "a1111")
        elif how != ("none", "comfy"):
            fate, reason = "approximated", f"emphasis is weighed as ComfyUI does, not {how[1]} with {how[0]}"
    reading.find(node, field, fate, reason, becomes=becomes)
    return Found({0: Key(text)}, reading.graph.source(node, "clip") or (node, 0))


def _frames(reading: Reading, node: Node) -> int:
    """How long the film is, which the schedule should agree with."""
    film = reading.board.get("video", {}).get("frames")
    if "max_frames" not in node.inputs:
        return film or 120
    told = int(reading.number(node, "max_frames", 120))
    if film and told != film:
        reason = f"the schedule counts {told} frames, the film has {film}"
        reading.find(node, "max_frames", "approximated", reason, becomes=f"video.frames: {film}")
    else:
        reading.find(node, "max_frames", "exact", becomes=f"video.frames: {told}")
        reading.put("video.frames", min(max(told, 1), 1_000_000))
    return max(told, 1)


def _fizz(reading: Reading, node: Node, role: str, slot: int) -> Found:
    """FizzNodes' schedule: its first output is positive, its second negative."""
    frames = _frames(reading, node)
    weights = {name: reading.number(node, name, 0.0) for name in WEIGHTS if name in node.inputs}
    texts = [reading.text(node, name) for name in ("pre_text", "app_text")]
    found = fizz.schedule(
        reading.text(node, "text"), frames=frames, before=texts[0], after=texts[1], weights=weights,
        curve=f"weight_{re.sub('[^A-Za-z0-9]', '_', node.id)}",
    )  # fmt: skip
    if found.curves:
        reading.board.setdefault("curves", {}).update(found.curves)
    negative = (slot == 1 and "Latent" not in node.type) or role == "negative"
    keys = found.negative if negative else found.positive
    notes = "; ".join([*found.notes, *_still(reading, node)])
    becomes = f"{'negative' if negative else 'prompts'}: {len(board_prompts(keys))} keyframes"
    reading.find(node, "text", "approximated" if found.notes else "exact", notes, becomes=becomes)
    for name in ("pre_text", "app_text"):
        if reading.text(node, name):
            reading.find(node, name, "exact", "joined to every prompt")
    reading.value(node, "end_frame")
    return Found(keys, reading.graph.source(node, "clip"))


def _still(reading: Reading, node: Node) -> list[str]:
    """A schedule for one frame at a time stands still unless its frame is counted up between runs."""
    if node.type != "PromptSchedule":
        return []
    frame = reading.value(node, "current_frame", 0)
    return [f"one frame at a time there (current_frame {frame}); here the film travels through it"]


def _ade(reading: Reading, node: Node, role: str) -> Found:
    """AnimateDiff-Evolved's schedule; names in backticks stand for numbers over frames."""
    film = reading.board.get("video", {}).get("frames") or 0
    length = int(reading.number(node, "max_length", 0)) or film
    texts = [reading.text(node, name) for name in ("prepend_text", "append_text")]
    keys = ade.schedule(reading.text(node, "prompts"), frames=length, before=texts[0], after=texts[1])
    keys = _replaced(reading, node, keys, length or max(keys) + 1)
    if not film:
        reading.put("video.frames", length or max(keys) + 1)
    if (way := reading.text(node, "tensor_interp", "lerp")) == "slerp":
        reading.keep(node, "tensor_interp", "travel.blend", "slerp")
    else:
        reading.find(node, "tensor_interp", "exact", becomes=f"travel.blend: {'linear' if way == 'lerp' else way[:20]}")
    reading.find(node, "prompts", "approximated" if len(keys) > 1 else "exact", ade.COMPOUNDS if len(keys) > 1 else "",
                 becomes=f"{'prompts' if role == 'positive' else 'negative'}: {len(keys)} keyframes")  # fmt: skip
    for name, text in zip(("prepend_text", "append_text"), texts, strict=True):
        if text:
            reading.find(node, name, "exact", "joined to every prompt with a comma")
    return Found(keys, reading.graph.source(node, "clip"))


def _replaced(reading: Reading, node: Node, keys: Keys, frames: int) -> Keys:
    """Keys with `` `name` `` replaced by the number that counts at that frame."""
    at, seen = reading.graph.source(node, "values_replace"), set()
    while at and at[0].id not in seen:
        holder = at[0]
        seen.add(holder.id)
        name = reading.text(holder, "value_key")
        if source := reading.graph.source(holder, "floats"):
            numbers = fizz.number_schedule(reading.text(source[0], "values"), frames=frames)
            keys = {
                frame: Key(key.text.replace(f"`{name}`", _at(numbers, frame)), key.hold) for frame, key in keys.items()
            }
            reading.find(
                holder, "value_key", "approximated", "the number at each keyframe is taken for all frames near it"
            )
        at = reading.graph.source(holder, "prev_replace")
    return keys


def _at(numbers: dict[str, float], frame: int) -> str:
    """A number of a schedule at a frame, between two of its keys in a straight line."""
    points = sorted((int(at), value) for at, value in numbers.items())
    before = [point for point in points if point[0] <= frame] or points[:1]
    after = [point for point in points if point[0] > frame] or before[-1:]
    if not before:
        return "1"
    (low, first), (high, last) = before[-1], after[0]
    share = (frame - low) / (high - low) if high > low else 0.0
    return f"{computed(f'{first!r} + ({last!r} - {first!r}) * {share!r}', {}):g}"


def _embeddings(reading: Reading, keys: list[Key]) -> None:
    """Names the embeddings that the texts call, so that their files are found."""
    names: dict[str, Any] = {}
    for key in keys:
        for name in EMBEDDING.findall(key.text):
            names[name.rstrip(".").replace("\\", "/")] = None
    if names:
        reading.put("model.embeddings", [*names])
