"""``lcm-video doctor``: whether this installation works, in a block that can be copied into a report.

It holds no folder names outside the installation, no user name and no host name.
"""

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from lcm_video.errors import LcmVideoError

PACKAGES = (
    *("lcm-video", "torch", "diffusers", "safetensors", "huggingface_hub", "av", "imageio", "pillow"),
    *("numpy", "pydantic", "omegaconf"),
)


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and whether that will do."""

    name: str
    told: str
    good: bool = True


def examine(*, as_json: bool) -> int:
    """Prints the findings; returns 0 if all is well, else 1."""
    found = [*findings()]
    well = all(finding.good for finding in found)
    if as_json:
        facts = {finding.name: finding.told for finding in found}
        problems = [finding.name for finding in found if not finding.good]
        print(json.dumps({"ok": well, "problems": problems, **facts}, indent=2, ensure_ascii=False))
        return 0 if well else 1
    width = max(len(finding.name) for finding in found)
    print("```")
    for finding in found:
        print(f"{'ok ' if finding.good else 'BAD'} {finding.name:{width}}  {finding.told}")
    print("```")
    print("everything works" if well else "something is wrong: see the lines that begin with BAD")
    return 0 if well else 1


def findings() -> Iterator[Finding]:
    """Yields everything that is looked at; what goes wrong in looking is a finding too."""
    for look in (system, packages, device, encoders, disk, folders, smoke):
        try:
            yield from look()
        except Exception as error:  # a doctor does not die of the patient
            told = error.message if isinstance(error, LcmVideoError) else f"{type(error).__name__}: {error}"
            yield Finding(look.__name__, private(told), good=False)


def system() -> Iterator[Finding]:
    """The machine and its Python."""
    yield Finding("system", f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores")
    yield Finding("python", f"{platform.python_version()} ({platform.python_implementation()})")
    if total := memory():
        yield Finding("memory", f"{total / 1e9:.1f} GB", good=total > 2e9)


def memory() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def packages() -> Iterator[Finding]:
    """The versions of what is needed."""
    for name in PACKAGES:
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            yield Finding(name, "not installed", good=name == "huggingface_hub")


def device() -> Iterator[Finding]:
    """What torch can compute on."""
    import torch

    from lcm_video.models.fast.compiled import library
    from lcm_video.models.placing import usual_precision

    yield Finding("threads", str(torch.get_num_threads()))
    names = [
        f"{torch.cuda.get_device_name(number)}, {torch.cuda.get_device_properties(number).total_memory / 1e9:.1f} GB"
        for number in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        names.append("Apple GPU (mps)")
    yield Finding("devices", "; ".join([*names, "cpu"]))
    yield Finding("precision", usual_precision())
    yield Finding("compiled layers", f"for {library().what}" if library().calls else f"none: {library().what}")


def encoders() -> Iterator[Finding]:
    """What films can be written as."""
    from lcm_video.media import FORMATS

    yield Finding("formats", ", ".join(FORMATS))


def disk() -> Iterator[Finding]:
    """Room for films here, and for temporary files."""
    for name, place in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free
        writable = os.access(place, os.W_OK)
        yield Finding(
            name, f"{free / 1e9:.1f} GB free{'' if writable else ', read-only'}", good=writable and free > 5e8
        )


def folders() -> Iterator[Finding]:
    """How many model files are in how many folders."""
    from lcm_video.models.folders import model_files
    from lcm_video.models.places import searched

    places = [*searched([])]
    count = len({path.resolve() for place in places for path in model_files(place)})
    yield Finding("models", f"{count} files in {len(places)} folders", good=bool(places))


def smoke() -> Iterator[Finding]:
    """Two frames of the embedded model, drawn, written and read back."""
    from lcm_video.cli.rendering import render
    from lcm_video.media import facts
    from lcm_video.reader import load

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "smoke.mp4"
        changes = ["prompts={0: a red circle}", "video.frames=2", "video.width=64", "video.height=64"]
        board = load("embedded", [*changes, "sampling.steps=1", f"output.path={target}"], allow_paths=[Path(folder)])
        render((board, None), style="quiet")
        frames = facts(target).frames
    yield Finding("render", f"{frames} frames in {time.perf_counter() - began:.1f} s", good=frames == 2)


def private(text: str) -> str:
    """``text`` without the user's folders."""
    roots: tuple[tuple[Callable[[], Any], str], ...] = ((Path.cwd, "."), (Path.home, "~"), (tempfile.gettempdir, "TMP"))
    for root, mark in roots:
        if len(place := str(root())) > 1:
            text = text.replace(place, mark)
    return text
