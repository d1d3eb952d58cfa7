"""diffusers' modules are loaded alone, and what is loaded is diffusers' own."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from lcm_video.models import lean
{before}
lean.load_diffusers()
loaded = [name for name in sys.modules if name.startswith("diffusers.models.")]
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel as lone
import diffusers, diffusers.models.unets as unets
from diffusers import AnimateDiffPipeline, AutoencoderKL, UNetMotionModel
from diffusers.models.transformers import Transformer2DModel
unet = lone(block_out_channels=(32, 64), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=8, cross_attention_dim=8)
print(json.dumps({{
    "loaded": loaded,
    "one": lone is diffusers.UNet2DConditionModel is unets.UNet2DConditionModel,
    "transformer": isinstance(unet.down_blocks[1].attentions[0], Transformer2DModel),
    "whole": hasattr(unets, "UNet3DConditionModel") and unets.__file__.endswith("__init__.py"),
}}))
"""


def seen(before=""):
    program = PROGRAM.format(before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_only_what_is_needed_is_loaded_and_the_rest_of_diffusers_still_works():
    facts = seen()
    assert facts["one"]
    assert facts["transformer"]
    assert facts["whole"]
    assert "diffusers.models.unets.unet_2d_condition" in facts["loaded"]
    assert not [name for name in facts["loaded"] if "unet_3d" in name or "flux" in name]


def test_where_diffusers_is_loaded_already_nothing_changes():
    facts = seen("import diffusers.models.unets")
    assert facts["one"]
    assert facts["transformer"]
    assert facts["whole"]
    assert [name for name in facts["loaded"] if "unet_3d" in name]
