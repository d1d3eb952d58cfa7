"""The IMAGE and LATENT lines of a workflow: what the film begins from, and what it is written to."""

import re
from pathlib import PureWindowsPath
from typing import NamedTuple

from lcm_video.importers.comfy.graph import Graph, Node
from lcm_video.importers.comfy.reading import Reading
from lcm_video.importers.comfy.sampling import SAMPLING_NODES
from lcm_video.storyboard.video import MAX_FRAMES

ON = ("images", "image", "frames", "samples", "pixels", "latent_image", "latents", "latent", "latent_opt",
      "num_latents", "original_images", "image_passthrough", "video", "samples1", "input", "images_A",
      "latents_A")  # fmt: skip
VIDEOS = ("VHS_VideoCombine", "ADE_AnimateDiffCombine", "AnimateDiffCombine", "SaveAnimatedWEBP", "SaveAnimatedPNG",
          "SaveVideo", "SaveWEBM")  # fmt: skip
STILLS = ("SaveImage", "PreviewImage", "Image Save")
DECODERS = ("VAEDecode", "VAEDecodeTiled", "VHS_VAEDecodeBatched")

FORMATS = {
    "gif": ("gif", ""), "webp": ("webp", ""), "h264-mp4": ("mp4", ""), "h265-mp4": ("mp4", "h265"),
    "nvenc_h264-mp4": ("mp4", ""), "nvenc_hevc-mp4": ("mp4", "h265"), "av1-webm": ("webm", "av1"), "webm": ("webm", ""),
    "prores": ("mov", "prores"), "ffmpeg-gif": ("gif", ""), "gifski": ("gif", ""), "8bit-png": ("png", ""),
    "16bit-png": ("png", ""), "mp4": ("mp4", ""), "auto": ("mp4", ""),
}  # fmt: skip
"""Endings and codecs for the formats of Video Combine."""


class Chain(NamedTuple):
    """From a node that writes a film back to the node that draws its first pass."""

    output: Node
    passed: tuple[Node, ...]  # between them, the last to work first
    samplers: tuple[Node, ...]  # the first pass is the last of these


def chains(graph: Graph) -> list[Chain]:
    """Every output that something draws, the one to import first: films before stills, with the least done after."""
    found = [
        chain for node in graph.nodes.values() if node.type in (*VIDEOS, *STILLS) and (chain := _chain(graph, node))
    ]
    return sorted(found, key=lambda chain: (chain.output.type in STILLS, len(chain.samplers), len(chain.passed)))


def _chain(graph: Graph, output: Node) -> Chain | None:
    passed, samplers, seen = [], [], {output.id}
    at = graph.source(output, *ON)
    while at and at[0].id not in seen:
        node = at[0]
        seen.add(node.id)
        (samplers if node.type in SAMPLING_NODES else passed).append(node)
        at = graph.source(node, *(("latent_image",) if node.type in SAMPLING_NODES else ON))
    after = tuple(node for node in passed)
    return Chain(output, after, tuple(samplers)) if samplers else None


def read_start(reading: Reading, chain: Chain, denoise: float) -> None:
    """Takes size, length and what the film begins from, behind the node that draws."""
    sampler, graph = chain.samplers[-1], reading.graph
    at, seen = graph.source(sampler, "latent_image"), set()
    source: Node | None = None
    while at and at[0].id not in seen:
        source = at[0]
        seen.add(source.id)
        _size(reading, source)
        at = graph.source(source, *ON)
    if sampler.type == "AnimateDiffSampler":
        _frames(reading, sampler, "frame_number")
    _source(reading, source, sampler, denoise)


def _size(reading: Reading, node: Node) -> None:
    """Takes width, height and the number of frames from a node behind the sampler, unless a later one said them."""
    video = reading.board.setdefault("video", {})
    for field, names in (("width", ("width", "empty_latent_width", "custom_width")),
                         ("height", ("height", "empty_latent_height", "custom_height"))):  # fmt: skip
        name = next((name for name in names if name in node.inputs), "")
        if name and field not in video and (pixels := int(reading.number(node, name, 512))) > 0:
            fitting = min(max(round(pixels / 8) * 8, 64), 8192)
            reason = "" if fitting == pixels else "sizes are multiples of 8, from 64 to 8192"
            reading.keep(node, name, f"video.{field}", fitting, "approximated" if reason else "exact", reason)
    for name in ("batch_size", "amount", "multiply_by", "frame_load_cap", "image_load_cap"):
        if name in node.inputs and "frames" not in video:
            _frames(reading, node, name)
    for name in ("skip_first_frames", "skip_first_images"):
        if reading.number(node, name, 0):
            reading.find(node, name, "ignored", "a source is read from its beginning: cut it first")
    if reading.number(node, "select_every_nth", 1) not in (0, 1):
        reading.find(node, "select_every_nth", "ignored", "a source is read whole: thin it out first")
    if "upscale_method" in node.inputs or "crop" in node.inputs:
        reading.find(node, "upscale_method", "approximated", "the source is fitted by start.fit")
        reading.value(node, "crop")
        reading.value(node, "scale_by")
    if reading.graph.source(node, "mask") or node.type in ("SetLatentNoiseMask", "VAEEncodeForInpaint"):
        reading.find(node, "mask", "ignored", "masks are not there: the whole frame is drawn")
        reading.value(node, "grow_mask_by")


def _frames(reading: Reading, node: Node, name: str) -> None:
    frames = int(reading.number(node, name, 16))
    if name.endswith("_cap") and frames == 0:
        reading.find(
            node, name, "approximated", "as long as the source there: set video.frames", becomes="video.frames"
        )
    elif frames > 0:
        kept = min(frames, MAX_FRAMES)
        fate, reason = ("exact", "") if kept == frames else ("approximated", f"{MAX_FRAMES} frames at most")
        reading.keep(node, name, "video.frames", kept, fate, reason)


