"""Faithful synthetic copies of the model files that people have, for tests.

The names of the weights are the real ones at every width, and so are containers, wrappers and types; ``full`` has the
real shapes too (safetensors files are as long as the published ones); ``tiny`` divides the channels.
"""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from model_files.recipes import recipes, write_configs
from model_files.specs import WIDTHS
from model_files.wild import cases, write_case
from model_files.writing import Writer


def make(
    folder: Path, *, width: str = "tiny", fill: str = "random", only: Sequence[str] = ("*",), seed: int = 0
) -> Path:
    """Writes the files whose paths match a pattern of ``only`` below ``folder``; gives ``folder``.

    ``width``: tiny or full. ``fill``: random, or sparse (zeros that take no space on disk). The files of wild/ are
    always tiny and random. configs/ gets the sizes of the models, as diffusers describes them. A file that is there
    already is left as it is. Unknown names raise KeyError.
    """
    folder = Path(folder)
    writer = Writer(folder, fill, seed)
    known = {**recipes(writer, WIDTHS[width]), **{name: None for name in cases()}}
    for pattern in only:
        if not any(fnmatch(name, pattern) for name in known):
            raise KeyError(f"no model file is called {pattern}; see model_files.names()")
    for name, write in known.items():
        if any(fnmatch(name, pattern) for pattern in only) and not (folder / name).exists():
            write(name) if write else write_case(folder, cases()[name])
    for family in ("sd15", "sdxl"):
        write_configs(writer, f"configs/{family}", WIDTHS[width], xl=family == "sdxl")
    return folder


def names(width: str = "tiny") -> list[str]:
    """The paths of all files that `make` can write."""
    return [*recipes(Writer(Path(), "sparse", 0), WIDTHS[width]), *cases()]
