"""A workflow being read: what has been taken from which node, and what became of it."""

import math
import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from lcm_video.importers.comfy.graph import Graph, Link, Node
from lcm_video.importers.report import Fate, Finding

UNNEEDED = {
    "filename_prefix": "files are named by output.path",
    "print_output": "lcm-video plan shows the schedule",
    "print_schedule": "lcm-video plan shows the schedule",
    "start_frame": "changes only what is printed",
    "end_frame": "changes only what is printed",
    "guarantee_steps": "windows are the same in every step",
    "start_percent": "it works in every step",
    "end_percent": "it works in every step",
    "inject_method": "there is one way to apply a motion module",
    "add_noise": "films begin from noise",
    "return_with_leftover_noise": "every film is denoised to the end",
    "adapt_denoise_steps": "steps are those that are asked for",
    "crop": "the source is fitted by start.fit",
    "scale_by": "the source is fitted by start.fit",
    "zsnr": "noise schedules that end in pure noise are not there",
    "select_every_nth": "a source is read whole",
    "skip_first_frames": "a source is read from its beginning",
    "skip_first_images": "a source is read from its beginning",
    "save_output": "every film is kept",
    "save_image": "every film is kept",
    "upload": "a button of ComfyUI's screen",
    "image_preview": "a preview of ComfyUI's screen",
    "videopreview": "a preview of ComfyUI's screen",
    "choose folder to upload": "a button of ComfyUI's screen",
    "choose video to upload": "a button of ComfyUI's screen",
    "use_on_equal_length": "changes nothing: one window that fills the film is the film",
    "unlimited_area_hack": "was for the memory of old versions",
    "force_rate": "a source's frames are taken one by one",
    "force_size": "the source is fitted by start.fit",
    "custom_width": "the source is fitted by start.fit",
    "custom_height": "the source is fitted by start.fit",
    "grow_mask_by": "masks are not there",
    "tile_size": "frames are decoded whole",
    "preview_method": "a preview of ComfyUI's screen",
    "vae_decode": "frames are always decoded",
}
"""Why a node's value needs no place in a storyboard."""

COUNTED = (
    "strength_model", "strength_clip", "lora_model_strength", "model_weight", "switch", "pre_text", "app_text", "pw_",
    "strength", "alpha", "denoise", "width", "height", "prepend_text", "append_text", "floats", "max_length",
)  # fmt: skip
"""How the names of values begin that another value's line of the report has counted in."""

TEXT_NODES = ("text", "string", "value", "seed", "int", "float", "number", "boolean", "Number", "Value")


