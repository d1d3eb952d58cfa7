"""A plan says what is only near to what the model would give, and what that gains."""

from lcm_video.models import Model
from lcm_video.models.approximate import approximations


def test_a_taesd_is_called_approximate_and_a_vae_is_not(model_files):
    folder = str(model_files("taesd/*") / "taesd")
    (told,) = approximations(Model(checkpoint="embedded", vae="taesd_decoder"), [folder])
    assert "taesd_decoder" in told
    assert "not the same" in told
    assert not [*approximations(Model(checkpoint="embedded"), [folder])]


def test_a_file_that_is_not_there_is_told_elsewhere():
    assert not [*approximations(Model(checkpoint="embedded", vae="taesd_decoder"))]
