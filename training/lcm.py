"""Stage 6, the LCM-LoRA (arXiv:2311.05556): a low-rank change with which the base draws in four steps.

Consistency distillation: from a noisy latent, one step of DDIM by the base, with guidance, leads to a less noisy one;
the student learns to see the same clean picture from both. Every other step shows a clip, with the motion module in
place (AnimateLCM, arXiv:2402.00769): a LoRA that has only seen pictures draws worse as soon as frames see each other.
"""

from typing import NamedTuple

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from lcm_video.models.beside import attach
from lcm_video.models.call import Call, calling
from lcm_video.models.motion import inject
from lcm_video.samplers.schedules import DISTILLED
from training.drawing import FRAMES
from training.latents import Examples, examples
from training.loop import Draw, options, train
from training.lora import kohya, new_lora, parameters
from training.noising import Diffusion, conditions
from training.parts import Captions, load_motion, load_text, load_unet

RANK = 16
SKIP = 1000 // DISTILLED
"""Timesteps that one step of the solver skips (k in the paper)."""
GUIDANCE = (1.5, 3.5)
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
    """Teacher and student: the base, and the base with the LoRA. ``motion`` is the strength of the motion module."""

    def __init__(self, unet: UNet2DConditionModel, nothing: Tensor) -> None:
        self.unet, self.nothing, self.diffusion = unet, nothing, Diffusion()
        self.motion = 0.0

    def noise(self, noisy: Tensor, timesteps: Tensor, encoding: Tensor, *, lcm: float) -> Tensor:
        """The noise that the UNet sees, with the LoRA at strength ``lcm``."""
        strengths = {"lcm": torch.full((len(noisy),), lcm)} if lcm else {}
        clip = FRAMES if self.motion else 1
        with calling(Call(clip, motion_scale=torch.full((len(noisy),), self.motion), strengths=strengths)):
            return self.unet(noisy, timesteps, encoding, return_dict=False)[0]

    def student(self, noisy: Tensor, timesteps: Tensor, encoding: Tensor) -> Tensor:
        """The clean latents that the student sees."""
        noise = self.noise(noisy, timesteps, encoding, lcm=1.0)
        signal, sigma = self.diffusion.scales(timesteps)
        weight = boundary(timesteps)
        return weight.skip * noisy + weight.out * (noisy - sigma * noise) / signal

    def teacher(self, noisy: Tensor, timesteps: Tensor, encoding: Tensor, scale: Tensor) -> Tensor:
        """One DDIM step of the guided base, to SKIP timesteps earlier; below timestep 0 lies the clean latent."""
        both = torch.cat([encoding, self.nothing.expand_as(encoding)])
        twice = torch.cat([noisy, noisy])
        predicted = self.noise(twice, timesteps.repeat(2), both, lcm=0.0)
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
    plan, _ = options("Trains the LCM-LoRA.", minutes=15, rate=1e-3, batch=16, keep=0.99, decay=0.0)
    unet, text, captions = load_unet(plan.out), load_text(plan.out), Captions()
    changes = new_lora(unet, rank=RANK)
    attach(unet, changes, name="lcm")
    inject(unet, load_motion(plan.out, unet))
    with torch.no_grad():
        distillation = Distillation(unet, text(captions.ids([""])).last_hidden_state)
    stills, clips = examples(plan.out, "stills"), examples(plan.out, "clips")
    low, high = GUIDANCE

    def shown(draw: Draw) -> Examples:
        """Pictures, or as many frames of clips, with their things; and the motion module off or on."""
        distillation.motion = float(draw.step % 2)
        if not distillation.motion:
            chosen = draw.integers(0, len(stills.things), plan.batch)
            return Examples(stills.latents[chosen], [stills.things[i] for i in chosen])
        chosen = draw.integers(0, len(clips.things), max(1, plan.batch // FRAMES))
        things = [clips.things[i] for i in chosen for _ in range(FRAMES)]
        return Examples(clips.latents[chosen].flatten(0, 1), things)

    def loss(draw: Draw) -> Tensor:
        latents, things = shown(draw)
        clean = latents.float()
        each = FRAMES if distillation.motion else 1
        encoding = conditions(text, captions, things[::each], draw, dropped=0.0).repeat_interleave(each, 0)
        drawn = draw.integers(1, DISTILLED + 1, len(clean) // each) * SKIP - 1
        timesteps = drawn.repeat_interleave(each)
        noisy = distillation.diffusion.noised(clean, draw.normal_like(clean), timesteps)
        scale = low + (high - low) * draw.uniform(len(drawn)).repeat_interleave(each)
        with torch.no_grad():
            wanted = distillation.wanted(noisy, timesteps, encoding, scale.view(-1, 1, 1, 1))
        return huber(distillation.student(noisy, timesteps, encoding) - wanted)

    train("lcm", parameters(changes), loss, plan)
    save_file({name: weight.contiguous() for name, weight in kohya(changes).items()}, plan.out / "lcm.safetensors")


if __name__ == "__main__":
    main()
