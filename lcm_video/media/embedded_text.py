"""The text that a film carries: the storyboard it was made from."""

import hashlib
import html
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO

from lcm_video.errors import EncodeError, InputError
from lcm_video.media.opening import container_of, frames_in, open_media, open_regular, sniff
from lcm_video.media.output import FORMATS

KEY = "lcm_video"
LIMIT = 5_000_000
"""Characters read from a file made by someone else."""

NOT_TEXT = re.compile("[\0-\x08\x0b-\x1f\x7f\ud800-\udfff]")
XMP = re.compile(rf"<{KEY}:about>(.*?)</{KEY}:about>", re.DOTALL)


def fitting(text: str, ending: str) -> str:
    """``text`` where the format can hold it, otherwise its fingerprint and where to look.

    Raises EncodeError for control characters, which some containers cut at and others refuse.
    """
    if found := NOT_TEXT.search(text):
        raise EncodeError(
            f"the text to embed holds the control character {found[0]!r} at {found.start()}",
            remedy="remove it, or output.metadata: false",
        )
    data = text.encode()
    if len(data) <= FORMATS[ending].embeds:
        return text
    digest = hashlib.sha256(data).hexdigest()
    return f"# {len(data)} bytes were too many to embed: see the file beside this one (sha256 {digest})"


def about(path: str | Path) -> str | None:
    """The text that ``path`` (a film, an image, or a folder of frames) carries; None if it carries none.

    It may come from anyone: treat it as an unknown storyboard. Raises InputError for files that are not media.
    """
    path = Path(path)
    if path.is_dir():
        path = frames_in(path)[0]
    with open_regular(path) as file:
        kind = sniff(file)
        text = (_from_image if kind in ("png", "jpeg", "webp", "gif") else _from_tags)(file, kind)
    if text is not None and len(text) > LIMIT:
        raise InputError(f"{path}: carries {len(text)} characters of text", remedy=f"at most {LIMIT} are read")
    return text


def xmp(text: str) -> bytes:
    """``text`` as an XMP packet, the XML that WebP carries."""
    # A bare carriage return would be read back as a newline; NOT_TEXT has refused it, so escaping is enough.
    value = html.escape(text, quote=False)
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:{KEY}="urn:{KEY}"><{KEY}:about>{value}</{KEY}:about></rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def _from_tags(file: BinaryIO, kind: str) -> str | None:
    with open_media(file, kind) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
    return tags.get(KEY)


def _from_image(file: BinaryIO, kind: str) -> str | None:
    info = _image_info(file, kind)
    if kind == "webp":
        # No XML parser: entity bombs stay text.
        found = XMP.search(_decoded(info.get("xmp", b"")))
        return html.unescape(found[1]) if found else None
    if kind == "png":
        value = info.get(KEY)
        return None if value is None else str(value)
    comment = _decoded(info.get("comment", b""))
    marker, newline, text = comment.partition("\n")
    return text if newline and marker == KEY else None


def _image_info(file: BinaryIO, kind: str) -> dict[str, Any]:
    import imageio.v3 as iio

    try:
        return iio.immeta(file, plugin="pillow", extension=f".{kind}", exclude_applied=False)
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        raise InputError(f"not a readable {container_of(kind)}: {error}", remedy="is the file complete?") from None


def _decoded(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")
