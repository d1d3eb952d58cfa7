"""A sweep in one look: a frame or a few of every film, in rows and columns that say what differs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lcm_video.cli.film_names import short_names
from lcm_video.media import grid, picked
from lcm_video.media.contact_sheet import TARGET, scaled, thumbnail
from lcm_video.types import Frame

SAMPLES = 4
"""Frames of a film where a row is all its own."""
MOST = 200
"""Rows or columns; what is beyond is not on the sheet, and its title says so."""

Settings = Mapping[str, str]


@dataclass
class Samples:
    """Watches one film, and keeps some of its frames, no larger than the sheet shows them."""

    wanted: Sequence[int]
    kept: dict[int, Frame] = field(default_factory=dict)

    def frame(self, number: int, frame: Frame) -> None:
        """A frame of the film is there."""
        if number in self.wanted:
            small = max(frame.shape) <= TARGET
            self.kept[number] = frame if small else np.asarray(scaled(frame, thumbnail(frame)))


class SweepSheet:
    """The sheet of one sweep, filled while its films are rendered. One that failed leaves its place empty."""

    def __init__(self, path: Path, title: str, films: Sequence[Settings], frames: Sequence[int]) -> None:
        self.path, self.title, self.films = path, title, films
        self.fields = list(dict.fromkeys(name for film in films for name in film))
        self.short = short_names(self.fields)
        self.is_grid = len(self.fields) > 1 and all(len(film) == len(self.fields) for film in films) and _full(films)
        self.samples = [Samples(self._wanted(count)) for count in frames]

    def watch(self, film: Settings) -> Samples:
        """What watches the film of these settings for the sheet."""
        return self.samples[self.films.index(film)]

    def _wanted(self, frames: int) -> list[int]:
        return [frames // 2] if self.is_grid else picked(frames, SAMPLES)

    def write(self) -> Path | None:
        """Writes the sheet of what there is, and gives its path; None if there is nothing."""
        if not any(samples.kept for samples in self.samples):
            return None
        rows, columns, cells = self._as_grid() if self.is_grid else self._as_list()
        title = f"{self.title} · {len(self.films)} films"
        if self.is_grid and len({tuple(samples.wanted) for samples in self.samples}) == 1:
            title += f" · frame {self.samples[0].wanted[0]}"
        if len(rows) > MOST or len(columns) > MOST:
            title += f" · the first {MOST} of {max(len(rows), len(columns))}"
        shown = [row[:MOST] for row in cells[:MOST]]
        return grid(shown, self.path, rows=rows[:MOST], columns=columns[:MOST], title=title)

    def _as_grid(self) -> tuple[list[str], list[str], list[list[Frame | None]]]:
        """One frame of each film: the second field across, the first and any further ones down."""
        across = self.fields[1]
        down = [name for name in self.fields if name != across]
        columns = list(dict.fromkeys(film[across] for film in self.films))
        cells: dict[str, list[Frame | None]] = {}
        for film, samples in zip(self.films, self.samples, strict=True):
            row = cells.setdefault(self._label((name, film[name]) for name in down), [None] * len(columns))
            row[columns.index(film[across])] = next(iter(samples.kept.values()), None)
        return list(cells), [self._label([(across, value)]) for value in columns], list(cells.values())

    def _as_list(self) -> tuple[list[str], list[str], list[list[Frame | None]]]:
        """A row for each film: some of its frames, in order."""
        labels = [self._label(film.items()) for film in self.films]
        most = max(len(samples.wanted) for samples in self.samples)
        alike = len({tuple(samples.wanted) for samples in self.samples}) == 1
        columns = [f"frame {number}" for number in self.samples[0].wanted] if alike else [""] * most
        return labels, columns, [[samples.kept.get(number) for number in samples.wanted] for samples in self.samples]

    def _label(self, settings: Iterable[tuple[str, str]]) -> str:
        return ", ".join(f"{self.short[name].replace('-', '.')} {value}" for name, value in settings)


def _full(films: Sequence[Settings]) -> bool:
    """Whether the films are all combinations of their values."""
    values: dict[str, set[Any]] = {}
    for film in films:
        for name, value in film.items():
            values.setdefault(name, set()).add(value)
    count = 1
    for found in values.values():
        count *= len(found)
    return count == len(films)
