"""ComfyUI's workflows, as saved by its screen and as it runs them, also inside pictures and films.

    file → nodes (graph, saved, widgets) → the output to import (film) → back along its lines:
    sampler (sampling) → latents (film) → model (models, motion) → prompts (prompts)

A node that is not known is listed; it stops nothing unless what draws the film cannot be found.
"""

from collections.abc import Mapping
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.importers.comfy.film import DECODERS, Chain, chains, read_output, read_start
from lcm_video.importers.comfy.graph import Graph, from_api, is_api, is_ui
from lcm_video.importers.comfy.models import ModelLine, read_vae
from lcm_video.importers.comfy.prompts import read_prompts
from lcm_video.importers.comfy.reading import Reading
from lcm_video.importers.comfy.sampling import SAMPLING_NODES, read_sampling
from lcm_video.importers.comfy.saved import from_ui
from lcm_video.importers.document import Document, parsed
from lcm_video.importers.report import Imported

TOOL = "ComfyUI workflow"


def recognises(document: Document) -> bool:
    """Whether a text is a workflow in either format, or a map that holds one."""
    return any(is_api(data) or is_ui(data) for data in _within(document.data))


def convert(document: Document, *, faithful: bool = False) -> Imported:
    """The storyboard of the film that a workflow draws. Raises StoryboardError for one that draws none."""
    graph = _graph(document)
    found = chains(graph)
    if not found:
        raise _nothing_drawn(graph, document.name)
    chain = found[0]
    reading = Reading(graph)
    read_film(reading, chain)
    for other in found[1:]:
        if other.output.id not in reading.taken:
            reading.whole(other.output, "ignored", f"another output; {chain.output} is imported")
    reading.finish(chain.output)
    return Imported(TOOL, reading.board, tuple(reading.findings), reading.comments)


def read_film(reading: Reading, chain: Chain) -> None:
    """Takes everything that one film depends on."""
    sampler = chain.samplers[-1]
    denoise = read_sampling(reading, sampler)
    read_start(reading, chain, denoise)
    read_prompts(reading, sampler)
    line = ModelLine(reading)
    line.read(sampler)
    if sampler.type == "AnimateDiffSampler":
        line.sampler(sampler)
    decoder = next((node for node in reversed(chain.passed) if node.type in DECODERS), None)
    read_vae(reading, decoder)
    read_output(reading, chain)


def _within(data: Any) -> list[Any]:
    """The values that may be a workflow: the whole, or what a film's comment or an API request wraps."""
    wrapped = [data.get(name) for name in ("prompt", "workflow")] if isinstance(data, Mapping) else []
    return [data, *(parsed(one) if isinstance(one, str) else one for one in wrapped if one)]


def _graph(document: Document) -> Graph:
    """The graph; the format that ComfyUI runs is preferred, since it says every value by name."""
    candidates = _within(document.data)
    for data in candidates:
        if is_api(data):
            return from_api(data)
    return from_ui(next(data for data in candidates if is_ui(data)))


def _nothing_drawn(graph: Graph, name: str) -> StoryboardError:
    kinds = {node.type for node in graph.nodes.values()}
    foreign = sorted(kind for kind in kinds if "sampler" in kind.lower() and kind not in SAMPLING_NODES)
    if kinds & {*SAMPLING_NODES}:
        message, remedy = "no output is linked to its sampler", "link a decoded film to Video Combine or Save Image"
    elif foreign:
        message, remedy = (
            f"its sampler is not known here: {', '.join(foreign[:5])}",
            f"known: {', '.join(SAMPLING_NODES)}",
        )
    else:
        shown = ", ".join(sorted(kinds)[:6])
        message, remedy = f"no node in it draws: it only handles pictures ({shown})", "give a workflow with a sampler"
    return StoryboardError(f"{name}: {message}", remedy=remedy)
