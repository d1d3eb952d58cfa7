"""A ComfyUI workflow as nodes whose inputs are values or links, whichever of its formats it was saved in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_NODES = 20_000


class Link(NamedTuple):
    """An output of another node."""

    node: str
    slot: int


@dataclass(frozen=True)
class Node:
    """One node: its type, what people called it, and its inputs by name, values and links.

    outputs: types of its outputs where the file says them
    """

    id: str
    type: str
    inputs: Mapping[str, Any]
    title: str = ""
    outputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As the report names it."""
        return f"{self.type} {self.id}"


@dataclass(frozen=True)
class Graph:
    """Nodes by id; ``aside`` are those that take no part: notes, and what is muted or bypassed, with the reason."""

    nodes: Mapping[str, Node]
    aside: tuple[tuple[Node, str], ...] = ()
    cache: dict[str, list[Node]] = field(default_factory=dict, compare=False)

    def source(self, node: Node, *names: str) -> tuple[Node, int] | None:
        """The node and output that the first linked one of these inputs comes from."""
        for name in names:
            link = node.inputs.get(name)
            if isinstance(link, Link) and link.node in self.nodes:
                return self.nodes[link.node], link.slot
        return None

    def feeding(self, node: Node) -> Iterator[Node]:
        """Yields the nodes that a node's inputs come from."""
        for value in node.inputs.values():
            if isinstance(value, Link) and value.node in self.nodes:
                yield self.nodes[value.node]

    def upstream(self, node: Node) -> list[Node]:
        """A node and everything it depends on, the nearest first."""
        if node.id not in self.cache:
            found, waiting = {node.id: node}, [node]
            for one in waiting:
                for other in self.feeding(one):
                    if other.id not in found:
                        found[other.id] = other
                        waiting.append(other)
            self.cache[node.id] = list(found.values())
        return self.cache[node.id]


def is_api(data: Any) -> bool:
    """Whether this is the format that ComfyUI runs: nodes by id, each with a ``class_type``."""
    nodes = [value for value in data.values() if isinstance(value, Mapping)] if isinstance(data, Mapping) else []
    return bool(nodes) and all(isinstance(node.get("class_type"), str) for node in nodes)


def is_ui(data: Any) -> bool:
    """Whether this is the format that ComfyUI's screen saves: a list of nodes and a list of links."""
    return (
        isinstance(data, Mapping)
        and isinstance(data.get("nodes"), list)
        and isinstance(data.get("links"), list | Mapping)
        and any(isinstance(node, Mapping) and isinstance(node.get("type"), str) for node in data["nodes"])
    )


def from_api(data: Mapping[str, Any]) -> Graph:
    """The graph of an API file."""
    nodes = {}
    for name, node in list(data.items())[:MAX_NODES]:
        if isinstance(node, Mapping) and isinstance(node.get("class_type"), str):
            inputs = node.get("inputs")
            meta = node.get("_meta")
            nodes[str(name)] = Node(
                id=str(name),
                type=node["class_type"],
                inputs={str(key): _linked(value) for key, value in inputs.items()}
                if isinstance(inputs, Mapping)
                else {},
                title=str(meta.get("title", "")) if isinstance(meta, Mapping) else "",
            )
    return Graph(nodes)


def _linked(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and type(value[1]) is int:
        return Link(str(value[0]), value[1])
    return value
