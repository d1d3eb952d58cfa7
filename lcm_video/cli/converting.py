"""``lcm-video convert``: a PyTorch file becomes safetensors, in a process that cannot do much harm."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lcm_video.cli.sources import refuse_existing
from lcm_video.errors import CheckpointError, ResourceError
from lcm_video.models.contents import contents
from lcm_video.models.folders import find

SECONDS = 3600
"""After so long, whatever is going on is no conversion."""


def convert(file: Path, output: Path | None, *, overwrite: bool, as_json: bool) -> None:
    """Converts ``file``, checks the result against the original's names and shapes, and prints what came out."""
    source = find(str(file))
    before = contents(source)
    target = output or source.with_suffix(".safetensors")
    if target.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{target.name} does not end in .safetensors", remedy="give another name with -o")
    if not overwrite:
        refuse_existing([target])
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".convert-") as folder:
            told = _run(source, made := Path(folder) / "converted.safetensors")
            after = contents(made)
            if sorted(after.shapes.values()) != sorted(before.shapes.values()):
                message = (
                    f"{source.name} was not converted completely: {len(after.shapes)} of {len(before.shapes)} weights"
                )
                raise CheckpointError(message, remedy="report it, with the output of `lcm-video models info`")
            os.replace(made, target)
    except OSError as error:
        message = f"{target} cannot be written: {error.strerror}"
        raise ResourceError(message, remedy="give another name with -o") from None
    facts = {"path": str(target), "kind": after.kind, **told}
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{target}  {after.kind}, {told['tensors']} tensors")
    if told["dropped"]:
        print(f"left behind: {', '.join(told['dropped'])}")


def _run(source: Path, target: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "lcm_video.models.converting", str(source.absolute()), str(target.absolute())]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        message = f"converting {source.name} took longer than {SECONDS // 60} minutes"
        raise CheckpointError(message, remedy="get its .safetensors version") from None
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        message = f"converting {source.name} was stopped (exit code {done.returncode})"
        raise CheckpointError(
            message, remedy="it asks for more memory or time than its size needs: do not trust it"
        ) from None
    if "error" in told:
        raise CheckpointError(told["error"], remedy=told["remedy"])
    return told
