"""Stage 7, the negative embedding: textual inversion (arXiv:2208.01618) of how badly drawn pictures look.

Four made-up words are trained so that the frozen model, told nothing else, draws pictures of low quality. As a negative
prompt they lead away from that.
"""

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from training.latents import examples
from training.loop import Draw, options, train
from training.noising import Diffusion
from training.parts import BEGIN, END, LENGTH, Captions, load_text, load_unet

VECTORS = 4


class Words(nn.Module):
    """CLIP's words, and after them the new ones."""

    def __init__(self, known: Tensor, new: nn.Parameter) -> None:
        super().__init__()
        self.known, self.new = known, new

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of ``ids``."""
        return F.embedding(ids, torch.cat([self.known, self.new]))


def main() -> None:
    """Trains ``negative.safetensors``."""
    plan, _ = options("Trains the negative embedding.", minutes=3, rate=1e-2, batch=16, keep=0.98, decay=0.0)
    unet, text, captions, diffusion = load_unet(plan.out), load_text(plan.out), Captions(), Diffusion()
    known = text.get_input_embeddings().weight.detach()
    start = known[captions.encode("low quality blurry noisy")[:VECTORS]]
    new = nn.Parameter(start.clone())
    text.set_input_embeddings(Words(known, new))
    ids = torch.tensor([[BEGIN, *range(len(known), len(known) + VECTORS), *[END] * (LENGTH + 1 - VECTORS)]])
    every, shown = examples(plan.out, "stills")
    latents = every[[index for index, thing in enumerate(shown) if thing.quality == "low"]]

    def loss(draw: Draw) -> Tensor:
        clean = latents[draw.integers(0, len(latents), plan.batch)].float()
        encoding = text(ids).last_hidden_state.expand(plan.batch, -1, -1)
        timesteps, noise = draw.timesteps(plan.batch), draw.normal_like(clean)
        predicted = unet(diffusion.noised(clean, noise, timesteps), timesteps, encoding, return_dict=False)[0]
        return diffusion.loss(predicted, noise, timesteps)

    train("negative", {"emb_params": new}, loss, plan)
    save_file({"emb_params": new.detach()}, plan.out / "negative.safetensors")


if __name__ == "__main__":
    main()
