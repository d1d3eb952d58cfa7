"""The training loop that all stages share: seeded, resumable after a kill, on one process or several.

Every step draws from generators made of seed, process and step, so that a resumed run goes on exactly as if it had
never stopped. Several processes (``torchrun --nproc-per-node 2 -m training.unet``) average their gradients.
"""

import math
import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

SAVE_EVERY = 45.0
"""Seconds between two states on disk."""
RANK, PROCESSES = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
DEVICE = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")
"""Where stages compute. Chance is drawn on the CPU everywhere, so that a GPU sees the same examples and noise."""


@dataclass(frozen=True)
class Draw:
    """The chance of one step of one process."""

    step: int
    random: Random
    noise: torch.Generator

    def normal_like(self, like: Tensor) -> Tensor:
        """Unit Gaussian noise of the shape of ``like``."""
        return torch.randn(like.shape, generator=self.noise, device="cpu").to(like.device)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        """``count`` whole numbers from ``low`` up to, without, ``high``."""
        return torch.randint(low, high, (count,), generator=self.noise, device="cpu").to(DEVICE)

    def uniform(self, count: int) -> Tensor:
        """``count`` numbers from 0 to 1."""
        return torch.rand(count, generator=self.noise, device="cpu").to(DEVICE)

    def timesteps(self, count: int, *, power: float = 1.0) -> Tensor:
        """``count`` timesteps, one from each of ``count`` equal shares of 0..999, so that a batch has all levels alike.

        A ``power`` below 1 draws more of the noisy ones.
        """
        order = torch.randperm(count, generator=self.noise, device="cpu").to(DEVICE)
        shares = (order + self.uniform(count)) / count
        return (shares**power * 1000).long().clamp(max=999)


@dataclass(frozen=True)
class Plan:
    """How long a stage trains and how fast.

    steps: optimizer steps; or, if 0, ``minutes`` of computing, counted over all resumed runs.
    rate: AdamW's learning rate at its highest; it rises over the first 3 % and falls over the last 30 %.
    keep: how much of the moving average of the weights stays at each step.
    batch: examples of one step of one process.
    """

    out: Path
    steps: int = 0
    minutes: float = 0.0
    rate: float = 1e-3
    keep: float = 0.999
    batch: int = 16
    decay: float = 1e-3
    seed: int = 0

    def share(self, step: int, seconds: float) -> float:
        """How much of the training is done, 0 to 1."""
        return step / self.steps if self.steps else seconds / (60 * self.minutes)

    def rate_at(self, share: float) -> float:
        """The learning rate: up, level, down."""
        return self.rate * min(1.0, max(share, 1e-3) / 0.03, 0.03 + max(1 - share, 0.0) / 0.3)


Loss = Callable[[Draw], Tensor]


def train(name: str, weights: Mapping[str, nn.Parameter], loss: Loss, plan: Plan) -> None:
    """Trains ``weights`` until ``plan`` is done, and leaves them at their moving average.

    The state is in ``<out>/<name>.state``; one that is there already is gone on from.
    """
    optimizer = torch.optim.AdamW(weights.values(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=plan.decay)
    path = plan.out / f"{name}.state"
    state = resumed(path, weights, optimizer)
    step, spent, average = state["step"], state["seconds"], state["average"]
    began = saved = time.monotonic()
    losses: list[float] = []
    while True:
        seconds = spent + time.monotonic() - began
        share = agreed(plan.share(step, seconds))
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(share)
        losses.append(update(weights, loss(drawing(plan.seed, step)), optimizer))
        step += 1
        keep = min(plan.keep, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [weight.detach() for weight in weights.values()], 1 - keep)
        if step % 50 == 0:
            report(name, step, seconds, losses)
        if time.monotonic() - saved > SAVE_EVERY:
            store(path, weights, optimizer, step=step, seconds=seconds, average=average)
            saved = time.monotonic()
    store(path, weights, optimizer, step=step, seconds=seconds, average=average)
    put(weights, average)


def drawing(seed: int, step: int) -> Draw:
    """The generators of one step of this process."""
    random = Random(f"{seed} {RANK} {step}")
    return Draw(step, random, torch.Generator().manual_seed(random.getrandbits(62)))


def update(weights: Mapping[str, nn.Parameter], loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """One step down the gradient, averaged over processes and clipped to norm 1."""
    optimizer.zero_grad()
    loss.backward()
    if PROCESSES > 1:
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights.values()]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = (flat / PROCESSES).split([gradient.numel() for gradient in gradients])
        for weight, piece in zip(weights.values(), pieces, strict=True):
            weight.grad = piece.view_as(weight)
    nn.utils.clip_grad_norm_(weights.values(), 1.0)
    optimizer.step()
    return float(loss.detach())


def resumed(path: Path, weights: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state in ``path``, put in place; or that of the very beginning."""
    if not path.exists():
        if PROCESSES > 1:
            for weight in weights.values():
                dist.broadcast(weight.data, 0)
        average = {key: weight.detach().clone() for key, weight in weights.items()}
        return {"step": 0, "seconds": 0.0, "average": average}
    state = torch.load(path, weights_only=True, map_location=DEVICE)
    put(weights, state["weights"])
    optimizer.load_state_dict(state["optimizer"])
    return state


def store(path: Path, weights: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, **more: Any) -> None:
    """Writes everything that going on needs; a kill while writing leaves the state before."""
    if RANK == 0:
        state = {"weights": {k: w.detach() for k, w in weights.items()}, "optimizer": optimizer.state_dict(), **more}
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)


@torch.no_grad()
def put(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copies ``values`` into ``weights``."""
    for key, weight in weights.items():
        weight.copy_(values[key])


def agreed(share: float) -> float:
    """The first process's clock counts for all."""
    if PROCESSES == 1:
        return share
    told = torch.tensor(share, dtype=torch.float64)
    dist.broadcast(told, 0)
    return float(told)


def report(name: str, step: int, seconds: float, losses: list[float]) -> None:
    """Prints how training goes."""
    if RANK == 0:
        mean = math.fsum(losses) / len(losses)
        print(f"{time.strftime('%H:%M:%S')} {name} step {step} {seconds:.0f} s loss {mean:.4f}", flush=True)
    losses.clear()


def options(about: str, **defaults: Any) -> tuple[Plan, Namespace]:
    """The command line of a stage: its plan, and whatever else was given."""
    parser = ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=Path("training/out"))
    parser.add_argument("--init", type=Path, help="weights to start from, instead of random ones")
    for name in ("steps", "minutes", "rate", "keep", "batch", "seed"):
        kind = int if name in ("steps", "batch", "seed") else float
        parser.add_argument(f"--{name}", type=kind, default=defaults.get(name, getattr(Plan, name, None)))
    given = parser.parse_args()
    fields = {name: getattr(given, name) for name in ("out", "steps", "minutes", "rate", "keep", "batch", "seed")}
    begin()
    torch.set_default_device(DEVICE)
    return Plan(**fields), given


def begin() -> None:
    """One thread for each process: on few cores that is faster than several; and the processes find each other."""
    torch.set_num_threads(1)
    if PROCESSES > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    torch.manual_seed(0)
