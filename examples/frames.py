"""Frames as they are drawn: watch the steps, stop early, add a stage of your own, write the file yourself.

python examples/frames.py
"""

from dataclasses import replace
from fractions import Fraction

import numpy as np

import lcm_video as lv


def faded_in(frames, count):
    """Frames that rise from black over the first ``count``: a stage is any generator."""
    for number, frame in enumerate(frames):
        yield (frame * min(1, (number + 1) / count)).astype(np.uint8)


board = lv.load("embedded", ["prompts={0: a large red circle on a blue background, 7: a large green circle}"])
pipeline = lv.Pipeline.load(board.model)

for step in pipeline.steps(board):
    (preview,) = lv.decode(pipeline.vae, step.denoised[:1])
    print(
        f"step {step.index}, timestep {step.timestep:g}: the first frame is {preview.mean(axis=(0, 1)).round()} so far"
    )

quick = replace(board, sampling=replace(board.sampling, steps=2))
frames = faded_in(pipeline.frames(quick), count=4)
print(*lv.write(frames, lv.Output("out/frames.gif"), fps=Fraction(8)))
