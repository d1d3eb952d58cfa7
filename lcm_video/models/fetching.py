"""Downloads from Hugging Face's hub: the only place that uses the network, and only when asked for by name."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from lcm_video.errors import CheckpointError, ResourceError
from lcm_video.models.catalogue import Item
from lcm_video.models.contents import contents
from lcm_video.models.digests import digest


class Fetched(NamedTuple):
    """A file that is there now, and what was checked about it."""

    path: Path
    sha256: str
    licence: str
    checked: bool


def fetch(item: Item, folder: Path) -> Fetched:
    """Downloads a file into ``folder``, going on where an earlier download stopped, and compares its SHA-256.

    A file that is there already and right is left alone. Raises CheckpointError if the hub does not have the file, if
    it cannot be reached, or if what came is not what the hub says it is.
    """
    os.environ["HF_HUB_OFFLINE"] = "0"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT") or None
    target = folder / item.saved_as
    try:
        url = hf_hub_url(item.repo, item.file, endpoint=endpoint)
        told = get_hf_file_metadata(url, endpoint=endpoint)
        expected = told.etag or ""
        licence = _licence(item, endpoint)
        if not (target.is_file() and digest(target) == expected):
            _download(item, target, url, expected, told.size)
    except CheckpointError:
        raise
    except Exception as error:
        raise _explained(item, error) from None
    contents(target)
    return Fetched(target, digest(target), licence or item.licence or "see its page", _is_hash(expected))


def _download(item: Item, target: Path, url: str, expected: str, size: int | None) -> None:
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if target.exists():
        message = f"{target.name} is there, and is another file than {item.repo} has"
        raise CheckpointError(message, remedy="move it away, or name another folder with --to")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Named after what comes: a part of another version is never continued.
    part = target.with_name(f".{target.name}.{expected[:16]}.part")
    with part.open("ab") as file:
        http_get(url, file, resume_size=file.tell(), headers=build_hf_headers(), expected_size=size)
    if _is_hash(expected) and (found := digest(part)) != expected:
        part.unlink()
        message = f"{item.saved_as} is damaged: its SHA-256 is {found[:16]}…, the hub says {expected[:16]}…"
        raise CheckpointError(message, remedy="download it again")
    os.replace(part, target)


def _is_hash(text: str) -> bool:
    return len(text) == 64


def _licence(item: Item, endpoint: str | None) -> str:
    from huggingface_hub import HfApi

    card: Any = HfApi(endpoint=endpoint).model_info(item.repo).card_data
    return str(getattr(card, "license_name", None) or getattr(card, "license", None) or "")


def _explained(item: Item, error: Exception) -> Exception:
    """What went wrong, as a person would say it."""
    match type(error).__name__:
        case "RepositoryNotFoundError" | "EntryNotFoundError" | "RevisionNotFoundError" | "RemoteEntryNotFoundError":
            message, remedy = f"the hub has no {item.file} in {item.repo}", "check the name at huggingface.co"
        case "GatedRepoError":
            message, remedy = (
                f"{item.repo} asks for an agreement first",
                "accept it at huggingface.co, and set HF_TOKEN",
            )
        case _ if isinstance(error, OSError) and error.errno == 28:
            return ResourceError("the disk is full", remedy="make room: what was downloaded so far is kept")
        case kind:
            message = f"{item.saved_as} could not be downloaded ({kind})"
            remedy = "check the connection, and run it again: it goes on where it stopped"
    return CheckpointError(message, remedy=remedy)
