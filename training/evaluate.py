"""How good the exported model is, by measures that need no training: ``python -m training.evaluate [--json FILE]``.

Everything is rendered by lcm-video from the exported files, from seeds that training never saw. The last line is one
JSON object; the keys of the ship gates come first, then every row.
"""

import json
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from lcm_video.samplers import Sampling
from training import renders
from training.drawing import FRAMES, clips, draw
from training.export import LCM, MOTION, NEGATIVE
from training.loop import begin
from training.measures import flicker, overlaps, rank_correlation, seen, way
from training.pictures import sheet
from training.scores import MEASURED, Row, gains, scene_of, scored
from training.world import COLOURS, SCENES, SHAPES, SIZES, Thing, joined

GUIDANCE = 7.5
"""Classifier-free guidance of the base: Stable Diffusion's usual."""
MILD = 4.0
"""Guidance at which this base draws better in few steps."""
WAYS = ("left", "right", "up", "down")
STRANGE = ("cinematic lighting", "in the style of an old master", "35mm, bokeh, 8k", "trending, by a river in Lisbon")
"""What people write that this model has never heard: it should change next to nothing."""
LCM4 = Sampling(sampler="lcm", steps=4, guidance=1, seed=1)
TRAVELS = (
    (("red", "circle"), ("blue", "square"), "white"),
    (("yellow", "star"), ("purple", "heart"), "black"),
    (("green", "triangle"), ("orange", "circle"), "white"),
    (("blue", "cross"), ("yellow", "star"), "black"),
)
"""What turns into what, before which background."""
ENDS = 3
"""Frames at each end of a travel that must show the shape they are asked for: most of them."""

SHEETS = {"still_rows": 12, "motion_rows": FRAMES, "travel_rows": FRAMES}
"""Columns of the contact sheet of each measurement."""