def _source(reading: Reading, source: Node | None, sampler: Node, denoise: float) -> None:
    """Writes what the film begins from: noise, or an image or video noised by the sampler's denoise."""
    field = next((name for name in ("image", "video", "directory") if source and name in source.inputs), "")
    if source and field and source.type not in SAMPLING_NODES:
        name = reading.text(source, field)
        reading.keep(source, field, "start.source", name, "exact" if name else "approximated")
        reading.comments["start.source"] = "ComfyUI looks for it in its input folder"
        reading.put("start.fit", "crop")
        reading.keep(sampler, "denoise", "start.strength", denoise)
        return
    if source and source.type not in reading.taken:
        reading.taken.setdefault(source.id, set())
    if denoise != 1:
        reading.find(
            sampler, "denoise", "approximated", f"{denoise:g} of an empty picture there; here it begins from noise"
        )
    else:
        reading.find(sampler, "denoise", "exact", becomes="start.strength: 1")


def read_output(reading: Reading, chain: Chain) -> None:
    """Takes format, frame rate and sound from the node that writes the film; tells what was done to the pictures."""
    node = chain.output
    _told_between(reading, chain)
    rate = next((name for name in ("frame_rate", "fps") if name in node.inputs), "")
    holder = node
    if not rate and (created := reading.graph.source(node, "video")):
        holder, rate = created[0], "fps"
    if rate:
        number, fate, reason = reading.bounded(holder, rate, 0.01, 240, 8)
        reading.keep(holder, rate, "video.fps", number, fate, reason)
    ending = _format(reading, node)
    name = re.sub(r"%[^%]*%", "", PureWindowsPath(reading.text(node, "filename_prefix", "film")).name)
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "film"
    reading.keep(node, "filename_prefix", "output.path", f"out/{name}.{ending}")
    _details(reading, node, ending)
    _sound(reading, node, ending)


def _format(reading: Reading, node: Node) -> str:
    """Writes the codec; returns the file ending."""
    if node.type in STILLS:
        return "png"
    if "WEBP" in node.type or "PNG" in node.type or "WEBM" in node.type:
        return "webm" if "WEBM" in node.type else "webp" if "WEBP" in node.type else "apng"
    whole = reading.text(node, "format", "image/gif")
    name = whole.rpartition("/")[2].lower()
    known = FORMATS.get(name) or next((to for key, to in FORMATS.items() if name.startswith(key)), None)
    ending, codec = known or ("mp4", "")
    fate, reason = ("exact", "") if known else ("approximated", f"{whole[:30]} is not written here")
    reading.find(node, "format", fate, reason, becomes=f"output.path: .{ending}")
    if codec:
        reading.put("output.codec", codec)
    return ending


def _details(reading: Reading, node: Node, ending: str) -> None:
    if "crf" in node.inputs:
        crf, fate, reason = reading.bounded(node, "crf", 0, 51, 19)
        reading.keep(node, "crf", "output.quality", int(crf), fate, reason)
    if "pix_fmt" in node.inputs:
        wide = "444" in reading.text(node, "pix_fmt") and ending in ("mp4", "mov", "mkv")
        wide = wide and reading.board["output"].get("codec") != "av1"
        reading.keep(node, "pix_fmt", "output.chroma", "444" if wide else "420")
    if "save_metadata" in node.inputs:
        reading.keep(node, "save_metadata", "output.metadata", reading.value(node, "save_metadata") in (True, "true"))
    if reading.value(node, "pingpong") in (True, "true"):
        reading.find(
            node, "pingpong", "ignored", "films are not played backwards: video.loop closes a film without a turn"
        )
    elif "pingpong" in node.inputs:
        reading.find(node, "pingpong", "exact")
    if "loop_count" in node.inputs:
        count = reading.number(node, "loop_count", 0)
        endless, animated = count == 0, ending in ("gif", "webp", "apng")
        reason = "" if endless or not animated else f"{count:g} times there, once here"
        reading.find(
            node, "loop_count", "approximated" if reason else "exact", reason, becomes=f"output.repeat: {endless}"
        )
        if reason:
            reading.put("output.repeat", False)


def _sound(reading: Reading, node: Node, ending: str) -> None:
    if not (found := reading.graph.source(node, "audio")):
        return
    source = found[0]
    field = next((name for name in ("audio_file", "audio", "video") if isinstance(source.inputs.get(name), str)), "")
    if field and ending in ("mp4", "mov", "mkv", "webm"):
        reading.keep(source, field, "output.audio.source", reading.text(source, field))
        for name in ("seek_seconds", "start_time"):
            if (start := reading.number(source, name, 0)) > 0:
                reading.keep(source, name, "output.audio.start", start)
    else:
        reading.whole(
            source, "ignored", f"{ending} carries no sound" if field else "where its sound comes from is not known here"
        )


def _told_between(reading: Reading, chain: Chain) -> None:
    """Reports the nodes between drawing and writing."""
    first = chain.samplers[-1]
    for node in chain.samplers[:-1]:
        if node.id not in reading.taken:
            reading.whole(node, "ignored", f"a second pass over the film: only the first, {first}, is drawn")
    behind = {node.id for node in reading.graph.upstream(first)}
    for node in chain.passed:
        if node.id in behind or node.id in reading.taken:
            continue
        if node.type in DECODERS:
            reading.whole(node, "exact", "", becomes="frames are decoded")
        elif "VFI" in node.type or "interpol" in node.type.lower():
            reading.whole(node, "ignored", "frames between frames are not there: raise video.fps and video.frames")
        else:
            reading.whole(node, "ignored", "works on finished pictures or between passes")
