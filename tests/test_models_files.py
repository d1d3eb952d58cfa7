"""Files as users really have them: found, told apart, read, or refused with a reason."""

import hashlib
import os
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lcm_video.errors import CheckpointError
from lcm_video.models import find
from lcm_video.models.container import header, sniff
from lcm_video.models.files import read, sha256
from lcm_video.models.kinds import a, expect, kind

WEIGHTS = {"first": torch.arange(6.0).reshape(2, 3), "second": torch.ones(4, dtype=torch.float16)}


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.safetensors"
    save_file(WEIGHTS, path, {"about": "a test"})
    return path


def same(tensors):
    assert tensors.keys() == WEIGHTS.keys()
    assert all(
        torch.equal(tensors[name], weight) and tensors[name].dtype == weight.dtype for name, weight in WEIGHTS.items()
    )


def test_safetensors_are_read_with_their_metadata(good):
    tensors, metadata = read(good)
    same(tensors)
    assert metadata == {"about": "a test"}
    assert header(good).shapes == {"first": (2, 3), "second": (4,)}


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"state_dict": {"state_dict": w}}]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_are_read_whatever_is_wrapped_around_the_weights(tmp_path, wrap, zipped):
    path = tmp_path / "model.ckpt"
    torch.save(wrap(WEIGHTS), path, _use_new_zipfile_serialization=zipped)
    assert sniff(path) == ("zip" if zipped else "pickle")
    same(read(path).tensors)


def test_names_of_parallel_training_are_unwrapped(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({f"module.{name}": weight for name, weight in WEIGHTS.items()}, path)
    same(read(path).tensors)


def test_ordinary_old_files_open_with_what_they_carry_beside_their_weights(tmp_path):
    import numpy as np

    path = tmp_path / "old.ckpt"
    extras = {"best": np.float64(0.5), "weights": torch.nn.ParameterDict({"a": torch.ones(2)})}
    torch.save({"state_dict": WEIGHTS, **extras}, path)
    same(read(path).tensors)


def test_a_pickle_is_never_executed(tmp_path):
    marker = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    for name, save in (("new.ckpt", torch.save), ("bare.pt", lambda x, path: path.write_bytes(pickle.dumps(x, 2)))):
        path = tmp_path / name
        save({"w": Malicious()}, path)
        with pytest.raises(CheckpointError, match=rf"{name} was refused: it wants to run \w+\.mkdir"):
            read(path)
    assert not marker.exists()
    pickle.loads((tmp_path / "bare.pt").read_bytes())
    assert marker.exists(), "the file would have done harm"


def test_a_torch_file_under_a_safetensors_name_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.save(WEIGHTS, path)
    with pytest.raises(CheckpointError, match=r"PyTorch file .* under a .safetensors name[\s\S]*rename it to .ckpt"):
        read(path)


def test_a_safetensors_file_under_a_torch_name_is_read(good):
    same(read(good.rename(good.with_suffix(".ckpt"))).tensors)


def cut(path: Path, keep: int) -> bytes:
    return path.read_bytes()[:keep]


BROKEN = {
    "is empty": lambda good: b"",
    "git-lfs pointer": lambda good: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    "web page": lambda good: b"\n  <!DOCTYPE html><html>log in</html>",
    "not a model file": lambda good: b"\x00" * 200,
    "zip directory is missing": lambda good: b"PK\x03\x04" + b"\x00" * 100,
    "its header alone needs": lambda good: cut(good, 40),
    r"bytes, its header promises \d+": lambda good: cut(good, good.stat().st_size - 1),
    "its header promises": lambda good: good.read_bytes() + b"!",
    "damaged header": lambda good: struct.pack("<Q", 8) + b'{"a": 1}',
    "has a damaged header": lambda good: struct.pack("<Q", 3) + b"{{{",
    "neither safetensors nor": lambda good: struct.pack("<Q", 10**15) + b"{" + b"x" * 100,
    "holds list": lambda good: pickled([1, 2]),
    "holds Tensor": lambda good: pickled(torch.ones(2)),
}


def pickled(what):
    import io

    buffer = io.BytesIO()
    torch.save(what, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_file_is_named_and_told_what_it_is(tmp_path, good, message):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(BROKEN[message](good))
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert caught.value.message.startswith("broken.ckpt ")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["model.diffusion_model.out.2.bias", "cond_stage_model.transformer.x"], "SD 1.5 checkpoint"),
        (["model.diffusion_model.out.2.bias", "conditioner.embedders.1.model.x"], "SDXL checkpoint"),
        (["model.diffusion_model.out.2.bias", "cond_stage_model.model.x"], "SD 2 checkpoint"),
        (["encoder.down.0.block.0.conv1.weight", "decoder.x"], "VAE"),
        (["encoder.down_blocks.0.resnets.0.conv1.weight", "decoder.x"], "VAE"),
        (["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight", "x"], "motion module"),
        (["down_blocks.0.temporal_attentions.0.norm.weight", "x"], "motion module"),
        (["down_blocks.0.motion_modules.0.x.processor.to_q_lora.down.weight", "x"], "motion LoRA"),
        (["controlnet_cond_embedding.conv_in.weight", "down_blocks.0.motion_modules.0.x"], "SparseCtrl"),
        (["control_model.input_blocks.0.0.weight", "x"], "ControlNet"),
        (["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"], "IP-Adapter"),
        (["lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight"], "LoRA"),
        (["unet.down_blocks.0.x.lora_A.weight", "y"], "LoRA"),
        (["emb_params", "other"], "textual inversion"),
        (["string_to_token", "string_to_param", "name"], "textual inversion"),
        (["clip_l", "clip_g"], "SDXL textual inversion"),
        (["<cat-toy>"], "textual inversion"),
        (["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"], "UNet"),
        (["layer1.weight", "layer2.weight"], "file of an unknown kind"),
    ],
)
def test_a_files_kind_is_told_from_its_names(keys, expected):
    assert kind(keys) == expected
    assert kind(reversed(keys)) == expected


