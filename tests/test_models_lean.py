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
heavy = [name for name in ("transformers", "torch._dynamo", "sympy", "scipy", "requests") if name in sys.modules]
marked = len(lean.MARKED)
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel as lone
import diffusers, diffusers.models.unets as unets
from diffusers import AnimateDiffPipeline, AutoencoderKL, UNetMotionModel
from diffusers.models.transformers import Transformer2DModel
from diffusers.loaders import lora_base, single_file_utils
from diffusers.utils import loading_utils
try:
    loading_utils.requests.get("no-protocol")
except Exception as error:
    refused = type(error).__name__
from transformers import AutoImageProcessor, CLIPTextConfig, CLIPTextModel, PreTrainedModel
import torch._dynamo
from torch._dynamo import trace_rules
text = CLIPTextModel(CLIPTextConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))
unet = lone(block_out_channels=(32, 64), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=8, cross_attention_dim=8)
lean.mark_for_compiler()
from diffusers.models.attention import BasicTransformerBlock
print(json.dumps({{
    "compiler": trace_rules.is_callable_allowed(BasicTransformerBlock) and not lean.MARKED,
    "loaded": loaded,
    "one": lone is diffusers.UNet2DConditionModel is unets.UNet2DConditionModel,
    "transformer": isinstance(unet.down_blocks[1].attentions[0], Transformer2DModel),
    "heavy": heavy,
    "refused": refused,
    "marked": marked,
    "later": [issubclass(CLIPTextModel, lora_base.PreTrainedModel), isinstance(text, lora_base.PreTrainedModel),
        not isinstance(unet, lora_base.PreTrainedModel), not issubclass(lone, (int, lora_base.PreTrainedModel)),
        type(single_file_utils.DDIMScheduler()) is diffusers.DDIMScheduler,
        isinstance(diffusers.DDIMScheduler(), single_file_utils.DDIMScheduler),
        single_file_utils.AutoImageProcessor.from_pretrained == AutoImageProcessor.from_pretrained],
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
    assert facts["heavy"] == []
    assert facts["refused"] == "MissingSchema", "requests is the real one once it is used"
    assert facts["marked"] > 0
    assert facts["compiler"]
    assert all(facts["later"]), facts["later"]
    assert "diffusers.models.unets.unet_2d_condition" in facts["loaded"]
    assert not [name for name in facts["loaded"] if "unet_3d" in name or "flux" in name]


def test_where_diffusers_is_loaded_already_nothing_changes():
    facts = seen("import diffusers.models.unets")
    assert facts["one"]
    assert facts["transformer"]
    assert facts["whole"]
    assert facts["marked"] == 0
    assert facts["compiler"]
    assert all(facts["later"]), facts["later"]
    assert [name for name in facts["loaded"] if "unet_3d" in name]
