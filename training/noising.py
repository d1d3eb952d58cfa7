"""What the diffusion stages have in common: noised latents, the loss on predicted noise, captions as conditions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from training.loop import Draw
from training.parts import Captions, alphas
from training.world import Thing, caption

UNCONDITIONAL = 0.1
"""Share of examples trained without a caption, for classifier-free guidance (arXiv:2207.12598)."""
MOST_SNR = 5.0
"""Min-SNR-γ (arXiv:2303.09556): almost clean latents, whose noise is hard to tell, must not rule the loss."""


class Diffusion:
    """The noise schedule as tensors."""

    def __init__(self) -> None:
        self.alphas = alphas()
        snr = self.alphas / (1 - self.alphas)
        # Where noise prevails, little of it is wrong even if colours are: such steps must count more, not alike.
        self.weights = snr.clamp(max=MOST_SNR) / snr * snr.clamp(max=1) ** -0.5

    def scales(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """How much of the signal and of the noise is in latents at ``timesteps``, shaped to multiply latents."""
        signal = self.alphas[timesteps].view(-1, 1, 1, 1)
        return signal.sqrt(), (1 - signal).sqrt()

    def noised(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``latents`` as they are at ``timesteps``."""
        signal, sigma = self.scales(timesteps)
        return signal * latents + sigma * noise

    def loss(self, predicted: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Squared error of the predicted noise, weighted by Min-SNR."""
        return ((predicted - noise).square().mean((1, 2, 3)) * self.weights[timesteps]).mean()


@torch.no_grad()
def conditions(text, captions: Captions, shown: Sequence[Thing], draw: Draw, *, dropped: float) -> Tensor:
    """Encodings of captions of what is ``shown``; a share of them ``dropped``, as if nothing had been said."""
    said = ["" if draw.random.random() < dropped else caption(thing, draw.random) for thing in shown]
    return text(captions.ids(said, draw.random)).last_hidden_state
