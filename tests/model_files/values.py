"""Plausible values for weights: norms near 1, small biases, linears about 1/sqrt(fan in); seeded."""

import math
from collections import OrderedDict
from functools import cache

import torch

from model_files.checkpoints import SCHEDULE_KEYS

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "F8": torch.float8_e4m3fn,
}


def sinusoid(n, c):
    pos = torch.arange(n).unsqueeze(1)
    div = torch.exp(torch.arange(0, c, 2) * (-math.log(10000.0) / c))
    pe = torch.zeros(1, n, c)
    pe[0, :, 0::2] = torch.sin(pos * div)
    pe[0, :, 1::2] = torch.cos(pos * div)
    return pe


@cache
def schedule():
    """The training buffers of LatentDiffusion."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    ac = torch.cumprod(1 - betas, 0)
    prev = torch.cat([torch.ones(1, dtype=torch.float64), ac[:-1]])
    var = betas * (1 - prev) / (1 - ac)
    d = dict(
        betas=betas,
        alphas_cumprod=ac,
        alphas_cumprod_prev=prev,
        sqrt_alphas_cumprod=ac.sqrt(),
        sqrt_one_minus_alphas_cumprod=(1 - ac).sqrt(),
        log_one_minus_alphas_cumprod=(1 - ac).log(),
        sqrt_recip_alphas_cumprod=(1 / ac).sqrt(),
        sqrt_recipm1_alphas_cumprod=(1 / ac - 1).sqrt(),
        posterior_variance=var,
        posterior_log_variance_clipped=var.clamp(min=1e-20).log(),
        posterior_mean_coef1=betas * prev.sqrt() / (1 - ac),
        posterior_mean_coef2=(1 - prev) * (1 - betas).sqrt() / (1 - ac),
    )
    return {k: v.float() for k, v in d.items()}


def value(key, shape, dt, gen, rank=None):
    """A plausible tensor for this key. Norm weights near 1, biases small, linears ~1/sqrt(fan_in)."""
    dtype = DTYPES[dt]
    leaf = key.rsplit(".", 1)[-1]
    if key.endswith("position_ids"):
        return torch.arange(shape[-1]).expand(shape).to(dtype).contiguous()
    if key.endswith((".pe", ".positional_encoding")):
        return sinusoid(shape[1], shape[2]).to(dtype)
    if key in SCHEDULE_KEYS:
        return schedule()[key].to(dtype)
    if key == "model_ema.decay":
        return torch.tensor(0.9999, dtype=dtype)
    if key == "model_ema.num_updates":
        return torch.tensor(219996, dtype=dtype)
    if leaf == "alpha":
        return torch.tensor(float(rank or 8), dtype=dtype)
    if leaf == "logit_scale":
        return torch.tensor(4.6055, dtype=dtype)
    if leaf == "dora_scale":
        return torch.rand(shape, generator=gen).add(0.5).to(dtype)
    x = torch.randn(shape, generator=gen)
    if len(shape) >= 2:
        fan = math.prod(shape[1:])
        s = 1.0 / math.sqrt(max(fan, 1))
        if any(
            t in key
            for t in ("proj_out", "out_layers.3", "conv2", "to_out", "lora_up", "lora_B", ".up.weight", "zero_convs")
        ):
            s *= 0.2  # keep residual branches small, as trained networks do
        if "embedding" in key:
            s = 0.02
        x = x * s
    elif len(shape) == 1:
        # 1-D `.weight` is always a norm in these models; everything else 1-D is a bias
        x = 1.0 + 0.02 * x if leaf == "weight" else 0.01 * x
    return x.to(dtype)


def tensors(spec, seed, rank=None):
    gen = torch.Generator().manual_seed(seed)
    return OrderedDict((k, value(k, s, d, gen, rank)) for k, (s, d) in spec.items())
