"""AnimateDiff in ComfyUI: motion modules of every generation of its nodes, motion LoRAs, context windows."""

from lcm_video.importers.comfy.graph import Node
from lcm_video.importers.comfy.reading import Reading, file_name, stem
from lcm_video.importers.fizz import number_schedule

BLENDS = {"flat": "flat", "pyramid": "pyramid", "overlap-linear": "overlap_linear"}

FORESEEN = {
    "ad_keyframes": "motion that changes over steps is not there",
    "ad_settings": "changed position codes are not there",
    "motion_model_settings": "changed position codes are not there",
    "per_block": "strengths for single blocks are not there",
    "prev_m_models": "one motion module at a time",
    "view_opts": "windows within windows are not there",
    "prev_context": "one kind of windows for all steps",
    "context_extras": "ContextRef and NaiveReuse are not there",
}
"""Inputs of AnimateDiff's nodes that lead to what is not there, and why."""


def read_motion(reading: Reading, node: Node) -> None:
    """Takes a motion module from the node that applies it, with its windows."""
    graph = reading.graph
    owner, loader = node, node
    if "model_name" not in node.inputs:
        applied = graph.source(node, "m_models")
        if not applied:
            reading.find(node, "m_models", "exact", "no motion module")
            _context(reading, node)
            return
        owner = applied[0]
        found = graph.source(owner, "motion_model")
        loader = found[0] if found else owner
    reading.keep(loader, "model_name", "model.motion", file_name(reading.text(loader, "model_name")))
    _strength(reading, node, owner)
    _loras(reading, owner)
    _foreseen(reading, node, owner, loader)
    for name in ("start_percent", "end_percent"):
        if reading.number(owner, name, 1.0 if name == "end_percent" else 0.0) not in (0.0, 1.0):
            reading.find(owner, name, "ignored", "the motion module works in every step")
    _norm(reading, node)
    _context(reading, node)
    _settings(reading, node)


def read_motion_of_sampler(reading: Reading, node: Node) -> None:
    """Takes the motion module and windows of ArtVentureX's sampler."""
    if found := reading.graph.source(node, "motion_module"):
        owner, loader = found[0], found[0]
        while inner := reading.graph.source(loader, "motion_module"):  # LoRAs are applied to the module
            _loras_of(reading, [loader])
            loader = inner[0]
            if loader is owner:
                break
        reading.keep(loader, "model_name", "model.motion", file_name(reading.text(loader, "model_name")))
        _loras(reading, loader)
    reading.value(node, "inject_method")
    _context(reading, node)


def _strength(reading: Reading, node: Node, owner: Node) -> None:
    if "motion_scale" in node.inputs:
        scale, fate, reason = reading.bounded(node, "motion_scale", 0, 10, 1.0)
        if scale != 1 or fate != "exact":
            reading.keep(node, "motion_scale", "model.motion_scale", scale, fate, reason)
        else:
            reading.find(node, "motion_scale", "exact", becomes="model.motion_scale: 1")
    if scale := reading.graph.source(owner, "scale_multival"):
        _multival(reading, scale[0])
    if effect := reading.graph.source(owner, "effect_multival"):
        strength = reading.number(effect[0], "float_val", 1.0)
        fate, reason = ("exact", "") if strength == 1 else ("ignored", "the module's effect is all or nothing here")
        reading.find(effect[0], "float_val", fate, reason)


def _multival(reading: Reading, node: Node) -> None:
    """A strength that may be a number, or numbers over frames."""
    if curve := reading.graph.source(node, "floats", "float_val"):
        source = curve[0]
        text = reading.text(source, "values") or reading.text(source, "text")
        if points := number_schedule(text, frames=reading.board.get("video", {}).get("frames", 16)):
            clipped = {moment: min(max(value, 0.0), 10.0) for moment, value in points.items()}
            reading.keep(source, "values" if "values" in source.inputs else "text", "model.motion_scale", clipped)
            return
    if reading.graph.source(node, "mask_optional", "mask"):
        reading.find(node, "mask_optional", "ignored", "one strength for the whole picture")
    scale, fate, reason = reading.bounded(node, "float_val", 0, 10, 1.0)
    reading.keep(node, "float_val", "model.motion_scale", scale, fate, reason)


def _loras(reading: Reading, owner: Node) -> None:
    """Motion LoRAs, a chain of them; they are LoRAs like others here."""
    at, seen, found = reading.graph.source(owner, "motion_lora", "lora"), set(), []
    while at and at[0].id not in seen:
        seen.add(at[0].id)
        found.append(at[0])
        at = reading.graph.source(at[0], "prev_motion_lora", "prev_lora")
    _loras_of(reading, found[::-1])


def _loras_of(reading: Reading, nodes: list[Node]) -> None:
    for node in nodes:
        field = next((name for name in ("name", "lora_name") if name in node.inputs), "name")
        name = reading.text(node, field)
        if not name:
            continue
        scale, fate, reason = reading.bounded(node, "alpha" if "alpha" in node.inputs else "strength", -10, 10, 1.0)
        reading.keep(node, field, f"model.loras.{stem(name)}", {"path": file_name(name), "scale": scale}, fate, reason)


