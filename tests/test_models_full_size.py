"""Models at the sizes that people have: how long loading takes, and how much memory; each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import make

pytestmark = pytest.mark.slow

GB = 1e9
MEASURED = """
import json, os, resource, sys, time
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
torch.set_num_threads(1)
from lcm_video.models import Model, Runtime, load, loading
from lcm_video.pipeline import Pipeline
from lcm_video.samplers import Sampling
from lcm_video.storyboard import Storyboard, Video
from lcm_video.timeline import Keyframe

def private():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

model, runtime = Model(**json.loads(sys.argv[1])), Runtime(device="cpu", dtype=sys.argv[2])
before, since = private(), time.perf_counter()
{body}
facts["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(facts))
"""
LOADING = """
parts = load(model, runtime)
facts = {"seconds": time.perf_counter() - since, "private": private() - before, "dtype": str(parts.unet.model.dtype)}
facts["weights"] = sum(weight.numel() for weight in parts.unet.model.parameters())
"""
RENDERING = """
pipeline = Pipeline.load(model, runtime)
board = Storyboard(
    prompts={"0": Keyframe("a fox in spring"), "-1": Keyframe("a fox in winter")},
    video=Video(frames=8, width=128, height=128), model=model, runtime=runtime, sampling=Sampling(steps=4),
)
frames = list(pipeline.frames(board))
facts = {"frames": [frame.shape for frame in frames], "seconds": time.perf_counter() - since}
facts["spread"] = float(frames[0].std())
"""


def measured(body, dtype, **model):
    """What a process that did only this says of itself."""
    script = MEASURED.replace("{body}", body)
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(model), dtype], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    print(facts)
    return facts


def test_sd15_in_half_precision_loads_at_once_and_is_not_copied(tmp_path):
    name = "checkpoints/dreamshaper_8.safetensors"
    path = make(tmp_path, width="full", fill="sparse", only=[name]) / name
    facts = measured(LOADING, "float16", checkpoint=str(path))
    assert (facts["weights"], facts["dtype"]) == (859_520_964, "torch.float16")
    assert facts["seconds"] < 3 * 3, "3 s on two cores that have nothing else to do"
    assert facts["private"] < 0.5 * GB


def test_sdxl_in_half_precision_loads_within_9_gb(tmp_path):
    name = "checkpoints/sd_xl_base_1.0.safetensors"
    path = make(tmp_path, width="full", fill="sparse", only=[name]) / name
    facts = measured(LOADING, "float16", checkpoint=str(path))
    assert facts["weights"] == 2_567_463_684
    assert facts["peak"] < 9 * GB
    assert facts["private"] < 1 * GB, "the VAE alone is copied, into float32"


def test_sd15_with_a_motion_module_renders_within_6_gb(tmp_path):
    names = ["checkpoints/dreamshaper_8.safetensors", "motion/mm_sd_v15_v2.ckpt"]
    folder = make(tmp_path, width="full", fill="random", only=names)
    facts = measured(RENDERING, "bfloat16", checkpoint=str(folder / names[0]), motion=str(folder / names[1]))
    assert facts["frames"] == [[128, 128, 3]] * 8
    assert facts["spread"] > 1
    assert facts["peak"] < 6 * GB
