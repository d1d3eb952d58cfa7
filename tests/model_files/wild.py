"""Files that hurt, and what a good loader answers."""

import json
import os
import pickle
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from model_files.checkpoints import sd15
from model_files.motion import motion
from model_files.specs import TINY
from model_files.values import tensors
from model_files.writing import Writer

MARKER = "LCM_VIDEO_PICKLE_MARKER"
"""The environment variable that names the file which code in a malicious pickle would write."""

CODE = f"import os; open(os.environ.get('{MARKER}', 'PWNED_BY_PICKLE.txt'), 'w').write('pickle code ran')"
PT = {"format": "pt"}


@dataclass(frozen=True)
class Case:
    """A file, the slot it is put into, and the answer.

    ``expect``: ok · warn (loads and says something) · error · either (loads, or refuses clearly).
    ``mentions``: every message must say these (any of those joined by ``|``).
    """

    file: str
    slot: str
    expect: str
    mentions: tuple[str, ...]
    write: Callable[[Writer, str], object]
    why: str = ""


@cache
def cases() -> dict[str, Case]:
    """Every case by its path."""
    from model_files.wild_contents import content_cases
    from model_files.wild_kinds import kind_cases

    return {case.file: case for case in [*container_cases(), *pickle_cases(), *kind_cases(), *content_cases()]}


def write_case(folder: Path, case: Case) -> None:
    """Writes the file of ``case`` below ``folder``."""
    case.write(Writer(folder, "random", 7), case.file)


def some() -> OrderedDict:
    """A few weights of a motion module."""
    return OrderedDict(list(motion(TINY.ch15, False, 24, "F16").items())[:40])


def as_bytes(content: bytes) -> Callable[[Writer, str], object]:
    return lambda w, name: w.path(name).write_bytes(content)


def cut(share: Callable[[int], int], *, zipped: bool = False) -> Callable[[Writer, str], None]:
    """A download that stopped after ``share(size)`` bytes."""

    def write(w, name):
        w.ckpt(name, some()) if zipped else w.safetensors(name, some(), PT)
        raw = w.path(name).read_bytes()
        w.path(name).write_bytes(raw[: share(len(raw))])

    return write


def renamed(name: str, write: Callable[[Writer, str], None]) -> Callable[[Writer, str], None]:
    """A file that ``write`` makes under ``name`` and that somebody gave another name."""

    def both(w, final):
        write(w, f"wild/{name}")
        os.replace(w.path(f"wild/{name}"), w.path(final))

    return both


def container_cases() -> list[Case]:
    page = "<!DOCTYPE html><html><head><title>401 Unauthorized</title></head><body>Login required</body></html>\n"
    lfs = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 2132625894\n"
    v3 = motion(TINY.ch15, False, 32, "F16")
    st = lambda w, name: w.safetensors(name, v3, PT)
    return [
        Case("wild/zero_byte.safetensors", "checkpoint", "error", ("empty", "0 bytes"), as_bytes(b"")),
        Case("wild/truncated_data.safetensors", "motion", "error", ("truncated", "bytes", "download"),
             cut(lambda n: n * 2 // 3), "the header is whole, the data is not"),
        Case("wild/truncated_header.safetensors", "motion", "error", ("truncated", "header"), cut(lambda n: 200)),
        Case("wild/header_length_bomb.safetensors", "checkpoint", "error", ("neither safetensors|not a safetensors",),
             as_bytes(struct.pack("<Q", 2**62) + b"{}"), "4 exabytes: never allocate what a file claims"),
        Case("wild/html_error_page.safetensors", "checkpoint", "error", ("HTML", "web page", "download"),
             as_bytes(page.encode() * 3)),
        Case("wild/git_lfs_pointer.safetensors", "checkpoint", "error", ("git-lfs", "git lfs pull"),
             as_bytes(lfs.encode())),
        Case("wild/truncated.ckpt", "motion", "error", ("truncated", "zip"), cut(lambda n: n // 2, zipped=True)),
        Case("wild/safetensors_renamed.ckpt", "motion", "ok", (), renamed("_tmp.safetensors", st)),
        Case("wild/pickle_renamed.safetensors", "motion", "error", ("PyTorch|pickle", ".safetensors"),
             renamed("_tmp.ckpt", lambda w, name: w.ckpt(name, some()))),
    ]  # fmt: skip


class Evil:
    """Unpickled by an unsafe loader, this writes the file that $LCM_VIDEO_PICKLE_MARKER names. It does nothing else."""

    def __reduce__(self):
        return (exec, (CODE,))


def lightning_stub() -> type:
    """A class that pickles as Lightning's ModelCheckpoint, without having Lightning."""
    import types

    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint"):
        sys.modules.setdefault(name, types.ModuleType(name))
    module = sys.modules["pytorch_lightning.callbacks.model_checkpoint"]
    about = {"__module__": module.__name__, "__qualname__": "ModelCheckpoint"}
    if not hasattr(module, "ModelCheckpoint"):
        module.ModelCheckpoint = type("ModelCheckpoint", (), about)
    return module.ModelCheckpoint


def lightning(w: Writer, name: str) -> None:
    watched = {"monitor": "val/loss_simple_ema", "best_model_score": torch.tensor(0.1), "current_score": None}
    content = {
        "epoch": 0,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": tensors(sd15(TINY), 2),
        "callbacks": {lightning_stub(): watched},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    w.torch(name, content)
    for module in ("", ".callbacks", ".callbacks.model_checkpoint"):  # leave no trace: other libraries look for it
        sys.modules.pop(f"pytorch_lightning{module}", None)


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.02


def pickle_cases() -> list[Case]:
    v3 = motion(TINY.ch15, False, 32, "F16")
    original = lambda: torch.nn.ParameterDict({"*": torch.nn.Parameter(seeded(2, TINY.clip))})
    raw = lambda: pickle.dumps({"string_to_param": {"*": Evil()}, "name": "x"}, protocol=2)
    numpy = lambda: {"state_dict": tensors(v3, 3), "lr": np.float64(1e-4), "val": np.array([1.0])}
    return [
        Case("wild/malicious.ckpt", "checkpoint", "error", ("refused", "exec", "safetensors"),
             lambda w, name: w.torch(name, {"state_dict": tensors(some(), 1), "evil": Evil()})),
        Case("wild/malicious_legacy_pickle.pt", "embeddings", "error", ("refused",),
             lambda w, name: w.path(name).write_bytes(raw()), "not even a torch file: a raw pickle"),
        Case("wild/lightning_callbacks.ckpt", "checkpoint", "ok", (), lightning,
             "sd-v1-4.ckpt and most NAI-era files"),
        Case("wild/embedding_parameterdict.pt", "embeddings", "ok", (),
             lambda w, n: w.torch(n, {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": original()}),
             "written by the original textual_inversion repository; it has no `name`"),
        Case("wild/numpy_scalar.ckpt", "motion", "ok", (), lambda w, name: w.torch(name, numpy()),
             "a stray numpy scalar beside the weights"),
    ]  # fmt: skip


def manifest() -> str:
    """The cases as JSON, without their functions."""
    return json.dumps([{k: v for k, v in vars(case).items() if k != "write"} for case in cases().values()], indent=1)
