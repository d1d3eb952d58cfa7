"""VAEs of their own: every layout that people have, compared with what diffusers makes of it, and TAESD's pair."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file, save_file

from lcm_video.errors import CheckpointError
from lcm_video.models import Model, Runtime, load
from lcm_video.models.architecture import read_architecture
from lcm_video.models.files import read
from lcm_video.models.vae import Vae
from lcm_video.models.vae_files import build, precision, read_vae

SD15, SDXL = "checkpoints/diffusers_sd15", "checkpoints/diffusers_sdxl"
KL = [
    "vae/vae-ft-ema-560000-ema-pruned.safetensors",
    "vae/vae-ft-ema-560000-ema-pruned.ckpt",
    "vae/sdxl_vae_fp16_fix.safetensors",
    "vae/kl-f8-anime2.ckpt",
    "vae/diffusers_old/diffusion_pytorch_model.safetensors",
    "vae/diffusers_new/diffusion_pytorch_model.safetensors",
]


@pytest.fixture(scope="module")
def root(model_files):
    return model_files("vae/*", "taesd/*", f"{SD15}/*", f"{SDXL}/*")


@pytest.fixture(scope="module")
def sd15(root):
    return read_architecture(root / SD15)


@pytest.fixture(scope="module")
def sdxl(root):
    return read_architecture(root / SDXL)


def built(path, architecture, dtype=torch.float32):
    found = read_vae(str(path), architecture)
    return build(found, precision(found, architecture, dtype))


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def by_diffusers(root, path):
    """Its folder where there is one (it reads both spellings there), else its single-file loader."""
    if path.with_name("config.json").exists():
        return AutoencoderKL.from_pretrained(path.parent, torch_dtype=torch.float32)
    config = str(root / SD15)
    return AutoencoderKL.from_single_file(
        str(path), config=config, subfolder="vae", local_files_only=True, torch_dtype=torch.float32
    )


@pytest.mark.parametrize("name", KL)
def test_every_layout_gives_the_weights_that_diffusers_loads(root, sd15, name):
    ours = built(root / name, sd15)
    same(ours.state_dict(), by_diffusers(root, root / name).state_dict())
    assert not any(weight.is_meta or weight.requires_grad for weight in ours.parameters())


def test_the_scaling_is_that_of_the_checkpoints_family_or_of_the_vaes_own_folder(root, sd15, sdxl, tmp_path):
    """A single file does not say whose VAE it is."""
    path = root / KL[0]
    assert built(path, sd15).config["scaling_factor"] == 0.18215
    assert built(path, sdxl).config["scaling_factor"] == 0.13025
    shutil.copytree(root / "vae/diffusers_new", tmp_path / "mine")
    config = json.loads((tmp_path / "mine/config.json").read_text())
    (tmp_path / "mine/config.json").write_text(json.dumps({**config, "scaling_factor": 0.5}))
    assert built(tmp_path / "mine", sdxl).config["scaling_factor"] == 0.5


@pytest.mark.parametrize(
    ("family", "facts", "dtype", "expected"),
    [
        ("sdxl", None, "float16", "float32"),
        ("sdxl", None, "bfloat16", "bfloat16"),
        ("sdxl", {"force_upcast": False}, "float16", "float16"),
        ("sdxl", {"force_upcast": True}, "float16", "float32"),
        ("sd15", {"force_upcast": True}, "float16", "float16"),
        ("sd15", None, "float16", "float16"),
    ],
)
def test_only_sdxls_vae_overflows_in_float16(root, request, tmp_path, family, facts, dtype, expected):
    architecture = request.getfixturevalue(family)
    path = root / KL[2]
    if facts is not None:
        shutil.copytree(root / "vae/diffusers_new", tmp_path / "mine")
        config = json.loads((tmp_path / "mine/config.json").read_text())
        (tmp_path / "mine/config.json").write_text(json.dumps({**config, **facts}))
        path = tmp_path / "mine"
    assert built(path, architecture, getattr(torch, dtype)).dtype == getattr(torch, expected)


def test_weights_in_the_wanted_precision_are_not_copied(root, sd15):
    found = read_vae(str(root / KL[2]), sd15)
    model = build(found, torch.float16)
    assert model.decoder.conv_in.weight.data_ptr() == found.weights["decoder.conv_in.weight"].data_ptr()


def test_float8_is_widened(root, sd15, tmp_path):
    weights = {name: w.to(torch.float8_e4m3fn) for name, w in load_file(root / KL[2]).items()}
    save_file(weights, tmp_path / "small.safetensors")
    model = built(tmp_path / "small.safetensors", sd15, torch.float16)
    assert torch.equal(model.decoder.conv_in.weight, weights["decoder.conv_in.weight"].to(torch.float16))


def test_a_checkpoint_of_another_model_may_give_its_vae(root, sd15, tmp_path):
    prefixed = {f"first_stage_model.{name}": w for name, w in load_file(root / KL[2]).items()}
    save_file(prefixed, tmp_path / "prefixed.safetensors")
    same(built(tmp_path / "prefixed.safetensors", sd15).state_dict(), built(root / KL[2], sd15).state_dict())


def reference(root):
    return AutoencoderTiny.from_pretrained(root / "taesd/diffusers", torch_dtype=torch.float32)


@pytest.mark.parametrize("name", ["taesd_decoder.pth", "taesd_encoder.pth"])
def test_either_file_of_a_taesd_brings_the_other(root, sd15, name):
    """Layer by layer against the files: the decoder's numbers fall by one, its clamp is no layer in diffusers."""
    found = read_vae(str(root / "taesd" / name), sd15)
    model = build(found, torch.float32)
    assert {path.name for path in found.files} == {"taesd_decoder.pth", "taesd_encoder.pth"}
    for side, shift in (("encoder", 0), ("decoder", 1)):
        stored = read(root / f"taesd/taesd_{side}.pth").tensors
        ours = getattr(model, side).layers.state_dict()
        assert len(ours) == len(stored) == 67
        for name, weight in stored.items():
            number, _, rest = name.partition(".")
            assert torch.equal(ours[f"{int(number) - shift}.{rest}"], weight), name


