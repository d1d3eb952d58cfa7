"""From a timeline and its encoded prompts to the encoding of any frame, computed only when asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lcm_video.timeline import Blend, Timeline
from lcm_video.types import Conditioning, Encoding, FrameNumbers

Weights = tuple[Tensor, Tensor]
"""How much of its left prompt a frame has, and of its right one: two of (frames,)."""


@dataclass(frozen=True, eq=False)
class Travelled(Mapping[str, Tensor]):
    """The encoding of a run of frames, each between two prompts: mixed by name, when it is looked up.

    What is linear in an encoding, as the keys and values of attention are, may be worked out for the few prompts and
    mixed by `weights` afterwards, instead of for every frame.

    rows: one row for each prompt, by name
    left, right, shares: for each frame its two prompts, and how much of the right one
    blend: how they are mixed, one of `BLENDS`
    numbers: what else depends on the frame, by name, such as ``motion_scale``
    """

    rows: Encoding
    left: tuple[int, ...]
    right: tuple[int, ...]
    shares: tuple[float, ...]
    blend: str = "linear"
    numbers: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        if name in self.numbers:
            return self.numbers[name]
        left = self.rows[name][list(self.left)]
        if self.left == self.right:
            return left
        of_left, of_right = (spread(each, left) for each in self.weights(name))
        return (of_left * left + of_right * self.rows[name][list(self.right)]).to(left)

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self.rows), **dict.fromkeys(self.numbers)})

    def __len__(self) -> int:
        return len(self.rows.keys() | self.numbers.keys())

    def weights(self, name: str) -> Weights:
        """How each frame mixes what it has of its two prompts, for ``name`` and whatever is linear in it."""
        rows = self.rows[name]
        apart = torch.tensor([one != other for one, other in zip(self.left, self.right, strict=True)])
        shares = torch.tensor(self.shares) * apart
        return BLENDS[self.blend](rows[list(self.left)], rows[list(self.right)], shares)

    def of(self, frames: slice) -> "Travelled":
        """The encoding of some of the frames."""
        numbers = {name: values[frames] for name, values in self.numbers.items()}
        places = {"left": self.left[frames], "right": self.right[frames], "shares": self.shares[frames]}
        return replace(self, numbers=numbers, **places)


def travel(timeline: Timeline, encoded: Encoding, *, blend: str = "linear") -> Conditioning:
    """The encoding of each frame, mixed from the two prompts it stands between.

    ``encoded`` holds one row per prompt of ``timeline``. A frame at a keyframe gets that prompt's row, bit for bit.
    """

    def encoding(frames: FrameNumbers) -> Travelled:
        blends = [timeline.frames[frame] for frame in frames]
        left, right, shares = (tuple(column) for column in zip(*blends, strict=True))
        return Travelled(encoded, left, right, shares, blend)

    return encoding


def travel_on_demand(
    timeline: Timeline, encode: Callable[[Sequence[int]], Encoding], *, blend: str = "linear"
) -> Conditioning:
    """`travel` between so many prompts that only those of the frames asked for are encoded, by their numbers."""

    def encoding(frames: FrameNumbers) -> Encoding:
        blends = [timeline.frames[frame] for frame in frames]
        numbers = sorted({number for each in blends for number in (each.left, each.right)})
        place = {number: row for row, number in enumerate(numbers)}
        own = tuple(Blend(place[each.left], place[each.right], each.mix) for each in blends)
        few = Timeline(tuple(timeline.prompts[number] for number in numbers), own)
        return travel(few, encode(numbers), blend=blend)(range(len(own)))

    return encoding


def varying(conditioning: Conditioning, values: Mapping[str, Sequence[float]]) -> Conditioning:
    """``conditioning`` with further numbers of each frame, such as ``motion_scale``; ``values`` are by frame number."""
    if not values:
        return conditioning

    def encoding(frames: FrameNumbers) -> Encoding:
        extra = {name: torch.tensor([by_frame[frame] for frame in frames]) for name, by_frame in values.items()}
        known = conditioning(frames)
        if isinstance(known, Travelled):
            return replace(known, numbers={**known.numbers, **extra})
        return {**known, **extra}

    return encoding


def straight(left: Tensor, right: Tensor, share: Tensor) -> Weights:
    """Linear interpolation."""
    return 1 - share, share


def arc(left: Tensor, right: Tensor, share: Tensor) -> Weights:
    """Spherical interpolation, each frame's whole encoding being one vector (Shoemake 1985, Animating rotation).

    Vectors that are nearly parallel, or opposite, have no arc between them to follow: those frames are mixed linearly.
    Frames whose share is 0 or 1 are left or right, bit for bit.
    """
    cosine = torch.cosine_similarity(left.flatten(1).double(), right.flatten(1).double()).cpu()
    angle = cosine.clamp(-1, 1).acos()
    linear = (cosine.abs() > 0.9995) | (share == 0) | (share == 1)
    begin, end = (
        torch.where(linear, of_all, (of_all * angle).sin() / angle.sin()) for of_all in straight(left, right, share)
    )
    return begin.float(), end.float()


def spread(by_frame: Tensor, like: Tensor) -> Tensor:
    """One number a frame in float32, to be multiplied with ``like``, whose first axis is the frames."""
    return by_frame.to(like.device, torch.float32).view(-1, *[1] * (like.ndim - 1))


BLENDS: dict[str, Callable[[Tensor, Tensor, Tensor], Weights]] = {"linear": straight, "slerp": arc}
"""(left, right, share of right) of the frames' encodings → how much of each they have."""
