"""Names, shapes and types of weights: plain data, no tensors; a width divides the channels, never the names."""

from collections import OrderedDict
from dataclasses import dataclass

SIZE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "F8": 1}


class Spec(OrderedDict):
    """Spec builder: Spec(dtype, prefix) with lin/conv/norm helpers."""

    def __init__(self, dt="F32", prefix=""):
        super().__init__()
        self.dt, self.prefix = dt, prefix

    def t(self, key, *shape, dt=None):
        self[self.prefix + key] = (tuple(shape), dt or self.dt)

    def lin(self, key, out, inp, bias=True):
        self.t(key + ".weight", out, inp)
        if bias:
            self.t(key + ".bias", out)

    def conv(self, key, out, inp, k=3):
        self.t(key + ".weight", out, inp, k, k)
        self.t(key + ".bias", out)

    def norm(self, key, c):
        self.t(key + ".weight", c)
        self.t(key + ".bias", c)


def merge(*specs):
    out = OrderedDict()
    for s in specs:
        out.update(s)
    return out


def reprefix(spec, prefix):
    return OrderedDict((prefix + k, v) for k, v in spec.items())


@dataclass(frozen=True)
class Width:
    """One width. `full` is the real thing."""

    mc: int = 320  # UNet model_channels
    vae: int = 128  # VAE ch
    clip: int = 768  # CLIP-L width
    clip_layers: int = 12
    clip_heads: int = 12
    g: int = 1280  # OpenCLIP bigG width
    g_layers: int = 32
    g_heads: int = 20
    vocab: int = 49408
    mult15: tuple = (1, 2, 4, 4)
    multxl: tuple = (1, 2, 4)
    add_time: int = 256  # SDXL addition_time_embed_dim
    rank: int = 64
    taesd: int = 64
    img: int = 1024  # CLIP-H image embedding (IP-Adapter)

    @property
    def ch15(self):
        return tuple(self.mc * m for m in self.mult15)

    @property
    def chxl(self):
        return tuple(self.mc * m for m in self.multxl)

    @property
    def ctxxl(self):
        return self.clip + self.g

    @property
    def adm(self):
        return self.g + 6 * self.add_time


FULL = Width()

# 32 channels: the fewest that GroupNorm(32) takes. The depth stays real, and so do the names.
TINY = Width(
    mc=32,
    vae=32,
    clip=32,
    clip_layers=12,
    clip_heads=4,
    g=64,
    g_layers=32,
    g_heads=4,
    add_time=8,
    rank=4,
    taesd=16,
    img=32,
)
# 8 channels: real names, but nothing can be built: for files that must be refused before.
NANO = Width(mc=8, vae=8, clip=8, clip_heads=1, g=16, g_heads=1, add_time=8, rank=2, taesd=8, img=8)

WIDTHS = {"full": FULL, "tiny": TINY}