@pytest.mark.parametrize(
    ("wanted", "keys", "message"),
    [
        (
            "SD 1.5 checkpoint",
            ["first_stage_model.x", "y"],
            "f is a VAE, not an SD 1.5 checkpoint\n  → it belongs under model.vae",
        ),
        (
            "LoRA",
            ["model.diffusion_model.x", "y"],
            "f is an SD 1.5 checkpoint, not a LoRA\n  → it belongs under model.checkpoint",
        ),
        (
            "SD 1.5 checkpoint",
            ["model.diffusion_model.x", "conditioner.embedders.1.y"],
            "an SDXL checkpoint, .*\n.*use one made for SD 1.5",
        ),
        ("VAE", ["a", "b"], "f is a file of an unknown kind, not a VAE\n  → give a VAE"),
    ],
)
def test_a_file_in_the_wrong_slot_is_told_where_it_belongs(wanted, keys, message):
    with pytest.raises(CheckpointError) as caught:
        expect(wanted, keys, name="f")
    assert re.search(message, str(caught.value))
    assert a("IP-Adapter") == "an IP-Adapter"


def test_a_name_is_found_with_or_without_its_ending_and_in_subfolders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("mine/fox.safetensors", "mine/Lora/hare.v1.5.ckpt", "models/fox.safetensors", "models/owl.pt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("x")
    folders = [str(tmp_path / "mine")]
    assert find("fox", folders=folders) == tmp_path / "mine/fox.safetensors", "the user's folders come first"
    assert find("fox") == Path("models/fox.safetensors")
    assert find("fox.safetensors", folders=folders) == tmp_path / "mine/fox.safetensors"
    assert find("hare.v1.5", folders=folders) == tmp_path / "mine/Lora/hare.v1.5.ckpt"
    assert find("Lora/hare.v1.5", folders=folders) == tmp_path / "mine/Lora/hare.v1.5.ckpt"
    assert find("models/owl") == Path("models/owl.pt"), "a path may leave its ending out, too"
    assert find(str(tmp_path / "models/owl.pt")) == tmp_path / "models/owl.pt"


def test_the_embedded_names_stand_for_the_shipped_files():
    assert find("embedded", kind="checkpoint").parent.name == "embedded"
    assert find("embedded", kind="motion module").parent.name == "motion_modules"


def test_a_missing_file_is_answered_with_names_like_it(tmp_path):
    (tmp_path / "DreamShaper_8.safetensors").write_text("x")
    with pytest.raises(CheckpointError) as caught:
        find("dreamshaper8", kind="checkpoint", folders=[str(tmp_path)])
    assert "checkpoint 'dreamshaper8' was not found" in caught.value.message
    assert "did you mean DreamShaper_8.safetensors?" in caught.value.remedy
    assert caught.value.exit_code == 4


def test_a_folder_is_no_model_file(tmp_path):
    (tmp_path / "fox.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="was not found"):
        find("fox", folders=[str(tmp_path)])


def test_the_hash_is_that_of_the_content_even_after_it_changed(good):
    assert sha256(good) == hashlib.sha256(good.read_bytes()).hexdigest()
    good.write_bytes(b"another")
    assert sha256(good) == hashlib.sha256(b"another").hexdigest()


def lora_for(width, place="down_blocks_0_attentions_0"):
    name = f"lora_unet_{place}_transformer_blocks_0_attn2_to_k"
    return {f"{name}.lora_down.weight": (4, width), f"{name}.lora_up.weight": (320, 4)}


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (lora_for(768), "LoRA"),
        (lora_for(1024), "SD 2 LoRA"),
        (lora_for(2048, "down_blocks_1_attentions_0"), "SDXL LoRA"),
        (lora_for(32, "up_blocks_0_attentions_0"), "SDXL LoRA"),
        ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 64)}, "SDXL LoRA"),
        ({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": (4, 64)}, "FLUX LoRA"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}, "inpainting checkpoint"),
        ({"model.diffusion_model.input_blocks.0.0.weight": (320, 8, 3, 3)}, "pix2pix checkpoint"),
        ({"model.diffusion_model.double_blocks.0.x": (1,)}, "FLUX checkpoint"),
        ({"model.diffusion_model.joint_blocks.0.x": (1,)}, "SD 3 checkpoint"),
        ({"model.diffusion_model.x": (1,), "conditioner.embedders.0.model.y": (1,)}, "SDXL refiner"),
        ({"emb_params": (4, 1024)}, "SD 2 textual inversion"),
        ({"<a>": (768,), "<b>": (768,)}, "textual inversion"),
        ({f"down_blocks.{n}.motion_modules.0.temporal_transformer.norm.weight": (8,) for n in range(3)},
         "SDXL motion module"),
        ({"0.weight": (4, 3, 3, 3), "2.conv.0.bias": (4,)}, "TAESD"),
        ({"text_model.final_layer_norm.bias": (768,), "text_model.x": (1,)}, "text encoder"),
    ],
)  # fmt: skip
def test_shapes_tell_families_apart(tensors, expected):
    assert kind(tensors) == expected
    assert kind({name: torch.empty(shape, device="meta") for name, shape in tensors.items()}) == expected


