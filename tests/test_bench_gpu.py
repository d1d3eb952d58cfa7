"""bench/gpu.py: runs to its line of JSON where there is no GPU, so that it will where there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--no-compiled-peer",)])
def test_the_gpu_benchmark_runs_everywhere(more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "gpu.py", *more], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["device"] == "cpu: a smoke run, no measurement"
    assert told["difference"] < 1e-5, "both draw the same"
    assert set(told["sides"]) == {"ours", "diffusers", *(() if more else ["diffusers_compiled"])}
    assert told["sides"]["ours"]["ratio"] == 1
    assert all(side["wall_s"] > 0 and side["share"] > 0 for side in told["sides"].values())
    assert told["tflop"] > 0.001
