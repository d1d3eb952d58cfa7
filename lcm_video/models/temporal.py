"""AnimateDiff's temporal layer (arXiv:2307.04725): self-attention along time at every latent pixel.

Parameter names follow diffusers' motion adapters, so that their files load as they are.
"""

import math
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lcm_video.errors import CheckpointError
from lcm_video.models.call import current

Hidden: TypeAlias = Float[Tensor, "frames channels height width"]
Paths: TypeAlias = Float[Tensor, "pixels frames channels"]
"""One sequence per pixel: its features over time."""


class Attention(nn.Module):
    """Multi-head self-attention over frames."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Paths) -> Paths:
        q, k, v = (
            rearrange(project(x), "pixels frames (heads width) -> pixels heads frames width", heads=self.heads)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out[0](rearrange(out, "pixels heads frames width -> pixels frames (heads width)"))


class Gate(nn.Module):
    """GEGLU (arXiv:2002.05202): one half of a projection gates the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 8 * channels)

    def forward(self, x: Paths) -> Float[Tensor, "pixels frames inner"]:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Widens four times through a gate, and back. The middle entry keeps the place of a dropout in the names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Paths) -> Paths:
        return self.net(x)


class Block(nn.Module):
    """Attention twice, then feed-forward, each on normalised features; attention also sees the frame's position."""

    positions: Float[Tensor, "frames channels"]

    def __init__(self, channels: int, *, heads: int, max_frames: int) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(channels), Attention(channels, heads)
        self.norm2, self.attn2 = nn.LayerNorm(channels), Attention(channels, heads)
        self.norm3, self.ff = nn.LayerNorm(channels), FeedForward(channels)
        self.register_buffer("positions", sinusoids(max_frames, channels))

    def forward(self, x: Paths) -> Paths:
        positions = self.positions[: x.shape[1]]
        x = x + self.attn1(self.norm1(x) + positions)
        x = x + self.attn2(self.norm2(x) + positions)
        return x + self.ff(self.norm3(x))


class TemporalLayer(nn.Module):
    """A residual branch that lets the frames of a clip see each other.

    A batch may hold several clips: positions start anew in each, and no clip sees another.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 8,
        groups: int = 32,
        max_frames: int = 32,
        norm: Literal["frame", "window"] = "frame",
    ) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.over_window = norm == "window"
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([Block(channels, heads=heads, max_frames=max_frames)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Hidden) -> Hidden:
        call = current(len(x))
        self.check(call.clip)
        # Each frame is normalised alone, as the authors trained it; diffusers normalises the window as a whole.
        hidden = shared(self.norm, x, call.clip) if self.over_window else self.norm(x)
        frames, _, height, width = x.shape
        clips = frames // call.clip
        hidden = rearrange(hidden, "(clips frames) channels h w -> (clips h w) frames channels", clips=clips)
        hidden = self.proj_in(hidden)
        for block in self.transformer_blocks:
            hidden = block(hidden)
        hidden = self.proj_out(hidden)
        hidden = rearrange(
            hidden, "(clips h w) frames channels -> (clips frames) channels h w", clips=clips, h=height, w=width
        )
        if call.motion_scale is not None:
            hidden = hidden * rearrange(call.motion_scale, "frames -> frames 1 1 1").to(hidden)
        return x + hidden

    def check(self, frames: int) -> None:
        """Raises CheckpointError if the layer has no positions for so many frames of one clip."""
        if frames > self.max_frames:
            message = f"the motion module sees at most {self.max_frames} frames at once, and {frames} were given"
            raise CheckpointError(message, remedy=f"set windows.length to {min(16, self.max_frames)}")


def shared(norm: nn.GroupNorm, x: Hidden, clip: int) -> Hidden:
    """``norm`` of ``x`` with its statistics taken over all frames of each clip."""
    together = rearrange(x, "(clips frames) channels h w -> clips channels frames h w", frames=clip)
    return rearrange(norm(together), "clips channels frames h w -> (clips frames) channels h w")


def sinusoids(length: int, width: int) -> Float[Tensor, "length width"]:
    """Sine and cosine position codes (arXiv:1706.03762 §3.5), interleaved."""
    # Worked out on the CPU wherever models are built: without memory, arithmetic would load torch's compiler.
    rate = torch.exp(torch.arange(0, width, 2, device="cpu") * (-math.log(10000.0) / width))
    angle = torch.arange(length, device="cpu")[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(torch.get_default_device())
