"""How long lcm-video takes to begin: each command in a process of its own, beside importing what diffusers would need.

    python bench/start.py                  # medians of 5 rounds
    python bench/start.py --rounds 3 help plan first_step

Every row is the whole process, from its start to its end, so each contains those above it. Times are of the wall, and
of the processor (all threads), which tells more where a machine is shared. The embedded model at 64x64; warm, because
one round before is not counted. The last line is JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time

BOARD = ["prompts=a red circle", "video.frames=16", "video.width=64", "video.height=64"]
CLI = "import sys; from lcm_video.cli import main; sys.argv[:] = {}; main()"
LOADED = f"""
import torch
from lcm_video.reader import load
from lcm_video.pipeline import Pipeline
board = load("embedded", {BOARD})
pipeline = Pipeline.load(board.model, board.runtime)
"""

ROWS = {
    "python": "pass",
    "help": CLI.format(["lcm-video", "--help"]),
    "check": CLI.format(["lcm-video", "check", "embedded", *BOARD]),
    "plan": CLI.format(["lcm-video", "plan", "embedded", *BOARD]),
    "torch": "import torch",
    "import": "import lcm_video.pipeline; from lcm_video.models import lean; lean.load_diffusers()",
    "load": LOADED,
    "first_step": LOADED + "next(iter(pipeline.steps(board)))",
    "first_frame": LOADED + "next(iter(pipeline.frames(board)))",
    "peer_import": (
        "from diffusers import AnimateDiffPipeline, LCMScheduler, MotionAdapter\n"
        "from transformers import CLIPTextModel, CLIPTokenizer"
    ),
}
"""What is run, by the name of its row; ``peer_import`` is only what diffusers' own pipeline has to import."""

# As an installed package is: compiled once, not at every start. And the peer has much to say of optional packages.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["TRANSFORMERS_VERBOSITY"] = "error"


def main() -> None:
    """Runs every row in turn, round after round, and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="row", help=f"which of: {', '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run")
    options = parser.parse_args()
    if unknown := {*options.rows} - {*ROWS}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    names = [name for name in ROWS if not options.rows or name in options.rows]
    found = {name: [] for name in names}
    for count in range(options.rounds + 1):
        for name in names:
            measured = run(ROWS[name])
            if count:
                found[name].append(measured)
    result = {}
    print(f"{'':12} {'wall s':>8} {'cpu s':>8}   range of wall")
    for name, rounds in found.items():
        walls, cpus = zip(*rounds, strict=True)
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        result[name] = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
        print(f"{name:12} {wall:8.3f} {cpu:8.3f}   {min(walls):.3f} to {max(walls):.3f}")
    facts = {"rounds": options.rounds, "load_average": round(os.getloadavg()[0], 2)}
    print(json.dumps({"bench": "start", **facts, **result}))


def run(code: str) -> tuple[float, float]:
    """The seconds that a Python process with this code takes, of the wall and of the processor."""
    began = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", code],
        ENVIRONMENT,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"a row failed (status {status}); run it alone:\n{code}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
