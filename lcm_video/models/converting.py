"""Rewrites a PyTorch file as safetensors. Run as a process of its own, with little memory and time to do harm with.

``python -m lcm_video.models.converting IN OUT`` prints one line of JSON: what was kept, what was left behind, or what
is wrong.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lcm_video.errors import CheckpointError
from lcm_video.models.container import sniff
from lcm_video.models.pickles import unwrapped

SPARE = 6_000_000_000
"""Bytes of address space for Python and torch themselves."""

SECONDS = 1800
"""Of processor time: enough for 10 GB on a slow disk."""


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Writes every tensor of ``source`` to ``target`` under its own name; gives what was kept and left behind."""
    from safetensors.torch import save_file
    from torch import Tensor

    from lcm_video.models.files import unpickled

    if (container := sniff(source)) == "safetensors":
        message = f"{source.name} is a safetensors file already"
        raise CheckpointError(
            message, remedy="rename it to .safetensors" if source.suffix != ".safetensors" else "use it"
        )
    whole = unpickled(source, container)
    tensors = {name: value for name, value in flat(unwrapped(whole)) if isinstance(value, Tensor)}
    if not tensors:
        message = f"{source.name} holds no weights by name"
        raise CheckpointError(message, remedy="give a checkpoint, motion module, LoRA, VAE or embedding")
    # Tensors may share memory in a pickle; safetensors wants each whole.
    kept = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    about = {"format": "pt", "converted_from": source.name, "converted_by": "lcm-video"}
    save_file(kept, target, metadata=about)
    target.chmod(0o666 & ~_umask())  # safetensors writes for one user only
    return {"tensors": len(kept), "dropped": sorted(set(dropped(whole)))}


def flat(found: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yields what is in maps of maps by its path; an embedding's only vectors get the name that they have elsewhere."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            vectors = list(value.values())
            if name == "string_to_param" and len(vectors) == 1:
                yield "emb_params", vectors[0]
            else:
                yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def dropped(whole: Any) -> Iterator[str]:
    """Yields what safetensors cannot hold: all that is no tensor, by its outermost name."""
    from torch import Tensor

    while isinstance(whole, Mapping):
        inside = whole.get("state_dict") if isinstance(whole.get("state_dict"), Mapping) else None
        for name, value in whole.items():
            holds = value is inside or isinstance(value, Tensor)
            if not holds and (inside is not None or not isinstance(value, Mapping) or not any(_tensors(value))):
                yield str(name)
        whole = inside


def _tensors(value: Mapping[str, Any]) -> Iterator[bool]:
    from torch import Tensor

    return (
        isinstance(inner, Tensor) or (isinstance(inner, Mapping) and any(_tensors(inner))) for inner in value.values()
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def bound(size: int) -> None:
    """Limits this process: memory for the file twice, and time. Where the system has no limits, nothing is limited."""
    try:
        import resource
    except ImportError:
        return
    for limit, most in (
        (resource.RLIMIT_AS, 3 * size + SPARE),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(source: str, target: str) -> int:
    """Converts, and says so in JSON."""
    try:
        bound(Path(source).stat().st_size)
        print(json.dumps(convert(Path(source), Path(target))))
    except CheckpointError as error:
        print(json.dumps({"error": error.message, "remedy": error.remedy}))
        return error.exit_code
    except MemoryError:
        print(json.dumps({"error": f"{Path(source).name} needs more memory than it has weights for", "remedy": ""}))
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
