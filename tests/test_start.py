import numpy as np
import pytest
import torch

from lcm_video.errors import InputError
from lcm_video.start import fitted, latents_of


class Means:
    """A VAE that keeps the mean of each 8 by 8 square."""

    channels, factor = 3, 8

    def encode(self, images, /):
        return torch.nn.functional.avg_pool2d(images, 8)

    def decode(self, latents, /):
        raise NotImplementedError


def grey(value, rows=16, columns=16):
    return np.full((rows, columns, 3), value, np.uint8)


def test_an_image_stands_still_and_a_short_video_holds_its_last_frame():
    still = latents_of(Means(), [grey(255)], count=5, batch=2)
    assert still.shape == (5, 3, 2, 2)
    assert still.unique().tolist() == [1.0]
    short = latents_of(Means(), [grey(0), grey(255)], count=4, batch=3)
    assert short[:, 0, 0, 0].tolist() == [-1.0, 1.0, 1.0, 1.0]


def test_a_longer_video_is_read_no_further_than_needed():
    def endless():
        while True:
            yield grey(7)

    assert len(latents_of(Means(), endless(), count=3)) == 3


def test_a_source_of_another_size_is_refused_unless_told_how_to_fit():
    with pytest.raises(InputError, match=r"photo.png is 24x16, the film is 16x16") as caught:
        [*fitted([grey(0, 16, 24)], width=16, height=16, fit="exact", name="photo.png")]
    assert "start.fit" in caught.value.remedy


def test_crop_cuts_edges_and_stretch_distorts():
    wide = np.concatenate([grey(0, 16, 8), grey(200, 16, 16), grey(0, 16, 8)], axis=1)
    (cropped,) = fitted([wide], width=16, height=16, fit="crop", name="x")
    (stretched,) = fitted([wide], width=16, height=16, fit="stretch", name="x")
    assert cropped.shape == stretched.shape == (16, 16, 3)
    assert cropped[:, 2:-2].min() == 200
    assert stretched[:, 0].max() < 60


def test_no_frames_at_all_is_an_error():
    with pytest.raises(InputError, match="holds no frames"):
        latents_of(Means(), [], count=2)
