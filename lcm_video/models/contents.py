"""What a weight file holds, whatever its container: names, shapes and types. Reads no weights, and needs no torch."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lcm_video.models.container import Container, Shapes, dtypes, header, sniff
from lcm_video.models.kinds import Kind, kind
from lcm_video.models.pickles import table


class Contents(NamedTuple):
    """A file's table of contents, without the wrappers around its weights."""

    container: Container
    shapes: Shapes
    dtypes: dict[str, str]
    metadata: dict[str, str]

    @property
    def kind(self) -> Kind:
        """Which kind of model it is."""
        return kind(self.shapes)


def contents(path: Path) -> Contents:
    """The table of contents of ``path``. Raises CheckpointError if it is damaged, unsafe, or no weight file."""
    container = sniff(path)
    facts = path.stat()
    return _contents(path, container, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=512)
def _contents(path: Path, container: Container, size: int, modified: int) -> Contents:
    if container == "safetensors":
        shapes, metadata = header(path)
        return Contents(container, shapes, dtypes(path), metadata)
    found = table(path, container)
    shapes = {name: tensor.shape for name, tensor in found.items()}
    return Contents(container, shapes, {name: tensor.dtype for name, tensor in found.items()}, {})
