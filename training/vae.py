"""Stage 1, the VAE: pictures to latents an eighth as wide, and back (latent diffusion, arXiv:2112.10752).

Two tricks make it learn on a CPU in minutes: crops that grow from 32 to 128 pixels, and the first three latent channels
pinned to the picture's own colours, averaged, until the rest has found its place.
"""

from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from training.drawing import FRAMES, draw
from training.loop import DEVICE, Draw, options, train
from training.parts import load_vae, new_vae, save
from training.world import things

CROPS = ((0.5, 32, 16), (0.9, 64, 6), (1.0, 128, 2))
"""Up to which share of the training: pixels of a crop's side, and crops of a step."""
PINNED = 0.6
"""Share of the training after which latents are no longer pinned."""
POOL = 512
"""Pictures drawn ahead; a few are drawn anew now and then."""


def main() -> None:
    """Trains ``vae.safetensors``; ``--init`` goes on from other weights, without pinning and with large crops."""
    plan, given = options("Trains the VAE.", minutes=6, rate=3e-3, keep=0.998, batch=16)
    vae = new_vae()
    if given.init:
        vae.load_state_dict(load_file(given.init))
    pool: list[Tensor] = []
    done = 0.9 if given.init else 0.0

    def loss(draw_: Draw) -> Tensor:
        if not pool or draw_.step % 20 == 0:
            pool[:] = [*pool[16:], *pictures(draw_, 16 if pool else POOL)]
        # A stage that is measured in minutes goes by steps here, too: about 4 are done in a second.
        share = done + (1 - done) * min(draw_.step / (plan.steps or plan.minutes * 240), 1.0)
        side, count = next((side, count) for end, side, count in CROPS if share <= end)
        crops = torch.stack([crop(draw_.random.choice(pool), side, draw_) for _ in range(min(count, plan.batch))]).to(
            DEVICE
        )
        posterior = vae.encode(crops).latent_dist
        latents = posterior.mean + posterior.std * draw_.normal_like(posterior.mean)
        total = drawn(vae.decode(latents).sample, crops) + 1e-3 * posterior.kl().mean() / latents[0].numel()
        if share < PINNED:
            off = (posterior.mean[:, :3] - 1.5 * F.avg_pool2d(crops, 8)).square().mean()
            total = total + 2 * (1 - share / PINNED) * off
        return total

    train("vae", dict(vae.named_parameters()), loss, plan)
    save(vae, plan.out / "vae.safetensors")
    print(f"PSNR {psnr(plan.out):.1f} dB, latents' standard deviation times scaling_factor {deviation(plan.out):.2f}")


def pictures(draw_: Draw, count: int) -> Tensor:
    """Random pictures of the whole world."""
    shown = things(count, draw_.random, wide=0.3)
    return draw(shown, torch.tensor([draw_.random.random() * (FRAMES - 1) for _ in shown]))


def crop(picture: Tensor, side: int, draw_: Draw) -> Tensor:
    """A square of ``picture``."""
    top, left = (draw_.random.randint(0, length - side) for length in picture.shape[1:])
    return picture[:, top : top + side, left : left + side]


def drawn(made: Tensor, wanted: Tensor) -> Tensor:
    """How far ``made`` is from ``wanted``, edges counted extra."""
    edges = sum((made.diff(dim=axis) - wanted.diff(dim=axis)).abs().mean() for axis in (-1, -2))
    return 0.5 * (made - wanted).abs().mean() + 2 * (made - wanted).square().mean() + 0.5 * edges


@torch.no_grad()
def psnr(out: Path) -> float:
    """Peak signal-to-noise ratio of 64 fresh pictures after the round trip, in decibels."""
    vae, wanted = load_vae(out), fresh()
    made = vae.decode(vae.encode(wanted).latent_dist.mean).sample.clamp(-1, 1)
    return float((10 * torch.log10(4 / (made - wanted).square().mean((1, 2, 3)))).mean())


@torch.no_grad()
def deviation(out: Path) -> float:
    """Standard deviation of latents as the UNet gets them: ``scaling_factor`` is to make it 1."""
    vae = load_vae(out)
    return float(vae.encode(fresh()).latent_dist.mean.std()) * vae.config["scaling_factor"]


def fresh() -> Tensor:
    """64 pictures that training has not seen."""
    shown = things(64, Random("fresh"), low=0.0)
    return draw(shown, torch.full((64,), 7.0)).to(DEVICE)


if __name__ == "__main__":
    main()
