"""Stage 6, the LCM-LoRA (arXiv:2311.05556): a low-rank change with which the base draws in four steps.

Consistency distillation: from a noisy latent, one step of DDIM by the base, with guidance, leads to a less noisy one;
the student learns to see the same clean picture from both.
"""

from typing import NamedTuple

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from lcm_video.models.beside import attach
from lcm_video.models.call import Call, calling
from lcm_video.samplers.schedules import DISTILLED
from training.latents import examples
from training.loop import Draw, options, train
from training.lora import kohya, new_lora, parameters
from training.noising import Diffusion, conditions
from training.parts import Captions, load_text, load_unet

RANK = 16
SKIP = 1000 // DISTILLED
"""Timesteps that one step of the solver skips (k in the paper)."""
GUIDANCE = (3.0, 6.0)
"""Where the guidance that is distilled is drawn from."""
HUBER = 1e-3
SIGMA_DATA, TIMESTEP_SCALING = 0.5, 10.0


class Boundary(NamedTuple):
    """Weights of the noisy latent and of the predicted clean one: at timestep 0, all of the former."""

    skip: Tensor
    out: Tensor


def boundary(timesteps: Tensor) -> Boundary:
    """c_skip and c_out of arXiv:2310.04378, appendix; as LCM's samplers have them."""
    scaled = (timesteps.float() * TIMESTEP_SCALING).view(-1, 1, 1, 1)
    spread = scaled.square() + SIGMA_DATA**2
    return Boundary(SIGMA_DATA**2 / spread, scaled / spread.sqrt())


def huber(difference: Tensor) -> Tensor:
    """Pseudo-Huber loss: square for small differences, linear for large ones."""
    return ((difference.square() + HUBER**2).sqrt() - HUBER).mean()


class Distillation:
    """Teacher and student: the base, and the base with the LoRA."""

    def __init__(self, unet: UNet2DConditionModel, nothing: Tensor) -> None:
        self.unet, self.nothing, self.diffusion = unet, nothing, Diffusion()

    def student(self, noisy: Tensor, timesteps: Tensor, encoding: Tensor) -> Tensor:
        """The clean latents that the student sees."""
        with calling(Call(len(noisy), strengths={"lcm": torch.ones(len(noisy))})):
            noise = self.unet(noisy, timesteps, encoding, return_dict=False)[0]
        signal, sigma = self.diffusion.scales(timesteps)
        weight = boundary(timesteps)
        return weight.skip * noisy + weight.out * (noisy - sigma * noise) / signal

    def teacher(self, noisy: Tensor, timesteps: Tensor, encoding: Tensor, scale: Tensor) -> Tensor:
        """One DDIM step of the guided base, to SKIP timesteps earlier; below timestep 0 lies the clean latent."""
        both = torch.cat([encoding, self.nothing.expand_as(encoding)])
        predicted = self.unet(torch.cat([noisy, noisy]), timesteps.repeat(2), both, return_dict=False)[0]
        toward, away = predicted.chunk(2)
        noise = away + scale * (toward - away)
        signal, sigma = self.diffusion.scales(timesteps)
        earlier, less = self.diffusion.scales((timesteps - SKIP).clamp(min=0))
        clean = (noisy - sigma * noise) / signal
        return torch.where(final(timesteps), clean, earlier * clean + less * noise)

    def wanted(self, noisy: Tensor, timesteps: Tensor, encoding: Tensor, scale: Tensor) -> Tensor:
        """What the student would see one step of the teacher further."""
        further = self.teacher(noisy, timesteps, encoding, scale)
        seen = self.student(further, (timesteps - SKIP).clamp(min=0), encoding)
        return torch.where(final(timesteps), further, seen)


def final(timesteps: Tensor) -> Tensor:
    """Where one step leads to clean latents; shaped to choose between latents."""
    return (timesteps < SKIP).view(-1, 1, 1, 1)


def main() -> None:
    """Trains ``lcm.safetensors``."""
    plan, _ = options("Trains the LCM-LoRA.", minutes=10, rate=1e-3, batch=12, keep=0.99, decay=0.0)
    unet, text, captions = load_unet(plan.out), load_text(plan.out), Captions()
    changes = new_lora(unet, rank=RANK)
    attach(unet, changes, name="lcm")
    with torch.no_grad():
        distillation = Distillation(unet, text(captions.ids([""])).last_hidden_state)
    latents, shown = examples(plan.out, "stills")
    low, high = GUIDANCE

    def loss(draw: Draw) -> Tensor:
        chosen = draw.integers(0, len(shown), plan.batch)
        clean = latents[chosen].float()
        encoding = conditions(text, captions, [shown[i] for i in chosen], draw, dropped=0.0)
        timesteps = draw.integers(1, DISTILLED + 1, plan.batch) * SKIP - 1
        noisy = distillation.diffusion.noised(clean, draw.normal_like(clean), timesteps)
        scale = low + (high - low) * draw.uniform(plan.batch).view(-1, 1, 1, 1)
        with torch.no_grad():
            wanted = distillation.wanted(noisy, timesteps, encoding, scale)
        return huber(distillation.student(noisy, timesteps, encoding) - wanted)

    train("lcm", parameters(changes), loss, plan)
    save_file({name: weight.contiguous() for name, weight in kohya(changes).items()}, plan.out / "lcm.safetensors")


if __name__ == "__main__":
    main()