class Reading:
    """The storyboard so far, and the report; nodes' values are taken by name, so that what is left over is known."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.board: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self.comments: dict[str, str] = {}
        self.taken: dict[str, set[str]] = {}
        self.holders: set[str] = set()  # nodes that only hold a value for others

    def value(self, node: Node, name: str, default: Any = None) -> Any:
        """A node's value, also where a node that only holds a value is linked there."""
        self.taken.setdefault(node.id, set()).add(name)
        return self.held(node.inputs.get(name), default)

    def held(self, value: Any, default: Any = None, depth: int = 0) -> Any:
        """What an input holds, following links to texts, numbers and joined texts."""
        if not isinstance(value, Link):
            return default if value is None else value
        node = self.graph.nodes.get(value.node)
        if node is None or depth > 20:
            return default
        self.taken.setdefault(node.id, set()).update(node.inputs)
        self.holders.add(node.id)
        if "string_a" in node.inputs and "string_b" in node.inputs:
            return "".join(str(self.held(node.inputs[name], "", depth + 1)) for name in ("string_a", "string_b"))
        names = [name for name in TEXT_NODES if name in node.inputs] or [*node.inputs]
        return self.held(node.inputs[names[0]], default, depth + 1) if names else default

    def text(self, node: Node, name: str, default: str = "") -> str:
        """A value as text."""
        value = self.value(node, name, default)
        if isinstance(value, Mapping):  # some nodes add a picture to a file's name
            value = value.get("content")
        return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else default

    def number(self, node: Node, name: str, default: float) -> float:
        """A value as a finite number; what is none counts as ``default``, and is told."""
        value = self.value(node, name, default)
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return int(value) if isinstance(value, int) else number
        self.find(
            node, name, "approximated", f"{str(value)[:40]!r} is not a number; ComfyUI's usual {default:g} is taken"
        )
        return default

    def bounded(self, node: Node, name: str, low: float, high: float, default: float) -> tuple[float, Fate, str]:
        """A number within a range, how well that keeps it, and why not wholly."""
        number = self.number(node, name, default)
        if low <= number <= high:
            return number, "exact", ""
        kept = min(max(number, low), high)
        return kept, "approximated", f"{number:g} is outside {low:g} to {high:g}"

    def keep(self, node: Node, name: str, path: str, value: Any, fate: Fate = "exact", reason: str = "") -> None:
        """Writes a value into the storyboard and into the report."""
        self.put(path, value)
        self.find(node, name, fate, reason, becomes=f"{path}: {_shown(value)}")

    def put(self, path: str, value: Any) -> None:
        """Writes a value into the storyboard."""
        *sections, last = path.split(".")
        place = self.board
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value

    def find(self, node: Node, name: str, fate: Fate, reason: str = "", *, becomes: str = "") -> None:
        """Adds a finding about one of a node's inputs, or with ``name`` empty about the node."""
        self.taken.setdefault(node.id, set()).add(name)
        label = f"{node}: {name}" if name else str(node)
        self.findings.append(Finding(label, fate, reason, becomes))

    def whole(self, node: Node, fate: Fate, reason: str, *, becomes: str = "") -> None:
        """Adds a finding about a node and all its values."""
        self.find(node, "", fate, reason, becomes=becomes)
        self.taken[node.id].update(node.inputs)

    def finish(self, output: Node) -> None:
        """Reports everything that was not taken: values left over, nodes not known, nodes that lead elsewhere."""
        upstream = {node.id for node in self.graph.upstream(output)}
        told = {finding.field for finding in self.findings}
        for node in self.graph.nodes.values():
            if node.id not in self.taken:
                shown = _values(node)
                used = "not known here" if node.id in upstream else "does not lead to the film"
                self.findings.append(Finding(str(node), "ignored", used + (f" ({shown})" if shown else "")))
                continue
            if str(node) not in told:
                self._left_over(node, told)
        for node, why in self.graph.aside:
            self.findings.append(Finding(str(node), "ignored", why))

    def _left_over(self, node: Node, told: set[str]) -> None:
        """Reports a node's values that no finding has named yet: left out, or counted in with another."""
        for name, value in node.inputs.items():
            label = f"{node}: {name}"
            if label in told or isinstance(value, Link) or value in ("", None):
                continue
            counted = node.id in self.holders or (name in self.taken[node.id] and name.startswith(COUNTED))
            reason = "counted in" if counted else UNNEEDED.get(name, "not known here")
            fate: Fate = "exact" if counted else "ignored"
            self.findings.append(Finding(label, fate, f"{reason} ({_shown(value)})"))


def file_name(value: Any) -> str:
    """A model file as ComfyUI names it, with forward slashes and without a drive or root."""
    path = PureWindowsPath(str(value).strip())
    return "/".join(part for part in path.parts if part not in (path.anchor, ".."))


def stem(value: Any) -> str:
    """A short name for a model file, fit for a storyboard's keys."""
    name = PureWindowsPath(str(value)).name
    name = re.sub(r"\.(safetensors|ckpt|pth?|bin)$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:60] or "model"


def _values(node: Node) -> str:
    """A node's values in short."""
    shown = [_shown(value) for value in node.inputs.values() if isinstance(value, str | int | float) and value != ""]
    return ", ".join(shown[:4])


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{len(value)} keyframes" if len(value) > 3 else str(dict(value))[:60]
    text = f"{value:g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 50 else f"{text[:50]}…"
