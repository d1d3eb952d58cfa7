"""Long films: memory and time per frame of a short and a long film of the embedded model, 64x64, four steps.

    python bench/long.py [--short 400] [--long 4000] [--threads 1] [--kernels auto] [--write]

Each film is drawn by a process of its own, through `Pipeline.frames`, with windows of 16 frames that overlap by 4; with
``--write`` it is encoded to an MP4 as well. Peaks are of resident memory, as the operating system counts it. ``cpu`` is
the processor time of all threads, which says more than ``wall`` where the machine is shared. The model's loading is not
timed. ``flat`` is the long film's peak over the short one's, ``growth`` in MB a frame. Last comes one line of JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figures:
    """What one film took: peaks in MB, times in milliseconds a frame."""

    frames: int
    loaded_mb: float
    peak_mb: float
    cpu_ms: float
    wall_ms: float


def peak() -> float:
    """The most resident memory that this process has had, in MB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def draw(frames: int, *, threads: int, kernels: str, write: bool) -> Figures:
    """Draws one film in this process."""
    import torch

    import lcm_video as lv

    torch.set_num_threads(threads)
    overrides = ["prompts.0=a red circle, blue background", "prompts.-1=a yellow star, purple background"]
    size = [f"video.frames={frames}", "video.width=64", "video.height=64", "windows.length=16", "windows.overlap=4"]
    board = lv.load("embedded", [*overrides, *size, f"runtime.kernels={kernels}"])
    pipeline = lv.Pipeline.load(board.model, board.runtime)
    loaded, cpu, wall = peak(), time.process_time(), time.perf_counter()
    if write:
        with tempfile.TemporaryDirectory() as folder:
            output = lv.Output(str(Path(folder) / "film.mp4"))
            lv.write(pipeline.frames(board), output, fps=board.video.fps, frames_expected=frames)
    else:
        assert sum(1 for _ in pipeline.frames(board)) == frames
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Figures(
        frames, round(loaded, 1), round(peak(), 1), round(1e3 * cpu / frames, 2), round(1e3 * wall / frames, 2)
    )


def apart(frames: int, *, threads: int, kernels: str, write: bool) -> Figures:
    """Draws one film in a process of its own."""
    options = ["--only", str(frames), "--threads", str(threads), "--kernels", kernels, *["--write"] * write]
    command = [sys.executable, __file__, *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def compared(short: Figures, long: Figures) -> dict[str, float]:
    """The long film beside the short one."""
    return {
        "flat": round(long.peak_mb / short.peak_mb, 4),
        "growth_mb_per_frame": round((long.peak_mb - short.peak_mb) / (long.frames - short.frames), 5),
        "cpu_ratio": round(long.cpu_ms / short.cpu_ms, 4),
        "wall_ratio": round(long.wall_ms / short.wall_ms, 4),
    }


def main() -> None:
    """Runs the benchmark, or with ``--only`` one film of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, default=400, help="frames of the short film")
    parser.add_argument("--long", type=int, default=4000, help="frames of the long film")
    parser.add_argument("--threads", type=int, default=1, help="threads that torch computes with")
    parser.add_argument("--kernels", default="auto", help="as in the storyboard: runtime.kernels")
    parser.add_argument("--write", action="store_true", help="encode the films, too")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    how = {"threads": given.threads, "kernels": given.kernels, "write": given.write}
    if given.only:
        print(json.dumps(asdict(draw(given.only, **how))))
        return
    short, long = apart(given.short, **how), apart(given.long, **how)
    for film in (short, long):
        times = f"{film.cpu_ms:.1f} ms cpu and {film.wall_ms:.1f} ms a frame"
        print(f"{film.frames:6} frames: peak {film.peak_mb:.0f} MB, {times}")
    print(json.dumps({"bench": "long", **how, "short": asdict(short), "long": asdict(long), **compared(short, long)}))


if __name__ == "__main__":
    main()
