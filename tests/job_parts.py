"""What tests of jobs share: a small film, parts that count their calls, a watch that remembers."""

from hashlib import sha256

import numpy as np
import torch

from lcm_video.job import Watch
from lcm_video.pipeline import Pipeline

FILM = [
    "video.width=64",
    "video.height=64",
    "sampling.steps=2",
    "windows={length: 8, overlap: 3}",
    "shots.a={frames: 5, prompts: a red circle}",
    "shots.b={frames: 40, prompts: {0: a blue star, 39: a green star}}",
    "shots.c={frames: 3, prompts: a yellow heart}",
]


class Simple:
    """A text encoder, a UNet and a VAE of a few operations: frames see each other, and what their prompt is.

    ``calls`` counts those of the UNet; the one numbered ``fail_at`` raises ``error``.
    """

    channels, factor = 4, 8

    def __init__(self):
        self.calls, self.fail_at, self.error = 0, None, None
        self.before = lambda: None

    @property
    def pipeline(self):
        return Pipeline(self.text, self, self)

    def text(self, prompts):
        numbers = [[int(byte) for byte in sha256(prompt.encode()).digest()[:6]] for prompt in prompts]
        return {"tokens": torch.tensor(numbers).view(-1, 2, 3) / 255}

    def __call__(self, latents, timestep, encoding, /, *, clip):
        self.calls += 1
        self.before()
        if self.calls == self.fail_at:
            raise self.error
        together = latents.unflatten(0, (-1, clip)).mean(1, keepdim=True).expand(-1, clip, -1, -1, -1).flatten(0, 1)
        return latents * 0.7 + 0.2 * together + encoding["tokens"].mean((1, 2)).view(-1, 1, 1, 1) * timestep / 999

    def encode(self, images):
        return torch.zeros(len(images), 4, images.shape[2] // 8, images.shape[3] // 8)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents[:, :3].tanh(), scale_factor=8)


class Heard(Watch):
    """Writes down what it is told."""

    def __init__(self):
        self.stages, self.notes, self.counts, self.turns, self.numbers = [], [], [], 0, []

    def stage(self, name, total=1):
        self.stages.append((name, total))

    def done(self, count):
        self.counts.append((self.stages[-1][0], count))

    def note(self, text):
        self.notes.append(text)

    def turn(self, shot, turn, pipeline):
        self.turns += 1

    def frame(self, number, frame):
        self.numbers.append(number)


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
