"""The world, encoded once: pictures and clips as latents in float16, in files that the later stages read."""

from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from training.drawing import FRAMES, clips, draw
from training.loop import DEVICE, begin
from training.parts import load_vae
from training.world import Thing, things


class Examples(NamedTuple):
    """What to train on: latents of unit variance, pictures (n, 4, h, w) or clips (n, 16, 4, h, w), and their things."""

    latents: Tensor
    things: list[Thing]


@torch.no_grad()
def encoded(vae, pictures: Tensor) -> Tensor:
    """Mean latents of unit variance, in float16."""
    with torch.autocast("cpu", torch.bfloat16):
        mean = vae.encode(pictures.to(memory_format=torch.channels_last), return_dict=False)[0].mean
    return (mean.float() * vae.config["scaling_factor"]).half()


def make(kind: str, path: Path, *, count: int, seed: int, wide: float, low: float, out: Path) -> None:
    """Writes ``count`` examples to ``path``; those of a kind and seed are always the same."""
    vae, random = load_vae(out).to(memory_format=torch.channels_last), Random(f"{kind} {seed}")
    latents, shown = [], []
    while len(shown) < count:
        batch = things(64 if kind == "stills" else 4, random, wide=wide, low=low)
        if kind == "stills":
            time = torch.tensor([random.random() * (FRAMES - 1) for _ in batch])
            latents.append(encoded(vae, draw(batch, time)))
        else:
            latents.append(encoded(vae, clips(batch).flatten(0, 1)).unflatten(0, (-1, FRAMES)))
        shown += [asdict(thing) for thing in batch]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"latents": torch.cat(latents), "things": shown}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def examples(out: Path, kind: str) -> Examples:
    """All examples of a kind that were made."""
    files = [
        torch.load(path, weights_only=True, map_location=DEVICE)
        for path in sorted((out / "latents").glob(f"{kind}-*.pt"))
    ]
    return Examples(
        torch.cat([file["latents"] for file in files]), [Thing(**thing) for file in files for thing in file["things"]]
    )


def main() -> None:
    """Makes one file of examples, unless it is there."""
    parser = ArgumentParser(description="Draws and encodes examples.")
    parser.add_argument("kind", choices=("stills", "clips"))
    parser.add_argument("--out", type=Path, default=Path("training/out"))
    parser.add_argument("--count", type=int, default=6400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wide", type=float, default=0.35, help="share before a scene: night, ocean, stripes")
    parser.add_argument("--low", type=float, help="share drawn badly; of clips, none")
    given = parser.parse_args()
    begin()
    low = given.low if given.low is not None else {"stills": 0.15, "clips": 0.0}[given.kind]
    path = given.out / "latents" / f"{given.kind}-{given.seed}.pt"
    if not path.exists():
        make(given.kind, path, count=given.count, seed=given.seed, wide=given.wide, low=low, out=given.out)


if __name__ == "__main__":
    main()
