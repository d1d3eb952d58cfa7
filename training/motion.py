"""Stage 5, the motion module (AnimateDiff, arXiv:2307.04725): temporal layers learn motion, the image UNet is frozen.

The layers are lcm-video's own, in the places where it puts them: what is trained is what renders.
"""

from safetensors.torch import save_file
from torch import Tensor

from lcm_video.models.call import Call, calling
from lcm_video.models.motion import inject
from training.drawing import FRAMES
from training.latents import examples
from training.loop import Draw, options, train
from training.noising import UNCONDITIONAL, Diffusion, conditions
from training.parts import Captions, load_text, load_unet, new_motion

HIGH = 0.5
"""Timesteps are drawn with this power: more of the noisy ones, because where things go is decided there."""


def main() -> None:
    """Trains ``motion.safetensors``."""
    plan, _ = options("Trains the motion module.", minutes=60, rate=2e-3, batch=2, keep=0.995)
    unet, text, captions, diffusion = load_unet(plan.out), load_text(plan.out), Captions(), Diffusion()
    layers = new_motion(unet)
    inject(unet, layers)
    weights = {f"{site}.{name}": weight for site, layer in layers.items() for name, weight in layer.named_parameters()}
    latents, shown = examples(plan.out, "clips")
    # There is little to learn from what stands still: of those clips, every fourth is enough.
    moving = [index for index, thing in enumerate(shown) if thing.motion != "still" or index % 4 == 0]

    def loss(draw: Draw) -> Tensor:
        chosen = [draw.random.choice(moving) for _ in range(plan.batch)]
        clean = latents[chosen].float().flatten(0, 1)
        encoding = conditions(text, captions, [shown[i] for i in chosen], draw, dropped=UNCONDITIONAL)
        timesteps = draw.timesteps(plan.batch, power=HIGH).repeat_interleave(FRAMES)
        noise = draw.normal_like(clean)
        with calling(Call(FRAMES)):
            noised = diffusion.noised(clean, noise, timesteps)
            predicted = unet(noised, timesteps, encoding.repeat_interleave(FRAMES, 0), return_dict=False)[0]
        return diffusion.loss(predicted, noise, timesteps)

    train("motion", weights, loss, plan)
    save_file({name: weight.detach().contiguous() for name, weight in weights.items()}, plan.out / "motion.safetensors")


if __name__ == "__main__":
    main()
