"""Every text that a picture or film carries, by the name that its tool gave it: workflows, parameters, comments."""

import re
from pathlib import Path
from typing import Any

from PIL import Image

from lcm_video.errors import InputError
from lcm_video.media.embedded_text import LIMIT, _image_info
from lcm_video.media.opening import IMAGES, frames_in, open_media, open_regular, sniff

EXIF_SECTION = 0x8769
EXIF_TEXTS = {0x010E: "description", 0x9286: "usercomment"}
CHARSETS = {b"UNICODE\0": "", b"ASCII\0\0\0": "utf-8", b"\0" * 8: "utf-8"}
"""The eight bytes before an EXIF user comment; a Unicode one is UTF-16 of either order."""


def texts(path: str | Path) -> dict[str, str]:
    """The texts in a picture, a film or the first of a folder of frames, by name in lower case.

    They may come from anyone. Raises InputError for files that are not media.
    """
    path = Path(path)
    path = frames_in(path)[0] if path.is_dir() else path
    with open_regular(path) as file:
        kind = sniff(file)
        if kind in IMAGES:
            found = _of_image(_image_info(file, kind))
        else:
            with open_media(file, kind) as container:
                found = {name.lower(): value for name, value in container.metadata.items()}
    long = [name for name, text in found.items() if len(text) > LIMIT]
    if long:
        raise InputError(f"{path}: carries more than {LIMIT} characters ({long[0]})", remedy="that is no workflow")
    return {name: text for name, text in found.items() if text.strip()}


def _of_image(info: dict[str, Any]) -> dict[str, str]:
    """The texts among what Pillow says of a picture; its EXIF block may hold more."""
    found = {name.lower(): _decoded(value) for name, value in info.items() if isinstance(value, str | bytes)}
    for binary in ("exif", "icc_profile", "xmp", "jfif_version"):
        found.pop(binary, None)
    return {**found, **_of_exif(info.get("exif", b""))}


def _of_exif(data: Any) -> dict[str, str]:
    """EXIF's texts. ComfyUI writes ``name:text`` into the tags for the camera's maker and model, and those below."""
    if not isinstance(data, bytes) or not data:
        return {}
    exif = Image.Exif()
    try:
        exif.load(data)
        tags = {**exif, **exif.get_ifd(EXIF_SECTION)}
    except Exception:  # Pillow raises whatever a damaged block leads it to
        return {}
    found = {}
    for tag, value in tags.items():
        text = _user_comment(value) if tag == 0x9286 else _decoded(value)
        named = re.match(r"(prompt|workflow|parameters)\s*:\s*(?=[\[{])", text)
        if named:
            found[named[1]] = text[named.end() :]
        elif tag in EXIF_TEXTS:
            found[EXIF_TEXTS[tag]] = text
    return found


def _user_comment(value: Any) -> str:
    if not isinstance(value, bytes) or value[:8] not in CHARSETS:
        return _decoded(value)
    body = value[8:]
    if encoding := CHARSETS[value[:8]]:
        return body.decode(encoding, errors="replace").rstrip("\0")
    # The order of the bytes is told by where the zeros of plain letters are.
    order = "utf-16-be" if body[:64:2].count(0) >= body[1:64:2].count(0) else "utf-16-le"
    return body.decode(order, errors="replace").rstrip("\0")


def _decoded(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").rstrip("\0")
    return value if isinstance(value, str) else ""
