"""All stages, one after the other: ``python -m training all [--out DIR] [--processes 2]``.

A stage that is finished is skipped, one that was killed goes on: run it again until it says that all is done.
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

STAGES = (
    ("vae", "vae.safetensors"),
    ("text", "text.safetensors"),
    ("latents stills --count 28800", "latents/stills-0.pt"),
    ("latents clips --count 3200", "latents/clips-0.pt"),
    ("unet", "unet.safetensors"),
    ("motion", "motion.safetensors"),
    ("lcm", "lcm.safetensors"),
    ("negative", "negative.safetensors"),
    ("export", "export/configs/embedded/embedded_negative.safetensors"),
)
"""Stages with their options, and the file each leaves when it is done."""
PARALLEL = ("unet", "motion", "lcm")
"""Stages that gain from several processes."""


def command(stage: str, out: Path, processes: int) -> list[str]:
    """The command line of a stage."""
    name, *rest = stage.split()
    several = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    start = several if name in PARALLEL else []
    return [sys.executable, *start, "-m", f"training.{name}", *rest, "--out", str(out)]


def main() -> None:
    """Runs every stage that has not left its file yet."""
    parser = ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("what", choices=("all",))
    parser.add_argument("--out", type=Path, default=Path("training/out"))
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    for stage, result in STAGES:
        if not (given.out / result).exists():
            print(f"== {stage}", flush=True)
            subprocess.run(command(stage, given.out, given.processes), check=True)
    print("all done; now: python -m training.evaluate --files", given.out / "export")


if __name__ == "__main__":
    main()
