"""Regional compilation: the blocks that a UNet repeats, each compiled by torch once and kept on disk."""

import os
from typing import Any

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from lcm_video.models.lean import mark_for_compiler
from lcm_video.models.places import cache_folder
from lcm_video.models.temporal import Block

CACHE = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that says where torch keeps what it compiled."""

BLOCKS = (BasicTransformerBlock, ResnetBlock2D, Block)

SHAPES = 64
"""Variants of one kind of block that may be compiled: resnets alone have eight in SD 1.5; torch stops at eight."""


def compile_blocks(model: nn.Module, **options: Any) -> int:
    """Has the blocks of ``model`` compiled at their first calls, in place, under their own names; gives how many.

    ``options`` are those of ``torch.compile``.
    """
    import torch._dynamo
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # torch names a folder among the temporary files as soon as it is imported; one that the user named stays.
    if os.environ.get(CACHE, default_cache_dir()) == default_cache_dir():
        os.environ[CACHE] = str(cache_folder() / "compiled")
    mark_for_compiler()
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, SHAPES)
    blocks = [module for module in model.modules() if isinstance(module, BLOCKS)]
    for block in blocks:
        block.compile(**{"dynamic": False, **options})
    return len(blocks)
