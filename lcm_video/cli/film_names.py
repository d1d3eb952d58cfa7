"""What the films of a sweep are called: the storyboard's name, and what differs, ``fox.guidance-1.5.seed-2.mp4``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

VALUE = 24
"""Letters of a value in a name; longer ones are cut."""
LONGEST = 120
"""Bytes that a name may grow by: file systems hold 255 in all. Longer ones are numbers."""


def named(path: Path, differs: str) -> Path:
    """``path`` with what differs before its ending."""
    return path.with_name(f"{path.stem}.{differs}{path.suffix}") if differs else path


def differences(films: Sequence[Mapping[str, str]]) -> list[str]:
    """What tells each of the films apart, safe in a file's name on any system, no two alike.

    >>> differences([{"sampling.seed": "1", "prompts.0": "a fox"}, {"sampling.seed": "2", "prompts.0": "a fox"}])
    ['seed-1.prompts-0-a-fox', 'seed-2.prompts-0-a-fox']
    """
    fields = short_names(name for film in films for name in film)
    values = {name: _words(film[name] for film in films if name in film) for name in fields}
    found = [".".join(f"{fields[name]}-{values[name][value]}" for name, value in film.items()) for film in films]
    if len({name.casefold() for name in found}) < len(found) or max(len(name.encode()) for name in found) > LONGEST:
        width = len(str(len(films)))
        found = [f"sweep-{number:0{width}}" for number in range(1, len(films) + 1)]
    return found


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """Fields by their last words, as many as tell them apart: ``sampling.seed`` is ``seed``."""
    every = list(dict.fromkeys(fields))
    words = {name: [word for word in re.split(r"[^\w]+", name) if word] for name in every}

    def tail(name: str, count: int) -> str:
        return "-".join(words[name][-count:])

    found = {}
    for name in every:
        counts = range(1, len(words[name]) + 1)
        told = (tail(name, count) for count in counts if words[name][-count][0].isalpha())
        others = {tail(other, count) for other in every if other != name for count in range(1, len(words[other]) + 1)}
        found[name] = next((short for short in told if short not in others), "-".join(words[name]))
    return found


def _words(values: Iterable[str]) -> dict[str, str]:
    """Each value as a word that a file's name can hold; alike ones are numbered."""
    found: dict[str, str] = {}
    for value in dict.fromkeys(values):
        word = plain = _word(value)
        taken = {other.casefold() for other in found.values()}
        count = 1
        while word.casefold() in taken:
            count += 1
            word = f"{plain}-{count}"
        found[value] = word
    return found


def _word(value: str) -> str:
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value.strip()) and len(value) <= VALUE:
        return value.strip()
    words = re.sub(r"[^\w.+]+", "-", value).strip("-.")
    cut = words[:VALUE].rpartition("-")[0] if len(words) > VALUE and words[VALUE] != "-" else ""
    return (cut or words[:VALUE]).rstrip("-.") or "none"
