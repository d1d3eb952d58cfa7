import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lcm_video.errors import InputError, ResourceError
from lcm_video.scratch import room
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


@pytest.mark.parametrize(("frames", "batch"), [(1, 1), (1, 4), (5, 1), (8, 4), (9, 4), (10, 3)])
def test_every_frame_is_encoded_once_and_a_still_image_takes_the_room_of_one(frames, batch):
    vae, given = Means(), [grey(25 * number) for number in range(frames)]
    seen = []
    vae.encode = lambda images: seen.extend(images) or Means.encode(vae, images)
    found = latents_of(vae, iter(given), count=10, batch=batch)
    assert len(seen) == min(frames, 10)
    wanted = [min(number, frames - 1) * 25 / 127.5 - 1 for number in range(10)]
    assert found[:, 0, 0, 0].tolist() == pytest.approx(wanted)
    assert (found.stride(0) == 0) == (frames == 1)


def test_latents_lie_alike_however_the_vae_lays_them_out():
    vae = Means()
    vae.encode = lambda images: Means.encode(vae, images).contiguous(memory_format=torch.channels_last)
    for given in ([grey(1)], [grey(1), grey(2)]):
        assert latents_of(vae, given, count=3)[[1, 2]].is_contiguous()


def test_many_latents_are_kept_in_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = room(6, 3, 2, limit=100)
    rows[:] = torch.arange(36.0).view(6, 3, 2)
    assert rows[[1, 5]].flatten().tolist() == [*range(6, 12), *range(30, 36)]
    assert not [*tmp_path.iterdir()]
    maps = Path("/proc/self/maps").read_text()
    assert str(tmp_path) in maps
    del rows
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_disk_without_room_is_told_before_anything_is_written(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match=r"the latents of 60 frames need .* GiB in .*No space") as caught:
        room(60, 4, 4, limit=100)
    assert "TMPDIR" in caught.value.remedy


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
