"""From a timeline and its encoded prompts to the encoding of any frame, computed only when asked for."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lcm_video.timeline import Timeline
from lcm_video.types import Conditioning, Encoding, FrameNumbers

Mix = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(left, right, share of right for each frame) → blended; all tensors begin with the frames axis."""


def travel(timeline: Timeline, encoded: Encoding, *, blend: str = "linear") -> Conditioning:
    """The encoding of each frame, mixed from the two prompts it stands between.

    ``encoded`` holds one row per prompt of ``timeline``. A frame at a keyframe gets that prompt's row, bit for bit.
    """
    mix = BLENDS[blend]

    def encoding(frames: FrameNumbers) -> Encoding:
        blends = [timeline.frames[frame] for frame in frames]
        left, right = [b.left for b in blends], [b.right for b in blends]
        share = torch.tensor([b.mix for b in blends])

        def mixed(rows: Tensor) -> Tensor:
            if left == right:
                return rows[left]
            return mix(rows[left], rows[right], share.to(rows).view(-1, *[1] * (rows.ndim - 1)))

        return {name: mixed(rows) for name, rows in encoded.items()}

    return encoding


def varying(conditioning: Conditioning, values: Mapping[str, Sequence[float]]) -> Conditioning:
    """``conditioning`` with further numbers of each frame, such as ``motion_scale``; ``values`` are by frame number."""
    if not values:
        return conditioning

    def encoding(frames: FrameNumbers) -> Encoding:
        extra = {name: torch.tensor([by_frame[frame] for frame in frames]) for name, by_frame in values.items()}
        return {**conditioning(frames), **extra}

    return encoding


def slerp(left: Tensor, right: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation, each frame's whole encoding being one vector (Shoemake 1985, Animating rotation).

    Vectors that are nearly parallel, or opposite, have no arc between them to follow: those frames are mixed linearly.
    Frames whose share is 0 or 1 are left or right, bit for bit.
    """
    from_, to = left.flatten(1).double(), right.flatten(1).double()
    cosine = torch.cosine_similarity(from_, to).view_as(share)
    angle = cosine.clamp(-1, 1).acos()
    share64 = share.double()
    arc = (((1 - share64) * angle).sin() * left + (share64 * angle).sin() * right) / angle.sin()
    straight = torch.lerp(left, right, share)
    return torch.where((cosine.abs() > 0.9995) | (share == 0) | (share == 1), straight, arc.to(left))


BLENDS: dict[str, Mix] = {"linear": torch.lerp, "slerp": slerp}
