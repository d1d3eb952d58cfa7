"""Files made to do harm: refused quickly, in little memory, and nothing in them ever runs."""

import io
import json
import os
import pickle
import random
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from lcm_video.errors import CheckpointError
from lcm_video.models.container import MOST_TENSORS, header, sniff
from lcm_video.models.contents import contents
from lcm_video.models.files import read, unsound
from lcm_video.models.pickles import HARMLESS, table


def raw(entries, data=b"", *, text=None):
    """A safetensors file with this table and this data."""
    told = (json.dumps(entries) if text is None else text).encode()
    return struct.pack("<Q", len(told)) + told + data


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


ONE = json.dumps(entry())
HOSTILE = {
    "overlapping": (raw({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12), "overlaps"),
    "gap": (raw({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20), "overlaps another weight, or a gap"),
    "out of range": (raw({"a": entry(offsets=(0, 8)), "b": entry(offsets=(8, 2**62))}, b"\0" * 8), "damaged header"),
    "negative": (raw({"a": entry(offsets=(-8, 0))}, b""), "damaged header"),
    "backwards": (raw({"a": entry(offsets=(8, 0))}, b"\0" * 8), "damaged header"),
    "overflow": (raw({"a": entry(shape=(2**40, 2**40))}, b"\0" * 8), "damaged header"),
    "shape and size differ": (raw({"a": entry(shape=(3,))}, b"\0" * 8), "damaged header"),
    "unknown type": (raw({"a": entry(dtype="F3")}, b"\0" * 8), "damaged header"),
    "fractions": (raw({"a": entry(shape=(1.5,))}, b"\0" * 8), "damaged header"),
    "true for one": (
        raw({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"\0" * 4),
        "damaged header",
    ),
    "twice": (raw(None, b"\0" * 8, text=f'{{"a": {ONE}, "a": {ONE}}}'), "a is there twice"),
    "trailing": (raw({"a": entry()}, b"\0" * 9), "has .* bytes, its header promises"),
    "cut": (raw({"a": entry()}, b"\0" * 7), "truncated"),
    "nested": (raw(None, text="{" + '"a":{' * 100_000), "damaged header"),
    "a list": (raw([1], text=None).replace(b"[", b"{", 1), "damaged header"),
    "no text": (struct.pack("<Q", 4) + b"{\xff\xfe}", "damaged header"),
    "one tebibyte": (struct.pack("<Q", 2**40) + b"{", "neither safetensors nor PyTorch"),
    "2^63": (struct.pack("<Q", 2**63) + b"{", "neither safetensors nor PyTorch"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_of_contents_is_refused(tmp_path, name):
    content, message = HOSTILE[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for reading in (contents, read):
        with pytest.raises(CheckpointError, match=message) as caught:
            reading(path)
        assert "x.safetensors" in caught.value.message
        assert caught.value.remedy


def test_a_well_made_table_is_read_with_every_type(tmp_path):
    types = [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.bool,
    ]
    path = tmp_path / "x.safetensors"
    save_file({str(kind): torch.ones(3, 2).to(kind) for kind in [*types, torch.float8_e4m3fn]}, path)
    assert set(header(path).shapes.values()) == {(3, 2)}
    assert contents(path).dtypes["torch.bfloat16"] == "BF16"
    empty = tmp_path / "e.safetensors"
    save_file({"a": torch.zeros(0, 4), "b": torch.tensor(1.0)}, empty)
    assert header(empty).shapes == {"a": (0, 4), "b": ()}


def test_too_many_tensors_are_refused_at_once(tmp_path):
    import time

    path = tmp_path / "many.safetensors"
    path.write_bytes(raw({f"weight.{number}": entry((0,), (0, 0)) for number in range(300_000)}))
    began = time.process_time()
    with pytest.raises(CheckpointError, match="300,000 tensors"):
        contents(path)
    assert time.process_time() - began < 1
    path.write_bytes(raw({f"weight.{number}": entry((0,), (0, 0)) for number in range(MOST_TENSORS)}))
    assert len(contents(path).shapes) == MOST_TENSORS


def as_zip(path, program, *, method=zipfile.ZIP_STORED, extra=None, name="archive/data.pkl"):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, program)
        for inside, content in (extra or {}).items():
            archive.writestr(inside, content)
    return path


GADGETS = {
    "os.system": b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00trueR.",
    "builtins.eval": b"\x80\x02c__builtin__\neval\nX\x03\x00\x00\x001+1\x85R.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\n.",
    "dotted": b"\x80\x04\x8c\x05torch\x8c\x0fserialization.load\x93.",
    "torch.load": b"\x80\x02ctorch\nload\n.",
    "old instance": b"(S'true'\nios\nsystem\n.",
    "subprocess": pickle.dumps(subprocess.Popen, 2),
    "torch.jit": b"\x80\x02ctorch.jit\nload\n.",
    "extension": b"\x80\x02\x82\x01.",
    "reserves memory": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "far memo": b"\x80\x02Nr\xff\xff\xff\xff.",
    "deep": b"\x80\x02" + b"(" * 200_000 + b"l" * 200_000 + b".",
    "deep lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "cut": b"\x80\x02}q\x00X\x05",
    "nothing": b"\x80\x02.",
    "noise": b"\x80\x02" + random.Random(0).randbytes(4000),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", GADGETS)
def test_a_pickle_that_wants_more_than_tensors_is_refused_and_nothing_runs(tmp_path, monkeypatch, name, zipped):
    for call in ("system", "popen", "execv"):
        monkeypatch.setattr(os, call, lambda *_: pytest.fail("it ran"))
    path = tmp_path / "x.ckpt"
    if zipped:
        as_zip(path, GADGETS[name])
    else:
        path.write_bytes(GADGETS[name])
    for reading in (contents, read):
        with pytest.raises(CheckpointError) as caught:
            reading(path)
        assert "x.ckpt" in caught.value.message
        assert caught.value.remedy


def test_nothing_on_the_list_can_call_anything():
    assert not {
        name for name in HARMLESS if any(word in name for word in ("eval", "exec", "system", "getattr", "import"))
    }
    assert not {name for name in HARMLESS if name.split(".")[0] in ("os", "posix", "nt", "subprocess", "sys", "shutil")}


PEAK = """\
import sys
from pathlib import Path
from lcm_video.errors import CheckpointError
from lcm_video.models.contents import contents
try:
    contents(Path(sys.argv[1]))
except CheckpointError as error:
    print(error.message)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0], 'torch' in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
@pytest.mark.parametrize("kind", ["data", "program", "many"])
def test_a_zip_bomb_is_refused_in_little_memory(tmp_path, kind):
    path = tmp_path / "bomb.ckpt"
    extra = {"data": {"archive/data/0": bytes(300_000_000)}, "many": {f"archive/data/{n}": b"" for n in range(70_000)}}
    program = bytes(300_000_000) if kind == "program" else pickle.dumps({}, 2)
    method = zipfile.ZIP_STORED if kind == "many" else zipfile.ZIP_DEFLATED
    as_zip(path, program, method=method, extra=extra.get(kind))
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    message, facts = done.stdout.splitlines()
    peak, torch_loaded = facts.split()
    assert "bomb.ckpt is no model file" in message
    assert int(peak) < 300_000
    assert torch_loaded == "False"


def test_a_zip_that_is_not_pytorchs_is_told_so(tmp_path):
    path = as_zip(tmp_path / "x.ckpt", b"hello", name="readme.txt")
    with pytest.raises(CheckpointError, match="not one of PyTorch's"):
        contents(path)


def test_the_table_of_a_pickle_says_what_torch_says(tmp_path):
    for number, zipped in enumerate([True, False]):
        path = tmp_path / f"{number}.pt"
        inside = {"a": torch.ones(2, 3).half(), "b": torch.nn.Parameter(torch.ones(4)), "c": torch.ones(1).bfloat16()}
        torch.save({"state_dict": inside, "step": 3}, path, _use_new_zipfile_serialization=zipped)
        found = table(path, sniff(path))
        assert {name: shaped.shape for name, shaped in found.items()} == {"a": (2, 3), "b": (4,), "c": (1,)}
        assert {name: shaped.dtype for name, shaped in found.items()} == {"a": "F16", "b": "F32", "c": "BF16"}
        assert {name: tuple(tensor.shape) for name, tensor in read(path).tensors.items()} == contents(path).shapes


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to(path)])
def test_pipes_folders_and_circles_are_no_model_files(tmp_path, make):
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(CheckpointError):
        sniff(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told_so(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1)}, path)
    path.chmod(0)
    with pytest.raises(CheckpointError, match="cannot be opened: Permission denied"):
        sniff(path)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_that_are_not_numbers_are_named(kind):
    good, bad = torch.ones(4).to(kind), torch.tensor([1.0, float("nan")]).to(kind)
    assert unsound({"good": good, "bad": bad, "count": torch.tensor(3)}) == ["bad"]


def mutations(content, generator):
    """``content`` with some of it changed, cut, doubled or lost."""
    place = generator.randrange(len(content))
    many = generator.randrange(1, 40)
    return generator.choice(
        [
            content[:place],
            content[:place] + generator.randbytes(many) + content[place + many :],
            content[:place] + content[place + many :],
            content[:place] + content[max(0, place - many) :],
        ]
    )


def sound():
    made = io.BytesIO()
    torch.save({"state_dict": {"a": torch.ones(3)}}, made)
    old = io.BytesIO()
    torch.save({"a": torch.ones(3)}, old, _use_new_zipfile_serialization=False)
    return [raw({"a": entry(), "b": entry(offsets=(8, 16))}, b"\0" * 16), made.getvalue(), old.getvalue()]


def survives(seed, folder):
    generator = random.Random(seed)
    path = Path(folder) / "x.ckpt"
    path.write_bytes(mutations(generator.choice(sound()), generator))
    try:
        contents(path)
    except CheckpointError:
        return


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_damage_of_any_kind_is_a_model_error_or_harmless(tmp_path_factory, seed):
    survives(seed, tmp_path_factory.getbasetemp())


@pytest.mark.slow
def test_twenty_thousand_kinds_of_damage(tmp_path):
    for seed in range(20_000):
        survives(seed, tmp_path)


def test_a_zip_file_that_speaks_of_several_disks_is_told_like_a_cut_one(tmp_path):
    """Found by the test above: Python's zipfile raises where it is only asked."""
    locator = b"PK\x06\x07" + (1).to_bytes(4, "little") + bytes(8) + (2).to_bytes(4, "little")
    (tmp_path / "x.ckpt").write_bytes(b"PK\x03\x04" + bytes(60) + locator + b"PK\x05\x06" + bytes(18))
    with pytest.raises(CheckpointError, match="zip directory is missing"):
        contents(tmp_path / "x.ckpt")


def test_the_guard_of_these_tests_sees_a_socket(monkeypatch):
    with pytest.raises(pytest.fail.Exception), socket.socket() as opened:
        opened.connect(("127.0.0.1", 9))
    with pytest.raises(pytest.fail.Exception):
        socket.getaddrinfo("huggingface.co", 443)


ALONE = """\
import socket, sys
def refuse(*_, **__):
    print("A SOCKET WAS OPENED", file=sys.stderr)
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from lcm_video.cli import main
main()
"""


@pytest.mark.slow
def test_a_render_in_a_process_without_network_or_settings_opens_no_socket(tmp_path, model_files):
    names = ("checkpoints/dreamshaper_8*", "motion/v3_sd15_mm*", "loras/lcm-lora-sdv1-5*", "embeddings/BadDream*")
    folder = model_files(*names, "vae/vae-ft-ema-560000-ema-pruned.ckpt")
    model = "{checkpoint: dreamshaper_8, motion: v3_sd15_mm, vae: vae-ft-ema-560000-ema-pruned, embeddings: [BadDream]}"
    board = f"model: {model}\nruntime: {{folders: ['{folder}']}}\nvideo: {{frames: 2, width: 64, height: 64}}\n"
    (tmp_path / "board.yaml").write_text(board + "prompts: {0: a cat BadDream}\n")
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ALONE, "render", "board.yaml", "sampling.steps=1", "-o", "film.mp4"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert "SOCKET" not in done.stderr
    assert (tmp_path / "film.mp4").exists()