def test_a_taesd_in_diffusers_folder_is_read(root, sd15, tmp_path):
    model = built(root / "taesd/diffusers", sd15)
    same(model.state_dict(), reference(root).state_dict())
    shutil.copy(root / "taesd/diffusers/diffusion_pytorch_model.safetensors", tmp_path / "taesd.safetensors")
    same(built(tmp_path / "taesd.safetensors", sd15).state_dict(), reference(root).state_dict())


def test_a_pair_is_called_by_what_its_names_share(root, sd15):
    found = read_vae("taesd", sd15, [str(root)])
    assert [path.name for path in found.files] == ["taesd_decoder.pth", "taesd_encoder.pth"]


def test_half_a_taesd_says_what_is_missing(root, sd15, tmp_path):
    shutil.copy(root / "taesd/taesd_decoder.pth", tmp_path)
    with pytest.raises(CheckpointError, match=r"only the decoder of a TAESD\n.*taesd_encoder.pth beside it"):
        read_vae(str(tmp_path / "taesd_decoder.pth"), sd15)


def test_a_taesd_encodes_and_decodes_as_diffusers(root, sd15):
    vae, theirs = Vae(built(root / "taesd/taesd_decoder.pth", sd15)), built(root / "taesd/taesd_decoder.pth", sd15)
    images = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = vae.encode(images)
    assert (vae.channels, vae.factor, latents.shape) == (4, 8, (2, 4, 4, 5))
    torch.testing.assert_close(latents, theirs.encode(images).latents)
    torch.testing.assert_close(vae.decode(latents), theirs.decode(latents).sample)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_vae_takes_the_place_of_the_checkpoints_own(root, family):
    checkpoint = root / (SD15 if family == "sd15" else SDXL)
    for name, roles in ((KL[1], ["vae"]), ("taesd/taesd_decoder.pth", ["vae", "vae:2"])):
        parts = load(Model(checkpoint=str(checkpoint), vae=str(root / name)))
        assert [file.role for file in parts.files if file.role.startswith("vae")] == roles
        own = load(Model(checkpoint=str(checkpoint)))
        latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
        assert not torch.allclose(parts.vae.decode(latents), own.vae.decode(latents), atol=1e-2)


def test_what_is_no_vae_is_refused(root, sd15):
    with pytest.raises(CheckpointError, match=r"is a UNet, not a VAE"):
        read_vae(str(root / SD15 / "unet/diffusion_pytorch_model.safetensors"), sd15)


def test_a_vae_of_other_sizes_names_its_file(root):
    shipped = Model(checkpoint="embedded", vae=str(root / KL[0]))
    with pytest.raises(CheckpointError, match=r"vae-ft-ema-560000-ema-pruned.safetensors: VAE: "):
        load(shipped, Runtime())
