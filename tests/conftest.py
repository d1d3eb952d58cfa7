"""Tiny models with the real architectures. Shapes are checked on every call (pyproject: --jaxtyping-packages)."""

import os
import socket

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
import torch

# One thread a process: pytest-xdist runs several, and more threads than cores slow tiny tensors down tenfold.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def offline(request, monkeypatch):
    """Lets no test reach the network: lcm-video needs none. Marked ``network``, a test may talk to this machine."""
    allowed = {"127.0.0.1", "::1", "localhost"} if request.node.get_closest_marker("network") else set()

    def connect(self, address, *rest):
        if self.family != socket.AF_UNIX and address[0] not in allowed:
            pytest.fail(f"a socket was opened, to {address}")
        return original(self, address, *rest)

    def resolve(host, *rest, **named):
        if host not in allowed:
            pytest.fail(f"the name {host} was looked up")
        return lookup(host, *rest, **named)

    original, lookup = socket.socket.connect, socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture(autouse=True, scope="session")
def own_folders(tmp_path_factory):
    """Keeps the user's settings and cache out of the tests, and the tests out of theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("LCM_VIDEO_MODELS", raising=False)
        yield


@pytest.fixture(scope="module", params=["compiled", "uncompiled"])
def compiled_or_not(request):
    """With the layers in C++ that were built here, and as where there are none."""
    from lcm_video.models.fast import compiled

    found = compiled.library()
    if request.param == "compiled" and found.calls is None:
        pytest.skip(found.what)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "uncompiled":
            patch.setattr(compiled, "library", lambda: compiled.Library(None, "none were built"))
        yield


@pytest.fixture(scope="session")
def golden():
    """What other implementations computed."""
    return Path(__file__).parent / "golden"


@pytest.fixture
def unet():
    """A UNet of the real class, small enough to run in milliseconds."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=8,
        norm_num_groups=32,
        cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


@pytest.fixture
def motion_adapter():
    """A motion module for `unet` in diffusers' class, with weights large enough that their effect shows."""
    from diffusers import MotionAdapter

    torch.manual_seed(1)
    sizes = {"motion_layers_per_block": 1, "motion_norm_num_groups": 32, "motion_num_attention_heads": 8}
    adapter = MotionAdapter(block_out_channels=(32, 64), **sizes)
    for weight in adapter.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return adapter.eval()


@pytest.fixture
def card():
    """A card for `motion_adapter`."""
    from lcm_video.models import Card

    return Card(about="tiny", family="sd15", file="tiny.safetensors", window=16, max_frames=32)


@pytest.fixture
def motion_module(motion_adapter, card):
    """`motion_adapter` as our own layers."""
    from lcm_video.models import motion

    return motion.read(motion_adapter.state_dict(), card)


@pytest.fixture(scope="session")
def embedded_parts():
    """The shipped model with its motion module and its LCM-LoRA. Shared: leave it as it is."""
    from lcm_video.models import Lora, Model, load

    return load(Model(checkpoint="embedded", motion="embedded", loras={"lcm": Lora("embedded_lcm_lora")}))


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """Writes synthetic copies of people's model files: ``model_files("loras/dora*")`` is the folder with them.

    Each is written once a session; see tests/model_files.
    """
    from model_files import make

    folder = tmp_path_factory.mktemp("model_files")
    return lambda *names: make(folder, only=names)


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write what tests compare with; review the change")
