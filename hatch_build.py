"""Builds the layers in C++ (lcm_video/models/fast/compiled) while the package is installed, where that is possible.

It never fails: without a compiler, or on another system, the package works without them, more slowly, and
`lcm-video doctor` says so. ``CXX`` names another compiler.
"""

import os
import platform
import shlex
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("lcm_video/models/fast/compiled")

LEVELS = {
    "avx2": "-mavx2 -mfma -mf16c",
    "avx512": "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mprefer-vector-width=512 -mavx2 -mfma -mf16c",
}
"""Instruction sets, each in a library of its own; which one fits the processor is decided when it is loaded."""

FLAGS = "-std=c++20 -O3 -fopenmp -fPIC -fno-exceptions -fno-rtti -fno-math-errno -fno-trapping-math -ffp-contract=fast"
"""Products and sums may be contracted, but never reordered: rounding must not depend on the compiler's mood."""


class CustomBuildHook(BuildHookInterface[Any]):
    """hatchling calls this before it puts a wheel together, editable or not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the libraries and adds them to the wheel, which then is one for this platform."""
        if self.target_name != "wheel":
            return
        built = build(Path(self.root) / FOLDER)
        if built and version != "editable":
            build_data["artifacts"] += [str(path.relative_to(self.root)) for path in built]
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform.system()}_{platform.machine()}".lower()


def build(folder: Path) -> list[Path]:
    """The libraries that could be built from the sources in ``folder``, beside them."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return []
    return [path for level, flags in LEVELS.items() if (path := built(folder, level, flags))]


def built(folder: Path, level: str, flags: str) -> Path | None:
    """One library, or None with the reason on standard error."""
    target = folder / f"{level}.so"
    target.unlink(missing_ok=True)
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    name = f'-DSOURCES="{fingerprint(folder)}"'
    sources = [str(path) for path in sorted(folder.glob("*.cpp"))]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        out = Path(place) / target.name
        # GCC says that vectors are passed differently with and without these instructions; none leaves its file.
        # PyTorch brings the OpenMP that it runs on: a second one would be a second pool of threads. So none is linked,
        # and what is left open is found in PyTorch's when the library is loaded.
        command = [*compiler, *FLAGS.split(), *flags.split(), "-Wno-psabi", name, "-c"]
        try:
            objects = []
            for source in sources:
                objects.append(str(Path(place) / f"{Path(source).stem}.o"))
                subprocess.run([*command, source, "-o", objects[-1]], check=True, capture_output=True, text=True)
            link = [*compiler, "-shared", *objects, "-o", str(out)]
            subprocess.run(link, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", "") or str(error)
            print(f"lcm-video: compiled layers for {level} were not built: {told[:2000]}", file=sys.stderr)
            return None
        return out.replace(target)


def fingerprint(folder: Path) -> str:
    """What tells these sources from others."""
    files = sorted([*folder.glob("*.cpp"), *folder.glob("*.h")])
    return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


if __name__ == "__main__":
    for path in build(Path(__file__).parent / FOLDER):
        print(path)
