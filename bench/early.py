"""What `windows.early` saves and what it costs: a film of the embedded model, 64x64, four steps, windows 16/4.

    python bench/early.py [--frames 256]

By the number of early steps: calls of the UNet, seconds of processor time, PSNR against the film of none (dB), and the
greatest change from one frame to the next over the median one, which a visible seam raises. Last comes a line of JSON.
"""

import argparse
import json
import time

import numpy as np

import lcm_video as lv
from lcm_video.plan import plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=256)
    options = parser.parse_args()
    travel = ["prompts.0=a red circle, blue background", "prompts.-1=a yellow star, purple background"]
    size = [f"video.frames={options.frames}", "video.width=64", "video.height=64"]
    pipeline, rows, exact = None, [], None
    for early in range(5):
        board = lv.load("embedded", [*travel, *size, f"windows.early={early}"])
        if pipeline is None:
            pipeline = lv.Pipeline.load(board.model, board.runtime)
            next(iter(pipeline.frames(board)))  # not counted: kernels are fitted at the first call
        cpu = time.process_time()
        film = np.stack([*pipeline.frames(board)]).astype(float)
        cpu = time.process_time() - cpu
        exact = film if exact is None else exact
        error = float(np.square(film - exact).mean())
        changes = np.sqrt(np.square(np.diff(film, axis=0)).mean((1, 2, 3)))
        rows.append(
            {
                "early": early,
                "calls": sum(shot.calls() for shot in plan(board).shots),
                "cpu_s": round(cpu, 2),
                "psnr_db": round(10 * np.log10(255**2 / error), 1) if error else None,
                "greatest_change": round(float(changes.max() / np.median(changes)), 2),
            }
        )
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    print(json.dumps({"bench": "early", **vars(options), "rows": rows}))


if __name__ == "__main__":
    main()
