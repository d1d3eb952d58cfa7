"""The format that ComfyUI's screen saves, as a graph: links resolved, subgraphs opened, values named.

Reroutes and bypassed nodes are passed through, primitives become the values they hold, muted nodes are gone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.importers.comfy.graph import MAX_NODES, Graph, Link, Node
from lcm_video.importers.comfy.widgets import named

MUTED, BYPASSED = 2, 4
MAX_DEPTH = 16
NOTES = ("Note", "MarkdownNote")
ENTRY, EXIT = "-10", "-20"
"""Ids that stand for a subgraph's own inputs and outputs."""


def from_ui(data: Mapping[str, Any]) -> Graph:
    """The graph of a saved file. Raises StoryboardError for subgraphs that hold themselves, or too many nodes."""
    return _Flat(data).graph()


class _Flat:
    """Nodes of all subgraphs with their paths as ids (``12:3``), and where every input comes from."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        definitions = data.get("definitions")
        subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
        self.subgraphs = {str(one.get("id")): one for one in _maps(subgraphs)}
        self.raw: dict[str, Mapping[str, Any]] = {}
        self.links: dict[tuple[str, int], Link] = {}  # (node, input's place) → where it comes from
        self.passing: dict[tuple[str, int], Link] = {}  # an output of a subgraph → the output within it
        self.values: dict[tuple[str, int], Any] = {}  # an input of a subgraph that is a value → that value
        self.open(data, "", 0)

    def open(self, data: Mapping[str, Any], path: str, depth: int) -> None:
        """Takes in the nodes and links of a graph; ``path`` is the subgraph's own id with a colon."""
        if depth > MAX_DEPTH:
            raise StoryboardError("a subgraph holds itself", remedy="save the workflow again")
        nodes = {path + str(node.get("id")): node for node in _maps(data.get("nodes"))}
        if len(self.raw) + len(nodes) > MAX_NODES:
            raise StoryboardError(f"the workflow has more than {MAX_NODES} nodes", remedy="is it a workflow?")
        self.raw |= nodes
        for origin, slot, target, place in _links(data.get("links")):
            source = Link(path + origin if origin != ENTRY else f"{path}{ENTRY}", slot)
            if target == EXIT:
                self.passing[path.removesuffix(":"), place] = source
            else:
                self.links[path + target, place] = source
        for name, node in nodes.items():
            if inner := self.subgraphs.get(str(node.get("type"))):
                self.enter(name, node)
                self.open(inner, f"{name}:", depth + 1)

    def enter(self, name: str, node: Mapping[str, Any]) -> None:
        """Notes the values that a subgraph's node holds for inputs that nothing is linked to."""
        values = node.get("widgets_values")
        left = iter(values if isinstance(values, list) else [])
        for place, given in enumerate(_maps(node.get("inputs"))):
            if given.get("widget"):
                self.values[name, place] = next(left, None)

    def graph(self) -> Graph:
        """The nodes that take part, their inputs resolved; and those that do not."""
        nodes, aside = {}, []
        for name, raw in self.raw.items():
            kind, mode = str(raw.get("type")), raw.get("mode")
            if kind in self.subgraphs or kind in ("Reroute", "PrimitiveNode"):
                continue
            node = Node(name, kind, dict(self.inputs(name, raw)), str(raw.get("title") or ""), _outputs(raw))
            if kind in NOTES:
                aside.append((node, "a note"))
            elif mode in (MUTED, BYPASSED):
                aside.append((node, "muted" if mode == MUTED else "bypassed"))
            else:
                nodes[name] = node
        return Graph(nodes, tuple(aside))

    def inputs(self, name: str, raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yields a node's values, then its links, which replace values of the same name."""
        slots = _maps(raw.get("inputs"))
        widgets = [str(slot.get("name")) for slot in slots if slot.get("widget")]
        yield from named(str(raw.get("type")), raw.get("widgets_values"), widgets).items()
        for place, slot in enumerate(slots):
            link = self.links.get((name, place))
            if link is None:
                continue
            found = self.resolved(link, str(slot.get("type")))
            if found is not None:
                yield str(slot.get("name")), found

    def resolved(self, link: Link, kind: str) -> Any:
        """The node that a link really comes from, or the value; None if it leads nowhere."""
        seen = set()
        while link not in seen:
            seen.add(link)
            if link.node.endswith(ENTRY):
                holder = link.node.removesuffix(f":{ENTRY}")
                if (holder, link.slot) not in self.links:
                    return self.values.get((holder, link.slot))
                link = self.links[holder, link.slot]
                continue
            raw = self.raw.get(link.node)
            if raw is None or (raw.get("mode") == MUTED and raw.get("type") not in ("Reroute", "PrimitiveNode")):
                return None
            if raw.get("type") == "PrimitiveNode":
                values = raw.get("widgets_values")
                return values[0] if isinstance(values, list) and values else None
            further = self.through(link, raw, kind)
            if further is link:
                return link
            if further is None:
                return None
            link = further
        return None

    def through(self, link: Link, raw: Mapping[str, Any], kind: str) -> Link | None:
        """Where a link leads on to: itself at a node that does something, None where nothing is connected."""
        if str(raw.get("type")) in self.subgraphs and raw.get("mode") != BYPASSED:
            return self.passing.get((link.node, link.slot))
        if raw.get("type") == "Reroute":
            return self.links.get((link.node, 0))
        if raw.get("mode") != BYPASSED:
            return link
        outputs = _outputs(raw)
        kind = outputs[link.slot] if 0 <= link.slot < len(outputs) else kind
        slots = _maps(raw.get("inputs"))
        places = [place for place, slot in enumerate(slots) if slot.get("type") == kind]
        # ComfyUI prefers the input at the output's own place, then the first of its type.
        places.sort(key=lambda place: place != link.slot)
        return next((self.links[link.node, place] for place in places if (link.node, place) in self.links), None)


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _outputs(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(one.get("type")) for one in _maps(raw.get("outputs")))


def _links(value: Any) -> Iterator[tuple[str, int, str, int]]:
    """Yields links, written as lists or maps: from which node and output, to which node and input."""
    for link in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []:
        if isinstance(link, list) and len(link) >= 5:
            ends = link[1:5]
        elif isinstance(link, Mapping):
            ends = [link.get(name) for name in ("origin_id", "origin_slot", "target_id", "target_slot")]
        else:
            continue
        if all(isinstance(end, int | str) for end in ends) and type(ends[1]) is int and type(ends[3]) is int:
            yield str(ends[0]), ends[1], str(ends[2]), ends[3]
