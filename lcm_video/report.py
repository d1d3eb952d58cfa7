"""What was made, from what, and how long it took: embedded in every file, and beside the film with the times.

What is embedded depends on nothing but the film: two renders on one machine give the same bytes.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lcm_video.errors import InputError
from lcm_video.models import ModelFile
from lcm_video.reader import dump, load_text, redacted
from lcm_video.storyboard import Scene, Storyboard
from lcm_video.timeline import Timeline

LIBRARIES = ("torch", "diffusers", "av", "imageio", "numpy")
"""Packages whose version can change what a film looks like, or its bytes."""


@dataclass(frozen=True)
class Origin:
    """What a film says of itself: its storyboard as text, the weights (role to sha256), the versions that drew it."""

    storyboard: str
    models: dict[str, dict[str, str]]
    versions: dict[str, str]

    def board(self, overrides: Sequence[str] = (), *, name: str = "film") -> Storyboard:
        """The storyboard, read as if it came from a stranger's file. Raises StoryboardError."""
        return load_text(self.storyboard, name=name, overrides=overrides)


def about(board: Storyboard, files: Sequence[ModelFile], ending: str) -> str:
    """The text that the file with this ending carries: one JSON object, without paths or times of this machine."""
    origin = {
        "lcm_video": version("lcm-video"),
        "storyboard": dump(redacted(board, ending)),
        "models": {file.role: {"name": file.name, "sha256": file.sha256} for file in files},
        "versions": {name: version(name) for name in LIBRARIES},
    }
    return json.dumps(origin, ensure_ascii=False, separators=(",", ":"))


def origin(text: str, *, name: str) -> Origin:
    """What an embedded text says; ``name`` is the film's. Raises InputError if it is not one of ours."""
    try:
        return TypeAdapter(Origin).validate_json(text)
    except ValidationError:
        message = f"{name} carries a text that lcm-video did not write"
        raise InputError(message, remedy="render from its storyboard") from None


def changed_models(origin: Origin, files: Sequence[ModelFile]) -> list[str]:
    """One sentence for each weight file that is not the one a film was made with."""
    return [
        f"{file.role}: {file.name} is another file than the one the film was made with"
        for file in files
        if (before := origin.models.get(file.role)) and before.get("sha256") != file.sha256
    ]


def parameters(scene: Scene, prompts: Timeline, board: Storyboard, frame: int) -> str:
    """One frame in the notation that other tools read out of PNG files ("parameters")."""
    left, right, mix = prompts.frames[frame]
    prompt = prompts.prompts[right if mix > 0.5 else left]
    negative = next((key.text for key in scene.negative.values()), "")
    facts = {
        "Steps": scene.sampling.steps,
        "Sampler": scene.sampling.sampler,
        "Seed": scene.seed_at(frame),
        "Size": f"{board.video.width}x{board.video.height}",
        "Model": Path(board.model.checkpoint).stem,
    }
    lines = [prompt, f"Negative prompt: {negative}" if negative else ""]
    return "\n".join([*filter(None, lines), ", ".join(f"{name}: {value}" for name, value in facts.items())])


def write_report(path: Path, text: str, *, films: Sequence[Path], facts: Mapping[str, Any]) -> Path:
    """Writes ``path``: the embedded text, the films' hashes, and ``facts`` of this one render, such as its times.

    Raises ResourceError where it cannot be written; the films stay, and so does an older report.
    """
    from lcm_video.media.failures import explained  # knows PyAV's errors, too, which planning does not load

    found = {
        **json.loads(text),
        "films": {film.name: digest(film) for film in films if film.is_file()},
        "machine": {"system": platform.system(), "processor": platform.machine(), "python": platform.python_version()},
        **facts,
    }
    partial = path.with_name(f".{path.name}.part")
    with explained(path):
        try:
            partial.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            return partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """The file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
