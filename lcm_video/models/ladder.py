"""The way down when memory runs out: fewer at once, then the stage's own last resorts, then an error that helps.

What worked is kept for the rest of the run and, on disk, for the next one, which then does not fail first. It applies
as long as there is no more memory free than there was.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

import torch

from lcm_video.errors import ResourceError
from lcm_video.models import memory
from lcm_video.models.places import cache_folder

T = TypeVar("T")

MORE = 1.25
"""How much more must be free than when memory ran out, for the whole to be tried again."""


class Notes:
    """Sentences about what happened while a part ran, for the user and the report; any thread may add some."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._taken = 0
        self._lock = Lock()

    def add(self, sentence: str) -> None:
        """Adds a sentence, unless it is there already."""
        with self._lock:
            if sentence not in self.all:
                self.all.append(sentence)

    def take(self) -> list[str]:
        """The sentences added since they were last taken."""
        with self._lock:
            new, self._taken = self.all[self._taken :], len(self.all)
        return new


class Setting(NamedTuple):
    """How a stage runs: at most ``batch`` items at once (0 is all there are), after ``sparing`` last resorts."""

    batch: int
    sparing: int = 0


@dataclass(frozen=True)
class Task:
    """What is asked of a stage, as far as its memory goes.

    count: items, each on its own: clips, frames.
    most: items at once to begin with; 0 is all.
    resorts: last resorts there are, once a single item is too much.
    about: what makes two calls need the same memory, in words: ``3x64x64 float16``.
    fits: what would fit, asked only when nothing did.
    """

    count: int
    most: int
    resorts: int
    about: str
    fits: Callable[[], str]


class Ladder:
    """Runs a stage in pieces that fit, one rung further down each time memory runs out."""

    def __init__(self, stage: str, item: str, resort: str, device: torch.device, *, strict: bool = False) -> None:
        self.stage, self.item, self.resort, self.device, self.strict = stage, item, resort, device, strict
        self.notes = Notes()
        self._settings: dict[str, Setting] = {}
        self._lock = Lock()

    def run(self, work: Callable[[slice, int], T], task: Task) -> list[T]:
        """What ``work`` makes of the items, piece by piece: it is called with a piece's place and how sparing to be.

        Raises ResourceError when nothing helped, or at once if no fallback is wanted.
        """
        done: list[T] = []
        first = 0
        while first < task.count:
            setting = self.setting(task)
            place = slice(first, min(first + (setting.batch or task.count), task.count))
            made = self._attempt(work, place, setting.sparing)
            if made is None:
                self._lower(task, setting, place.stop - place.start)
            else:
                done.append(made)
                first = place.stop
        return done

    def setting(self, task: Task) -> Setting:
        """How a task runs: as it last did, in this run or an earlier one."""
        with self._lock:
            if (found := self._settings.get(task.about)) is None:
                found = Setting(task.most)
                if not self.strict and (before := recall(self._key(task), memory.free(self.device))):
                    found = before
                    self.notes.add(
                        f"{self.stage} runs {self._told(found, task)}: more did not fit in an earlier render"
                    )
                self._settings[task.about] = found
        return found

    def _attempt(self, work: Callable[[slice, int], T], place: slice, sparing: int) -> T | None:
        """What a piece gives; None where memory ran out, and then nothing of the attempt is held any more."""
        try:
            return work(place, sparing)
        except torch.AcceleratorError as error:
            raise memory.lost(error) from error
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error):
                raise
        # Only here, after the error and with it every tensor in its frames is gone, there is something to give back.
        memory.release(self.device)
        return None

    def _lower(self, task: Task, failed: Setting, size: int) -> None:
        """Goes one rung down from the setting that failed, unless another thread has done so already."""
        if self.strict or (size == 1 and failed.sparing == task.resorts):
            raise self._spent(task, size)
        with self._lock:
            if self._settings[task.about] != failed:
                return
            lower = Setting(1, failed.sparing + 1) if size == 1 else Setting(size // 2, failed.sparing)
            self._settings[task.about] = lower
        told = f"{self.stage} ran out of memory with {size} {self.item}s at once" if size > 1 else (
            f"{self.stage} ran out of memory with a single {self.item}"
        )  # fmt: skip
        self.notes.add(f"{told}: it goes on {self._told(lower, task)}")
        remember(self._key(task), lower, memory.free(self.device))

    def _told(self, setting: Setting, task: Task) -> str:
        """A setting in words."""
        if setting.sparing:
            return f"one {self.item} at a time {self.resort}, step {setting.sparing} of {task.resorts}"
        return f"with {setting.batch} {self.item}{'s' if setting.batch > 1 else ''} at once"

    def _spent(self, task: Task, size: int) -> ResourceError:
        """What is told when nothing is left to try."""
        room = f"{memory.free(self.device) / 1e9:.1f} GB of {memory.total(self.device) / 1e9:.1f} GB are free"
        message = f"{self.stage} needs more memory than there is: {room} on {memory.named(self.device)}"
        if self.strict and (size > 1 or task.resorts):
            message += f"; it had {size} {self.item}{'s' if size > 1 else ''} at once, and strict forbids less"
        return ResourceError(message, remedy=task.fits())

    def _key(self, task: Task) -> str:
        """The name under which a setting is remembered: the stage, the task and the device."""
        return f"{self.stage}|{task.about}|{memory.named(self.device)}|{memory.total(self.device) >> 20}"


def recall(key: str, free: int) -> Setting | None:
    """The setting remembered under ``key``, if no more memory is ``free`` than there was; None for a damaged file."""
    match _remembered().get(key):
        case [int(batch), int(sparing), int(then)] if batch >= 1 and sparing >= 0 and free <= MORE * then:
            return Setting(batch, sparing)
    return None


def remember(key: str, setting: Setting, free: int) -> None:
    """Keeps a setting for later runs; where the disk does not let it, the next run finds out anew."""
    with suppress(OSError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.part")
        partial.write_text(json.dumps({**_remembered(), key: [*setting, free]}, indent=1), encoding="utf-8")
        partial.replace(file)


def _remembered() -> dict[str, object]:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(_file().read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _file() -> Path:
    return cache_folder() / "fitting.json"
