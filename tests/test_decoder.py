import numpy as np
import pytest
import torch

from lcm_video.decoder import decode
from lcm_video.errors import EncodeError


class Flat:
    """A VAE whose pixels are its latents."""

    channels, factor = 4, 1

    def __init__(self):
        self.batches = []

    def encode(self, images, /):
        raise NotImplementedError

    def decode(self, latents, /):
        self.batches.append(len(latents))
        return latents[:, :3]


def latents(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 4, 2, 3)


def test_decoding_maps_the_whole_range_and_clips_beyond_it():
    frames = [*decode(Flat(), latents(-1.2, -1.0, 0.0, 1.0, 1.2), batch=2)]
    assert [frame[0, 0, 0] for frame in frames] == [0, 0, 128, 255, 255]
    assert all(frame.shape == (2, 3, 3) and frame.dtype == np.uint8 for frame in frames)


def test_frames_come_before_later_ones_are_decoded():
    vae = Flat()
    frames = decode(vae, latents(*[0.0] * 10), batch=4)
    next(frames)
    assert vae.batches == [4]
    assert len([*frames]) == 9
    assert vae.batches == [4, 4, 2]


def test_pixels_that_are_no_numbers_are_refused_not_drawn_black():
    with pytest.raises(EncodeError, match="frames 2 to 3"):
        [*decode(Flat(), latents(0.0, 0.0, 0.0, float("nan"), 0.0), batch=2)]
