"""LoRA's relatives as their papers define them, written out number by number in float64.

Each function gives a layer's tensors by the endings of their keys, and what the formula adds to the weight.
"""

import numpy as np
import torch
from torch import nn

OUT, INTO, RANK, ALPHA = 8, 6, 3, 1.5
LAYERS = {
    "linear": nn.Linear(INTO, OUT),
    "1x1": nn.Conv2d(INTO, OUT, 1),
    "3x3": nn.Conv2d(INTO, OUT, 3, stride=2, padding=1),
}


def factors(seed=0, **shapes):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def patch(layer):
    return tuple(layer.weight.shape[2:])


def wide(layer):
    return INTO * layer.weight[0, 0].numel()


def lora_change(layer):
    """arXiv:2106.09685 §4.1: ΔW = BA, a convolution being a matrix over its patches."""
    ones = (1,) * len(patch(layer))
    f = factors(**{"lora_down.weight": (RANK, INTO, *patch(layer)), "lora_up.weight": (OUT, RANK, *ones)})
    down, up = f["lora_down.weight"].flatten(1), f["lora_up.weight"].flatten(1)
    delta = sum(up[:, r, None] * down[None, r] for r in range(RANK))
    return f, ALPHA / RANK * delta


def tucker(core, up, down):
    """A k×k core between two 1×1 factors."""
    delta = torch.zeros(OUT, INTO, *core.shape[2:], dtype=torch.float64)
    for r in range(RANK):
        for s in range(RANK):
            delta += up[:, r, None, None, None] * core[r, s] * down[s][None, :, None, None]
    return delta


def locon_tucker(layer):
    shapes = {"down": (RANK, INTO, 1, 1), "up": (OUT, RANK, 1, 1), "mid": (RANK, RANK, 3, 3)}
    f = factors(**{f"lora_{name}.weight": shape for name, shape in shapes.items()})
    down, up, core = (f[f"lora_{name}.weight"] for name in ("down", "up", "mid"))
    return f, ALPHA / RANK * tucker(core, up[:, :, 0, 0], down[:, :, 0, 0])


def loha(layer):
    """arXiv:2108.06098, proposition 1: W = (X1 Y1ᵀ) ⊙ (X2 Y2ᵀ)."""
    f = factors(
        **{f"hada_w{n}_a": (OUT, RANK) for n in (1, 2)}, **{f"hada_w{n}_b": (RANK, wide(layer)) for n in (1, 2)}
    )
    return f, ALPHA / RANK * (f["hada_w1_a"] @ f["hada_w1_b"]) * (f["hada_w2_a"] @ f["hada_w2_b"])


def loha_tucker(layer):
    """The same, proposition 3: both factors of Tucker's form; LyCORIS stores their ranks first."""
    shapes = {f"hada_w{n}_{side}": (RANK, size) for n in (1, 2) for side, size in (("a", OUT), ("b", INTO))}
    f = factors(**shapes, hada_t1=(RANK, RANK, 3, 3), hada_t2=(RANK, RANK, 3, 3))
    first, second = (tucker(f[f"hada_t{n}"], f[f"hada_w{n}_a"].T, f[f"hada_w{n}_b"]) for n in (1, 2))
    return f, ALPHA / RANK * first * second


def kronecker(first, second):
    """(A ⊗ B)[a·p + b, c·q + d] = A[a, c] B[b, d], for every place of a patch."""
    rows, columns = len(first) * len(second), first.shape[1] * second.shape[1]
    delta = torch.zeros(rows, columns, *second.shape[2:], dtype=torch.float64)
    for a, c in np.ndindex(*first.shape):
        for b, d in np.ndindex(*second.shape[:2]):
            delta[a * len(second) + b, c * second.shape[1] + d] = first[a, c] * second[b, d]
    return delta


def lokr_whole(layer):
    """arXiv:2212.10650 §3; alpha does not count, as LyCORIS has it, where nothing is of low rank."""
    f = factors(lokr_w1=(2, 2), lokr_w2=(4, 3, *patch(layer)))
    return f, kronecker(f["lokr_w1"], f["lokr_w2"])


def lokr_factored(layer):
    f = factors(lokr_w1=(2, 2), lokr_w2_a=(4, RANK), lokr_w2_b=(RANK, wide(layer) // 2))
    second = (f["lokr_w2_a"] @ f["lokr_w2_b"]).reshape(4, 3, *patch(layer))
    return f, ALPHA / RANK * kronecker(f["lokr_w1"], second)


def lokr_both_factored(layer):
    f = factors(lokr_w1_a=(2, RANK), lokr_w1_b=(RANK, 2), lokr_w2=(4, 3, *patch(layer)))
    return f, ALPHA / RANK * kronecker(f["lokr_w1_a"] @ f["lokr_w1_b"], f["lokr_w2"])


def lokr_tucker(layer):
    f = factors(lokr_w1=(2, 2), lokr_w2_a=(RANK, 4), lokr_w2_b=(RANK, 3), lokr_t2=(RANK, RANK, 3, 3))
    second = torch.zeros(4, 3, 3, 3, dtype=torch.float64)
    for r, s in np.ndindex(RANK, RANK):
        second += (f["lokr_w2_a"][r, :, None] * f["lokr_w2_b"][s])[:, :, None, None] * f["lokr_t2"][r, s]
    return f, ALPHA / RANK * kronecker(f["lokr_w1"], second)


def whole(layer):
    f = factors(diff=tuple(layer.weight.shape))
    return f, f["diff"]


def dora(direction, ending, *, axis=0):
    """arXiv:2402.09353 eq. 5: W' = m (W + ΔW) / ‖W + ΔW‖, the length of every output (or input) for itself."""

    def made(layer):
        f, delta = direction(layer)
        weight = layer.weight.detach().double()
        turned = weight + delta.reshape(weight.shape)
        slices = turned.unbind(axis)
        lengths = factors(seed=1, m=(len(slices),))["m"].abs() + 0.5
        changed = torch.stack([m * one / one.pow(2).sum().sqrt() for m, one in zip(lengths, slices, strict=True)], axis)
        shape = [1] * weight.ndim
        shape[axis] = -1
        stored = lengths if ending == "lora_magnitude_vector" else lengths.reshape(shape)
        return f | {ending: stored}, changed - weight

    return made


ANYWHERE = {
    "lora": lora_change,
    "loha": loha,
    "lokr, whole": lokr_whole,
    "lokr, factored": lokr_factored,
    "lokr, first factored": lokr_both_factored,
    "difference": whole,
    "dora": dora(lora_change, "dora_scale"),
    "dora, by input": dora(lora_change, "dora_scale", axis=1),
    "dora, peft": dora(lora_change, "lora_magnitude_vector"),
    "dora of loha": dora(loha, "dora_scale"),
    "dora of lokr": dora(lokr_factored, "dora_scale"),
}
IN_3X3 = {"locon, Tucker": locon_tucker, "loha, Tucker": loha_tucker, "lokr, Tucker": lokr_tucker}
CASES = [(made, layer) for made in ANYWHERE for layer in LAYERS] + [(made, "3x3") for made in IN_3X3]
