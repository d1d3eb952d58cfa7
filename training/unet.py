"""Stage 4, the image UNet: denoising latents towards their captions (Stable Diffusion, arXiv:2112.10752)."""

import torch
from safetensors.torch import load_file
from torch import Tensor

from training.latents import examples
from training.loop import Draw, options, train
from training.noising import UNCONDITIONAL, Diffusion, conditions
from training.parts import Captions, load_text, new_unet, save


def main() -> None:
    """Trains ``unet.safetensors``."""
    plan, given = options("Trains the image UNet.", minutes=60, rate=2e-3, batch=16, keep=0.999)
    unet, text, captions, diffusion = new_unet(), load_text(plan.out), Captions(), Diffusion()
    if given.init:
        unet.load_state_dict(load_file(given.init))
    unet.to(memory_format=torch.channels_last)  # a quarter faster on CPUs
    latents, shown = examples(plan.out, "stills")

    def loss(draw: Draw) -> Tensor:
        chosen = draw.integers(0, len(shown), plan.batch)
        clean = latents[chosen].float()
        encoding = conditions(text, captions, [shown[i] for i in chosen], draw, dropped=UNCONDITIONAL)
        timesteps, noise = draw.timesteps(plan.batch), draw.normal_like(clean)
        predicted = unet(diffusion.noised(clean, noise, timesteps), timesteps, encoding, return_dict=False)[0]
        return diffusion.loss(predicted, noise, timesteps)

    train("unet", dict(unet.named_parameters()), loss, plan)
    save(unet, plan.out / "unet.safetensors")


if __name__ == "__main__":
    main()