@pytest.mark.parametrize(
    ("wanted", "tensors", "message", "remedy"),
    [
        ("LoRA", lora_for(2048, "up_blocks_0_attentions_0"), "an SDXL LoRA, not an SD 1.5 LoRA", "made for SD 1.5"),
        ("LoRA", lora_for(1024), "an SD 2 LoRA, not an SD 1.5 LoRA", "SD 2 is not supported"),
        (("SDXL LoRA",), lora_for(768), "an SD 1.5 LoRA, not an SDXL LoRA", "made for SDXL"),
        (("SD 1.5 checkpoint", "SDXL checkpoint"), {"emb_params": (1, 768)},
         "a textual inversion, not a checkpoint", "model.embeddings"),
        ("LoRA", {"control_model.x": (1,)}, "a ControlNet, not a LoRA", "ControlNets are not supported yet"),
    ],
)  # fmt: skip
def test_files_of_another_family_are_told_both(wanted, tensors, message, remedy):
    with pytest.raises(CheckpointError) as caught:
        expect(wanted, tensors, name="f")
    assert f"f is {message}" in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("length", [60, 60 + 256, 0x3C00])
def test_a_header_whose_length_looks_like_html_is_no_web_page(tmp_path, length):
    path = tmp_path / "x.safetensors"
    text = b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", length) + text.ljust(length) + b"\0" * 4)
    assert sniff(path) == "safetensors"
    assert header(path).shapes == {"a": ()}
