"""A storyboard in the making: values are put in their places, and what became of every field is written down."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from lcm_video.errors import StoryboardError
from lcm_video.importers.report import Fate, Finding, Imported
from lcm_video.importers.values import MOST_LCM_STEPS, SCALES, fit, number, seed, shown, within
from lcm_video.prompts.chunks import called_embeddings
from lcm_video.prompts.directives import names
from lcm_video.storyboard.called import stem

MOST_CHARACTERS = 1_000_000
"""Of all prompts of a film together."""


class Draft:
    """What an importer fills: ``board`` by dotted path, and one finding for each field of the file.

    ``data`` is the file, for fields that mean something only beside others; ``title`` is what it calls the film.
    """

    def __init__(self, tool: str, data: Mapping[str, Any] | None = None) -> None:
        self.tool = tool
        self.data = data or {}
        self.board: dict[str, Any] = {}
        self.findings: list[Finding] = []
        self.comments: dict[str, str] = {}
        self.title = "film"
        self._used: Counter[str] = Counter()

    def put(self, path: str, value: Any, comment: str = "") -> None:
        """Sets a value of the storyboard."""
        *sections, name = path.split(".")
        place = self.board
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
        if comment:
            self.comments[path] = comment

    def note(self, field: str, fate: Fate, reason: str = "", *, becomes: str = "") -> None:
        """Writes down what became of a field."""
        self.findings.append(Finding(field, fate, reason, becomes))

    def exact(self, field: str, path: str, value: Any, reason: str = "") -> None:
        """A field that means the same here."""
        self.put(path, value)
        self.note(field, "exact", reason, becomes=path)

    def near(self, field: str, path: str, value: Any, reason: str) -> None:
        """A field that means nearly the same here."""
        self.put(path, value)
        self.note(field, "approximated", reason, becomes=path)

    def drop(self, field: str, reason: str) -> None:
        """A field that is left out."""
        self.note(field, "ignored", reason)

    def number(self, field: str, value: Any, path: str, *, reason: str = "") -> None:
        """A number for ``path``: brought into the range that a storyboard takes, left out if it is none.

        A ``reason`` says why it is only approximated.
        """
        found = number(value)
        if found is None:
            self.drop(field, f"{shown(value)} is no number")
            return
        fitted, why = fit(found, path)
        if reason or why:
            self.near(field, path, fitted, "; ".join(filter(None, [why, reason])))
        else:
            self.exact(field, path, fitted)

    def seed(self, field: str, value: Any, path: str = "sampling.seed") -> None:
        """A seed. It is kept as a number, and draws other noise here than in any other tool."""
        found, why = seed(value)
        if found is None:
            self.drop(field, why)
        else:
            self.near(field, path, found, why or "the same number draws other noise here")

    def lora(
        self, field: str, path: Any, scale: Any, *, steps: Mapping[str, float] | None = None, reason: str = ""
    ) -> None:
        """A LoRA by its file's name; ``scale`` is a number, or numbers at moments, which ``steps`` multiply."""
        file = bare(path)
        if not file:
            self.drop(field, f"{shown(path)} is no file")
            return
        if isinstance(scale, Mapping) and scale:
            scale, why = dict(scale), ""
        else:
            scale, why = within(number(scale, 1.0) or 0.0, *SCALES)
        name = self._free(named(PurePosixPath(file).stem))
        self.put(f"model.loras.{name}", {"path": file, "scale": scale, **({"steps": dict(steps)} if steps else {})})
        why = "; ".join(filter(None, [why, reason]))
        self.note(field, "approximated" if why else "exact", why, becomes=f"model.loras.{name}")

    def done(self) -> Imported:
        """The storyboard and its report. Raises StoryboardError if the file has no prompts."""
        if not self.board.get("prompts") and not self.board.get("shots"):
            raise StoryboardError(f"this file of {self.tool} has no prompts", remedy="is it whole?", field="prompts")
        self._name_called()
        self._few_lcm_steps()
        return Imported(self.tool, self.board, tuple(self.findings), self.comments)

    def _few_lcm_steps(self) -> None:
        """LCM-LoRAs know 50 timesteps: more steps are possible only along another tool's timesteps."""
        sampling = self.section("sampling")
        own = sampling.get("sampler", "lcm") == "lcm" and not sampling.get("timesteps")
        if own and sampling.get("steps", 0) > MOST_LCM_STEPS:
            self.near("steps", "sampling.steps", MOST_LCM_STEPS, f"LCM knows {MOST_LCM_STEPS} timesteps")

    def _name_called(self) -> None:
        """Names in the model what prompts alone call, so that every file of the film stands in one place."""
        loras = self.section("model.loras")
        known = {name.lower() for name in loras} | {stem(lora["path"]) for lora in loras.values()}
        embedded = {stem(name) for name in self.section("model").get("embeddings", [])}
        for text in _texts(self.board):
            for name, _ in names(text):
                if name.lower() not in known and stem(name) not in known:
                    known.add(name.lower())
                    self.put_in("model.loras", name, {"path": name, "called": True})
                    self.note(f"<lora:{name[:40]}>", "exact", "called by prompts, as there", becomes="model.loras")
            for name, _ in called_embeddings(text):
                if name.lower() not in embedded:
                    embedded.add(name.lower())
                    self.put("model.embeddings", [*self.section("model").get("embeddings", []), name])

    def section(self, path: str) -> dict[str, Any]:
        """What stands at a path; empty if nothing does."""
        place = self.board
        for name in path.split("."):
            place = place.get(name, {})
        return place

    def put_in(self, path: str, name: str, value: Any) -> None:
        """Sets a value under a name that may have dots."""
        if not self.section(path):
            self.put(path, {})
        self.section(path)[name] = value

    def _free(self, name: str) -> str:
        """``name``, or with a number if another LoRA has it."""
        taken = self.board.get("model", {}).get("loras", {})
        while (free := f"{name}-{self._used[name]}" if self._used[name] else name) in taken:
            self._used[name] += 1
        return free


def _texts(value: Any) -> Iterator[str]:
    """Yields every prompt of a storyboard or shot, negatives among them."""
    for section in ("prompts", "negative", "shots"):
        yield from _leaves(value.get(section, ""))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value


def check_size(texts: Iterable[str], *, around: int = 0) -> None:
    """Raises StoryboardError for more text than a film may have, each with ``around`` characters around it.

    It is asked before they are put together: a long text around thousands of short ones is gigabytes.
    """
    if (characters := sum(len(text) + around for text in texts)) >= MOST_CHARACTERS:
        message = f"the prompts have {characters} characters"
        raise StoryboardError(message, remedy=f"the limit is {MOST_CHARACTERS}", field="prompts")


def bare(path: Any) -> str:
    """A file's name without its folders: other tools' folders mean nothing here, models are found by name."""
    text = path.strip() if isinstance(path, str) else ""
    name = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
    return "" if name in (".", "..") or "\0" in name else name


def named(text: Any) -> str:
    """A name that a storyboard takes, from any text."""
    name = re.sub(r"[^\w-]+", "_", str(text)[:60]).strip("_-")
    return name or "unnamed"
