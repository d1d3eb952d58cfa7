"""A storyboard as text that reads back to an equal one: what travels in a film's metadata."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from lcm_video.media import FORMATS
from lcm_video.reader.paths import input_paths
from lcm_video.reader.schema import adapter
from lcm_video.storyboard import Storyboard


def dump(board: Storyboard) -> str:
    """The whole storyboard, defaults included, in the order of its fields: equal storyboards give equal text."""
    return "\n".join(_block(plain_values(board))) + "\n"


def redacted(board: Storyboard, ending: str = "") -> Storyboard:
    """The storyboard of the file with this ``ending``, without what tells of the machine it was made on.

    Absolute paths become file names, the output's name becomes ``film``, other formats of the same render and settings
    that do not change the film are left out: rendered again under another name or alone, the file is the same.
    """
    values = plain_values(board)
    for holder, key, _ in input_paths(values):
        holder[key] = _bare(holder[key])
    output, runtime = board.output, board.runtime
    ending = ending or output.endings[0]
    values["output"] |= {"path": f"film.{ending}", "formats": [], "codec": output.codec_of(ending)}
    if not FORMATS[ending].audio:
        del values["output"]["audio"]
    values["runtime"] = {"device": runtime.device, "dtype": runtime.dtype}
    return adapter().validate_python(values)


def plain_values(board: Storyboard) -> dict[str, Any]:
    """The storyboard as maps, lists, texts and numbers; what is left open is left out."""
    return adapter().dump_python(board, mode="json", exclude_none=True)


def _bare(path: str) -> str:
    """A path's last name if it starts from a root, a drive or a home folder, or leaves its own folder."""
    windows, posix = PureWindowsPath(path), PurePosixPath(path)
    outside = posix.is_absolute() or windows.drive or windows.root or path.startswith("~") or ".." in windows.parts
    return windows.name if outside else path


def _block(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """YAML's lines for a map; texts are always quoted, so that none can be taken for anything else."""
    for name, value in values.items():
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*|[0-9]+(\.[0-9]+)?[s%]?", name)
        key = name if plain else _quoted(name)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _block(value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, str):
        # A backslash before ${ shows it as it is; those already there are doubled.
        return _quoted(re.sub(r"(\\*)\$\{", lambda found: f"{found[1] * 2}\\${{", value))
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A JSON string, with what YAML takes for a line break or refuses as unprintable escaped too."""
    return re.sub(
        "[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False)
    )
