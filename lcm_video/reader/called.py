"""What prompts call from outside the storyboard: wildcards are read in, LoRAs and embeddings looked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lcm_video.errors import CheckpointError
from lcm_video.models import find
from lcm_video.prompts.chunks import called_embeddings
from lcm_video.prompts.directives import names
from lcm_video.prompts.wildcards import called
from lcm_video.reader.check import place, within
from lcm_video.reader.problems import InvalidStoryboard, Problem, problem
from lcm_video.reader.syntax import Node
from lcm_video.storyboard import Storyboard
from lcm_video.storyboard.called import called_name, prompt_texts, stem

FOLDER = "wildcards"
MAX_BYTES = 1_000_000


def read_wildcards(values: dict[str, Any], tree: Node) -> None:
    """Puts the lines of wildcards that prompts call, and that are files beside the storyboard, into ``values``."""
    own = values.get(FOLDER, {})
    if not isinstance(own, dict):
        return
    waiting = [(path, text) for path, text in _prompts(values) if "__" in text]
    waiting += [((FOLDER, name), line) for name, lines in own.items() if isinstance(lines, list) for line in lines]
    while waiting:
        path, text = waiting.pop()
        for name, _ in called(text) if isinstance(text, str) else ():
            mark = place(tree, path)
            if name not in own and mark.source.folder and (lines := _lines(mark.source.folder, name)):
                values[FOLDER] = own = {**own, name: lines}
                waiting += [(path, line) for line in lines]


def _prompts(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields every text in plain values that is a prompt, with its path."""
    shots = values.get("shots")
    sections: list[tuple[tuple[str, ...], Any]] = [((), values)]
    sections += [(("shots", name), shot) for name, shot in (shots.items() if isinstance(shots, dict) else ())]
    for path, section in sections:
        for field in ("prompts", "negative"):
            found = section.get(field) if isinstance(section, dict) else None
            for at, key in found.items() if isinstance(found, dict) else [("", found)]:
                text = key.get("text") if isinstance(key, dict) else key
                if isinstance(text, str):
                    yield (*path, field, at), text


def _lines(folder: Path, name: str) -> list[str]:
    """The lines of a wildcard's file; none if there is no such file."""
    if ".." in PurePosixPath(name).parts:
        return []
    path = folder / FOLDER / f"{name}.txt"
    try:
        if not path.is_file():
            return []
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        said = f"{path.name} cannot be read: {error}"
        raise InvalidStoryboard([Problem(str(path), 0, 0, "", said, "save it as UTF-8 text", "")]) from None
    if len(text) > MAX_BYTES:
        said = f"{path.name} has more than {MAX_BYTES} characters"
        raise InvalidStoryboard([Problem(str(path), 0, 0, "", said, "cut it in several", "")])
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def check_called(board: Storyboard, tree: Node, values: Mapping[str, Any]) -> list[Problem]:
    """The LoRAs and embeddings that only prompts name, and that are in no model folder: where they are called."""
    model = values.get("model")
    named: Mapping[str, Any] = model if isinstance(model, dict) else {}
    loras, embeddings = [*named.get("loras", {})], [stem(name) for name in named.get("embeddings", [])]
    problems = []
    for path, text, _ in prompt_texts(board):
        wanted = [(called_name(board.model, name), column, "LoRA") for name, column in names(text)]
        wanted += [(name, column, "textual inversion") for name, column in called_embeddings(text)]
        for name, column, kind in wanted:
            known = loras if kind == "LoRA" else embeddings
            if (name if kind == "LoRA" else name.lower()) in known:
                continue
            try:
                find(name, kind=kind, folders=board.runtime.folders)
            except CheckpointError as error:
                mark, keys = within(tree, path, column)
                problems.append(problem(mark, error.message, path=".".join(keys), remedy=error.remedy))
    return problems
