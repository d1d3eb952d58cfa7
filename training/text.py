"""Stage 2, the text encoder: it learns to say what captions say about each attribute, and is then frozen.

Stable Diffusion gets CLIP, trained on pictures and captions. Here attributes are known, so they are asked for directly:
at the end of the text and at a random place behind it, where the UNet's cross attention reads, too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcm_video.prompts.tokenizer import END
from training.loop import Draw, options, train
from training.parts import Captions, config, new_text, save
from training.world import ATTRIBUTES, Thing, caption, things


class Questions(nn.Module):
    """Reads each attribute off an encoding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()})

    def forward(self, encoding: Tensor, asked: list[Thing]) -> Tensor:
        """Cross entropy of all answers; ``encoding`` is (texts, places, width)."""
        total = encoding.new_zeros(())
        for name, head in self.heads.items():
            answers = head(encoding).transpose(1, 2)
            truth = torch.tensor([ATTRIBUTES[name].index(getattr(thing, name)) for thing in asked])
            # The night sky and the ocean have no colour of their own.
            said = torch.tensor([name != "background" or thing.scene in ("plain", "stripes") for thing in asked])
            losses = F.cross_entropy(answers, truth[:, None].expand(-1, answers.shape[-1]), reduction="none")
            total = total + (losses.mean(1) * said).sum() / said.sum()
        return total


def main() -> None:
    """Trains ``text.safetensors``."""
    plan, _ = options("Trains the text encoder.", minutes=2.5, rate=2e-3, batch=64, keep=0.99)
    captions = Captions()
    text, questions = new_text(captions.used), Questions(config("text")["hidden_size"])
    words = text.get_input_embeddings().weight
    unused = torch.ones(len(words)).index_fill_(0, torch.tensor(captions.used), 0).bool()
    words.register_hook(lambda gradient: gradient.masked_fill(unused[:, None], 0.0))

    def loss(draw: Draw) -> Tensor:
        asked = things(plan.batch, draw.random, wide=0.25, low=0.2)
        ids = captions.ids([caption(thing, draw.random, complete=True) for thing in asked], draw.random)
        longest = int((ids != END).sum(1).max()) + 3
        read = ids.shape[1] if draw.random.random() < 0.1 else min(longest, ids.shape[1])
        ends = (ids == END).int().argmax(1)
        later = torch.tensor([draw.random.randrange(int(end), read) for end in ends])
        encoding = text(ids[:, :read]).last_hidden_state
        rows = torch.arange(len(ids))[:, None]
        return questions(encoding[rows, torch.stack([ends, later], 1)], asked)

    train("text", dict(nn.ModuleList([text, questions]).named_parameters()), loss, plan)
    save(text, plan.out / "text.safetensors")


if __name__ == "__main__":
    main()