def asked(count: int, *, seed: int, moving: bool = False) -> list[Thing]:
    """Plain things to ask for, every shape, size and way equally often."""
    random, found = Random(f"evaluate {seed}"), []
    for index in range(count):
        colour, background = random.sample(list(COLOURS), 2)
        motion = WAYS[index % 4] if moving else "still"
        shape = SHAPES[(index // 4 if moving else index) % len(SHAPES)]
        size = SIZES[index // len(SHAPES) % 2]
        found.append(Thing(shape, colour, background, size, motion, seed=10**9 + seed + index))
    return found


def prompt(thing: Thing) -> str:
    """A plain sentence for a thing."""
    size = thing.size if thing.size == "large" else ""
    motion = "" if thing.motion == "still" else f"moving {thing.motion}"
    behind = {
        "plain": f" on {joined('a', thing.background)} background",
        "stripes": f" on a {thing.background} striped background",
        "night": ", starry night sky",
        "ocean": ", ocean waves",
    }
    return joined("a", size, thing.colour, thing.shape, motion) + behind[thing.scene]


def still_rows(folder: Path, count: int) -> tuple[dict[str, Row], Tensor]:
    """The rows without motion, and the pictures of the LCM-LoRA at four steps."""
    wanted = asked(count, seed=0)
    prompts = [prompt(thing) for thing in wanted]
    base = renders.load(folder)
    real = draw(wanted, torch.zeros(count))
    rows = {"vae": scored(base.vae.decode(base.vae.encode(real)).clamp(-1, 1), wanted)}
    for steps, guidance in ((4, GUIDANCE), (8, GUIDANCE), (25, GUIDANCE), (4, MILD), (25, MILD)):
        name = f"base{steps}" if guidance == GUIDANCE else f"base{steps}_mild"
        sampling = Sampling(sampler="ddim", steps=steps, guidance=guidance, seed=1, timesteps="trailing")
        rows[name] = say(name, scored(renders.stills(base, prompts, sampling), wanted))
    if (folder / LCM).exists():
        fast = renders.load(folder, lcm=True)
        for steps in (1, 2, 8, 4):
            pictures = renders.stills(fast, prompts, Sampling(sampler="lcm", steps=steps, guidance=1, seed=1))
            rows[f"lcm{steps}"] = say(f"lcm{steps}", scored(pictures, wanted))
        strange = [f"{text}, {words}" for text, words in zip(prompts, cycle(STRANGE), strict=False)]
        rows["lcm4_strange_words"] = say("lcm4_strange_words", scored(renders.stills(fast, strange, LCM4), wanted))
        before = placed(wanted)
        shown = renders.stills(fast, [prompt(thing) for thing in before], LCM4)
        rows["lcm4_scenes"] = say("lcm4_scenes", scenes(shown, before))
    if (folder / NEGATIVE).exists():
        rows |= negative_rows(folder, wanted)
    return rows, pictures


def negative_rows(folder: Path, wanted: Sequence[Thing]) -> dict[str, Row]:
    """What the negative embedding does at guidance 2: to plain prompts, and to such as ask for something bad."""
    pipeline, rows = renders.load(folder, negative=True), {}
    sampling = Sampling(sampler="ddim", steps=8, guidance=2, seed=1, timesteps="trailing")
    for name, ending in {"negative": "", "negative_of_bad": ", low quality"}.items():
        prompts = [prompt(thing) + ending for thing in wanted]
        without, with_it = (renders.stills(pipeline, prompts, sampling, negative=text) for text in ("", NEGATIVE.stem))
        rows[f"{name}_without"] = say(f"{name}_without", scored(without, wanted))
        rows[f"{name}_with"] = say(f"{name}_with", scored(with_it, wanted))
        rows[f"{name}_gains"] = say(f"{name}_gains", gains(without, with_it, wanted))
    return rows


def placed(wanted: Sequence[Thing]) -> list[Thing]:
    """The things, one after the other before each scene that is not plain."""
    return [replace(thing, scene=scene) for thing, scene in zip(wanted, cycle(SCENES[1:]), strict=False)]


def scenes(pictures: Tensor, wanted: Sequence[Thing]) -> Row:
    """How often the scene behind is the one asked for."""
    right = [scene_of(picture, thing) == thing.scene for picture, thing in zip(pictures, wanted, strict=True)]
    by_scene = {s: [ok for ok, thing in zip(right, wanted, strict=True) if thing.scene == s] for s in SCENES[1:]}
    return {"n": len(wanted), "scene": fmean(right), "by_scene": {scene: fmean(own) for scene, own in by_scene.items()}}


def motion_rows(folder: Path, count: int) -> tuple[dict[str, Row], Tensor]:
    """Direction and flicker, with and without the motion module, and of real clips; and the clips with it."""
    wanted = asked(count, seed=1, moving=True)
    scripts, seeds = [{"0": prompt(thing)} for thing in wanted], [100 + index for index in range(count)]
    base = renders.load(folder)
    rows = {}
    real = [through(base.vae, clips([thing])[0]) for thing in wanted[: min(count, 48)]]
    rows["real_clips"] = say("real_clips", moved(real, wanted[: len(real)]))
    shown = torch.zeros(0)
    for name, motion in (("without_motion", False), ("with_motion", True)):
        shown = renders.clips(renders.load(folder, lcm=True, motion=motion), scripts, seeds)
        rows[name] = say(name, moved(list(shown), wanted))
    return rows, filmstrips(shown[:12])


def filmstrips(shown: Tensor) -> Tensor:
    """The frames of clips, a clip a row, at half the size."""
    return shown.flatten(0, 1)[..., ::2, ::2]


def through(vae: Any, frames: Tensor) -> Tensor:
    """Frames as the VAE shows them, so that flicker is compared of like with like."""
    return vae.decode(vae.encode(frames)).clamp(-1, 1)


def moved(shown: Sequence[Tensor], wanted: Sequence[Thing]) -> Row:
    """Direction, flicker, and how well the middle frame is drawn."""
    right = [way(clip) == thing.motion for clip, thing in zip(shown, wanted, strict=True)]
    ways = {w: fmean(ok for ok, thing in zip(right, wanted, strict=True) if thing.motion == w) for w in WAYS}
    middle = scored(torch.stack([clip[FRAMES // 2] for clip in shown]), wanted)
    return {"direction": fmean(right), "by_way": ways, "flicker": fmean(map(flicker, shown))} | {
        key: middle[key] for key in ("n", "background", "colour", "shape", "iou")
    }


def travel_rows(folder: Path, seeds: int) -> tuple[dict[str, Row], Tensor]:
    """Prompts that turn into others: does the colour go all the way in order, and are the ends what they should be?"""
    pipeline = renders.load(folder, lcm=True, motion=True)
    rows, shown = {}, []
    for start, end, background in TRAVELS:
        texts = [f"a large {colour} {shape} on a {background} background" for colour, shape in (start, end)]
        script = {"0": texts[0], "-1": texts[1]}
        made = renders.clips(pipeline, [script] * seeds, [500 + seed for seed in range(seeds)])
        name = f"travel {' '.join(start)} to {' '.join(end)}"
        rows[name] = say(name, travelled(made, start, end))
        shown.append(made[0])
    return rows, filmstrips(torch.stack(shown))


def travelled(made: Tensor, start: tuple[str, str], end: tuple[str, str]) -> Row:
    """Rank correlation of colour with time, and how often the shapes at the ends are right."""
    from_, to = (torch.tensor(COLOURS[colour]) for colour, _ in (start, end))
    correlations, first, last = [], [], []
    for clip in made:
        views = [seen(frame) for frame in clip]
        along = [float((view.rgb - from_) @ (to - from_)) for view in views]
        correlations.append(rank_correlation(along))
        names = [max(found, key=found.__getitem__) for found in map(overlaps, views)]
        first.append(names[:ENDS].count(start[1]) > ENDS / 2)
        last.append(names[-ENDS:].count(end[1]) > ENDS / 2)
    row = {"n": len(made), "travel_colour": fmean(correlations), "first_shape": fmean(first), "last_shape": fmean(last)}
    return row | {"flicker": fmean(map(flicker, made))}


def say(name: str, row: Row) -> Row:
    """``row``, printed on the way."""
    numbers = " ".join(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
    print(f"{time.strftime('%H:%M:%S')} {name:18s} {numbers}", flush=True)
    return row


def summary(rows: Mapping[str, Row]) -> Row:
    """The numbers of the ship gates, as far as there are rows for them."""
    found: Row = {}
    if "lcm4" in rows:
        found |= {key: rows["lcm4"][key] for key in ("background", "colour", "shape")}
        found["shapes_above_80"] = sum(value >= 0.8 for value in rows["lcm4"]["by_shape"].values())
        found["lcm4_iou"] = rows["lcm4"]["iou"]
    found |= {f"base{steps}_iou": rows[f"base{steps}"]["iou"] for steps in (4, 25) if f"base{steps}" in rows}
    if "with_motion" in rows:
        found["direction"] = rows["with_motion"]["direction"]
        found["flicker_ratio"] = rows["with_motion"]["flicker"] / rows["real_clips"]["flicker"]
        found["flicker_to_without"] = rows["with_motion"]["flicker"] / rows["without_motion"]["flicker"]
    if travels := [row for name, row in rows.items() if name.startswith("travel")]:
        found |= {key: fmean(row[key] for row in travels) for key in ("travel_colour", "first_shape", "last_shape")}
    for name in ("negative", "negative_of_bad"):
        if f"{name}_gains" in rows:
            found |= {f"{name}_{key}_gain": rows[f"{name}_gains"][key] for key in MEASURED}
    return found


def main() -> None:
    """Measures the files in ``--files``, which is laid out as the repository is."""
    parser = ArgumentParser(description="Measures the exported model.")
    parser.add_argument("--files", type=Path, default=Path("."))
    parser.add_argument("--count", type=int, default=96, help="pictures, and clips, in each row")
    parser.add_argument("--seeds", type=int, default=8, help="clips of each travel")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write the result, too")
    parser.add_argument("--sheets", type=Path, help="a folder for contact sheets")
    given = parser.parse_args()
    jobs = [(still_rows, given.count)]
    if (given.files / MOTION).exists() and (given.files / LCM).exists():
        jobs += [(motion_rows, given.count), (travel_rows, given.seeds)]
    rows: dict[str, Row] = {}
    with ProcessPoolExecutor(given.processes, get_context("spawn"), initializer=begin) as pool:
        running = [(measure, pool.submit(measure, given.files, count)) for measure, count in jobs]
        for measure, job in running:
            found, pictures = job.result()
            rows |= found
            if given.sheets:
                sheet(pictures, given.sheets / f"{measure.__name__}.png", columns=SHEETS[measure.__name__])
    result = rounded(summary(rows) | {"rows": rows})
    if given.json:
        given.json.write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(json.dumps(result))


def rounded(value: Any) -> Any:
    """``value`` with every number to four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
