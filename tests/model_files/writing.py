"""Weights to files: safetensors, PyTorch zip, legacy pickle; sparse files of full size cost nothing."""

import json
import math
import struct
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

from model_files.specs import SIZE
from model_files.values import DTYPES, tensors, value


def order(spec):
    """Weights as today's writers sort them: by the size of their type, then by name."""
    return sorted(spec.items(), key=lambda item: (-SIZE[item[1][1]], item[0]))


def st_header(spec, meta):
    """What safetensors writes before the data (8-byte length, JSON padded to 8), and the size of the data."""
    head, end = {} if meta is None else {"__metadata__": meta}, 0
    for name, (shape, dt) in order(spec):
        start, end = end, end + SIZE[dt] * math.prod(shape)
        head[name] = {"dtype": "F8_E4M3" if dt == "F8" else dt, "shape": list(shape), "data_offsets": [start, end]}
    raw = json.dumps(head, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw, end


def raw(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


class Writer:
    """Writes weights below ``out``; ``fill``: random (seeded by the path) or sparse (zeros, no space)."""

    def __init__(self, out: Path, fill: str, seed: int):
        self.out, self.fill, self.seed = out, fill, seed

    def path(self, rel):
        p = self.out / rel
        p.parent.mkdir(parents=True, exist_ok=True)
        return p

    def _seed(self, rel):
        return (self.seed * 1000003 + sum(ord(c) * (i + 1) for i, c in enumerate(rel))) % (2**31)

    def state(self, rel, spec, rank=None):
        if self.fill == "sparse":  # untouched pages: virtual memory only, and skip_data() writes holes
            return OrderedDict((k, torch.empty(s, dtype=DTYPES[d])) for k, (s, d) in spec.items())
        return tensors(spec, self._seed(rel), rank)

    def safetensors(self, rel, spec, meta=None, rank=None, edit=None):
        p = self.path(rel)
        size = sum(SIZE[d] * math.prod(s) for s, d in spec.values())
        if self.fill == "sparse" or (edit is None and size > 2**28):
            # Tensor by tensor: memory stays at one. Sparse: real values only where small, the rest holes.
            head, end = st_header(spec, meta)
            gen = torch.Generator().manual_seed(self._seed(rel))
            with open(p, "wb") as f:
                f.write(head)
                f.truncate(len(head) + end)
                for name, (shape, dt) in order(spec):
                    n = SIZE[dt] * math.prod(shape)
                    if self.fill != "sparse" or n <= 4096:
                        f.write(raw(value(name, shape, dt, gen, rank)))
                    else:
                        f.seek(n, 1)
            return
        state = self.state(rel, spec, rank)
        if edit:
            edit(state)
        save_file({k: v.contiguous() for k, v in state.items()}, p, metadata=meta)

    def torch(self, rel, obj, legacy=False):
        p = self.path(rel)
        if self.fill == "sparse" and not legacy:
            with torch.serialization.skip_data():
                torch.save(obj, p)
        else:
            torch.save(obj, p, _use_new_zipfile_serialization=not legacy)

    def ckpt(self, rel, spec, wrap=None, rank=None, legacy=False, extra=None):
        """wrap None: the dict itself; "state_dict": {"state_dict": ...}; extra: more top-level entries."""
        sd = self.state(rel, spec, rank)
        obj = {"state_dict": sd, **(extra or {})} if wrap == "state_dict" else sd
        self.torch(rel, obj, legacy)

    def text(self, rel, s):
        self.path(rel).write_text(s, encoding="utf-8")
