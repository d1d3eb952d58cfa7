"""The files that a shot is drawn from: found, hashed, and watched for changes. Loads no weights."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lcm_video.errors import CheckpointError, InputError
from lcm_video.models.digests import Identity, digest, identity
from lcm_video.models.slots import slots
from lcm_video.prompts.tokenizer import carried
from lcm_video.resources import expanded
from lcm_video.storyboard import Scene, Storyboard

BESIDE = ("config.json", "adapter_config.json")
"""What diffusers and peft write down beside weights, which tells how these are to be read."""

WEIGHTS = (".safetensors", ".bin", ".json")
"""Files of a checkpoint saved as a folder that say what it draws."""


@dataclass(frozen=True)
class Sources:
    """Files by their role (``model.checkpoint``, ``start.source`` …), with what was known of them when they were found.

    hashes: SHA-256 in hexadecimal
    """

    paths: Mapping[str, Path]
    identities: Mapping[str, Identity]
    hashes: Mapping[str, str]

    def check(self) -> None:
        """Raises CheckpointError, or InputError for a start image, if a file is not the one any more that it was.

        To be asked for before frames are kept: weights are read from their files while frames are drawn.
        """
        for role, path in self.paths.items():
            if _identity(role, path) != self.identities[role]:
                remedy = "leave the files alone while a film is rendered, and render again"
                raise _error(role)(f"{role}: {path.name} has changed while the film was rendered", remedy=remedy)


def sources_of(board: Storyboard, scene: Scene) -> Sources:
    """The files that one shot is drawn from. Raises CheckpointError or InputError for one that cannot be read.

    Hashing a checkpoint takes seconds the first time, and nothing after that: hashes are remembered (see `digests`).
    """
    paths = dict(_paths(board, scene))
    identities = {role: _identity(role, path) for role, path in paths.items()}
    with ThreadPoolExecutor(4) as pool:
        hashes = dict(zip(paths, pool.map(digest, paths.values()), strict=True))
    return Sources(paths, identities, hashes)


def _paths(board: Storyboard, scene: Scene) -> Iterator[tuple[str, Path]]:
    for slot in slots(board.model):
        path = slot.find(board.runtime.folders)
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.name.endswith(WEIGHTS) and file.is_file())
            yield from ((f"{slot.field}/{file.relative_to(path).as_posix()}", file) for file in files)
        else:
            yield slot.field, path
            yield from ((f"{slot.field} {file.name}", file) for file in _beside(path))
    yield from _tokenizer(board.model.tokenizer)
    if scene.start.source:
        yield "start.source", Path(scene.start.source)


def _beside(path: Path) -> Iterator[Path]:
    """Yields the files next to a weight file that are read with it: descriptions, and a TAESD's other half."""
    others = [path.with_name(name) for name in BESIDE]
    for side, other in (("encoder", "decoder"), ("decoder", "encoder")):
        others.append(path.with_name(re.sub(side, other, path.name, count=1, flags=re.IGNORECASE)))
    yield from (other for other in others if other.is_file() and other != path)


def _tokenizer(named: str) -> Iterator[tuple[str, Path]]:
    path = expanded(named) if named else carried()
    if path.is_dir():
        yield from ((f"model.tokenizer/{file.name}", file) for file in sorted(path.iterdir()) if file.is_file())
    else:
        yield "model.tokenizer", path


def _identity(role: str, path: Path) -> Identity:
    try:
        return identity(path)
    except OSError as error:
        message = f"{role}: {path.name} cannot be read: {error.strerror}"
        raise _error(role)(message, remedy="put the file back, and render again") from error


def _error(role: str) -> type[CheckpointError] | type[InputError]:
    return InputError if role == "start.source" else CheckpointError