def _foreseen(reading: Reading, *nodes: Node) -> None:
    for node in nodes:
        for name, reason in FORESEEN.items():
            if found := reading.graph.source(node, name):
                reading.find(node, name, "ignored", reason)
                reading.whole(found[0], "ignored", reason)


def _norm(reading: Reading, node: Node) -> None:
    if "apply_v2_models_properly" in node.inputs:
        proper = reading.value(node, "apply_v2_models_properly") in (True, "true")
        reason = "" if proper else "v2 modules are always normalised frame by frame, as they were trained; there not"
        reading.find(node, "apply_v2_models_properly", "exact" if proper else "approximated", reason)


def _settings(reading: Reading, node: Node) -> None:
    if not (found := reading.graph.source(node, "sample_settings")):
        return
    settings = found[0]
    kind = reading.text(settings, "noise_type", "default")
    if kind != "default":
        reading.find(settings, "noise_type", "ignored", f"{kind[:30]} is not there: every frame has noise of its own")
    else:
        reading.find(settings, "noise_type", "exact", "every frame has noise of its own")
    generator = reading.text(settings, "seed_gen", "comfy")
    reading.find(settings, "seed_gen", "approximated", f"noise is drawn in a way of our own, not {generator[:20]}'s")
    for name in ("batch_offset", "seed_offset"):
        if number := reading.number(settings, name, 0):
            reading.find(settings, name, "ignored", f"{number:g}: noise depends on the seed alone")
    reading.value(settings, "adapt_denoise_steps")
    for name in ("noise_layers", "iteration_opts", "custom_cfg", "sigma_schedule", "image_inject", "ancestral_opts"):
        if part := reading.graph.source(settings, name):
            reading.whole(part[0], "ignored", f"{name.replace('_', ' ')} are not there")


def _context(reading: Reading, node: Node) -> None:
    """Context windows; without any, all frames are denoised at once."""
    frames = reading.board.get("video", {}).get("frames")
    found = reading.graph.source(node, "context_options", "sliding_window_opts")
    if not found and "context_length" not in node.inputs:
        if frames and frames != 16:
            length = min(frames, 1024)
            reading.put("windows.length", length)
            reading.find(
                node, "context_options", "exact", "none: all frames at once", becomes=f"windows.length: {length}"
            )
        return
    options = found[0] if found else node
    while inner := reading.graph.source(options, "context_opts"):  # nodes that only add extras
        _foreseen(reading, options)
        reading.taken.setdefault(options.id, set()).update(options.inputs)
        options = inner[0]
    _windows(reading, options)
    _foreseen(reading, options)


def _windows(reading: Reading, node: Node) -> None:
    length, fate, reason = reading.bounded(node, "context_length", 1, 1024, 16)
    reading.keep(node, "context_length", "windows.length", int(length), fate, reason)
    batched = "Batched" in node.type
    overlap = 0 if batched else int(reading.number(node, "context_overlap", 4))
    kept = min(max(overlap, 0), int(length) - 1)
    reason = "" if kept == overlap else f"{overlap} is not below the window length"
    reading.keep(node, "context_overlap", "windows.overlap", kept, "approximated" if reason else "exact", reason)
    static = "Static" in node.type or batched
    moved = "" if static else "windows of this kind cover every frame in every step here, which moves some of them"
    if reading.board.get("video", {}).get("frames", length + 1) <= length:
        moved = ""  # one window, wherever it is
    reading.put("windows.schedule", "static" if static else "uniform")
    reading.find(node, "context_schedule", "approximated" if moved else "exact", moved,
                 becomes=f"windows.schedule: {'static' if static else 'uniform'}")  # fmt: skip
    if "context_stride" in node.inputs:
        stride, fate, reason = reading.bounded(node, "context_stride", 1, 8, 1)
        reading.keep(node, "context_stride", "windows.stride", int(stride), fate, reason)
    fuse = reading.text(node, "fuse_method", "flat")
    reason = "" if fuse in BLENDS else f"there is no {fuse[:40]}"
    reading.keep(
        node, "fuse_method", "windows.blend", BLENDS.get(fuse, "pyramid"), "approximated" if reason else "exact", reason
    )
    if "closed_loop" in node.inputs:
        _loop(reading, node)
    if reading.number(node, "start_percent", 0.0):
        reading.find(node, "start_percent", "ignored", "windows are the same in every step")
    reading.value(node, "guarantee_steps")


def _loop(reading: Reading, node: Node) -> None:
    if reading.value(node, "closed_loop") in (True, "true"):
        reason = "prompts travel back to the first as well; there only the windows run across the seam"
        reading.keep(node, "closed_loop", "video.loop", True, "approximated", reason)
    else:
        reading.find(node, "closed_loop", "exact", becomes="video.loop: false")
