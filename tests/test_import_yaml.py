"""AnimateDiff's own prompt configs become storyboards of one shot for each prompt."""

import pytest
import yaml
from foreign_files import converted, survives
from hypothesis import given, settings, strategies as st

from lcm_video.errors import StoryboardError
from lcm_video.importers import animatediff_yaml
from lcm_video.importers.document import document
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text
from lcm_video.storyboard import shots

CONFIG = """
# the film's own model
- domain_lora_scale: 0.5
  adapter_lora_path: "models/Motion_Module/v3_sd15_adapter.ckpt"
  dreambooth_path: "models/DreamBooth_LoRA/real.safetensors"
  lora_model_path: ""
  inference_config: "configs/inference/inference-v3.yaml"
  motion_module:    "models/Motion_Module/v3_sd15_mm.ckpt"
  motion_module_lora_configs:
    - path:  "models/MotionLoRA/v2_lora_ZoomIn.ckpt"
      alpha: 0.7
  H: 256
  W: 384
  seed: [10788741199826055526, 42]
  steps: 20
  guidance_scale: 8
  prompt:
    - "a boat, sea"
    - "a house: red"
  n_prompt:
    - "worst quality"
"""


def imported(text, *, faithful=False):
    found = document(text, name="x.yaml")
    assert animatediff_yaml.recognises(found)
    return animatediff_yaml.convert(found, faithful=faithful)


def board(text):
    return load_text(to_yaml(imported(text)), name="x.yaml")


def fates(result):
    return {finding.field: finding.fate for finding in result.findings}


def test_a_whole_file_says_here_what_it_says_there():
    found = board(CONFIG)
    scenes = shots(found)
    assert [(scene.prompts["0"].text, scene.negative["0"].text, scene.frames) for scene in scenes] == [
        ("a boat, sea", "worst quality", 16), ("a house: red", "worst quality", 16),
    ]  # fmt: skip
    assert [scene.sampling.seed for scene in scenes] == [10788741199826055526 - 2**63, 42]
    assert {(scene.sampling.sampler, scene.sampling.steps, scene.sampling.guidance) for scene in scenes} == {
        ("ddim", 20, 8)
    }
    model = found.model
    assert (model.checkpoint, model.motion) == ("real.safetensors", "v3_sd15_mm.ckpt")
    assert {lora.path: lora.scale for lora in model.loras.values()} == {
        "v3_sd15_adapter.ckpt": 0.5, "v2_lora_ZoomIn.ckpt": 0.7,
    }  # fmt: skip
    assert (found.video.width, found.video.height) == (384, 256)


def test_one_prompt_needs_no_shots():
    found = imported(CONFIG.replace('    - "a house: red"\n', "")).board
    assert "shots" not in found
    assert (found["prompts"], found["negative"]) == ({"0": "a boat, sea"}, "worst quality")


def test_settings_with_the_same_model_become_further_shots():
    found = imported(CONFIG + CONFIG.replace("steps: 20", "steps: 9")).board
    assert [shot["sampling"]["steps"] for shot in found["shots"].values()] == [20, 20, 9, 9]
    board(CONFIG + CONFIG.replace("steps: 20", "steps: 9"))


def test_settings_with_another_model_are_left_out_and_told():
    result = imported(CONFIG + CONFIG.replace("v3_sd15_mm", "mm_sd_v15_v2"))
    assert len(result.board["shots"]) == 2
    assert fates(result)["setting_2"] == "ignored"


def test_the_first_form_of_the_file_is_read():
    found = imported(
        "Film:\n  base: m/maj.safetensors\n  path: m/velvia.safetensors\n  lora_alpha: 0.6\n"
        "  motion_module:\n    - mm_sd_v14.ckpt\n    - mm_sd_v15.ckpt\n  seed: [1]\n  prompt: [a]\n  n_prompt: [b]\n"
    )
    assert found.board["model"] == {
        "checkpoint": "maj.safetensors",
        "motion": "mm_sd_v14.ckpt",
        "loras": {"velvia": {"path": "velvia.safetensors", "scale": 0.6}},
    }
    assert fates(found)["motion_module mm_sd_v15.ckpt"] == "ignored"


def test_faithful_is_the_same_since_the_tool_has_no_quirk_in_time():
    assert imported(CONFIG).board == imported(CONFIG, faithful=True).board


@pytest.mark.parametrize(
    ("old", "new", "field", "fate"),
    [
        ("seed: [10788741199826055526, 42]", "seed: -1", "seed", "approximated"),
        ("a boat", "a (boat:1.2)", "prompt", "approximated"),
        ("steps: 20", "controlnet_path: x.ckpt", "controlnet_path", "ignored"),
        ("steps: 20", "mystery: 1", "mystery", "ignored"),
        ("W: 384", "W: 388", "W", "approximated"),
    ],
)
def test_what_cannot_be_kept_is_told(old, new, field, fate):
    assert old in CONFIG
    assert fates(imported(CONFIG.replace(old, new)))[field] == fate
    board(CONFIG.replace(old, new))


@pytest.mark.parametrize("text", ["", "motion_module: x", "- motion_module: x\n", "- [motion_module, prompt]", "{"])
def test_other_files_are_left_to_others(text):
    assert not animatediff_yaml.recognises(document(text, name="x"))


def test_without_prompts_it_is_refused():
    with pytest.raises(StoryboardError, match="no prompts"):
        imported("- motion_module: x\n  prompt: []\n")


words = st.text("abc ,.", max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
fields = (
    "dreambooth_path", "base", "path", "lora_model_path", "lora_alpha", "motion_module_lora_configs",
    "adapter_lora_path", "domain_lora_scale", "W", "H", "L", "seed", "steps", "guidance_scale", "n_prompt",
    "controlnet_path", "fps", "mystery",
)  # fmt: skip
files = st.lists(
    st.fixed_dictionaries(
        {"motion_module": words | anything, "prompt": st.lists(words | anything, max_size=3) | anything},
        optional=dict.fromkeys(fields, anything),
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(files, st.booleans())
def test_any_file_becomes_a_valid_storyboard_or_a_typed_error(data, faithful):
    survives(animatediff_yaml, yaml.safe_dump(data), faithful=faithful)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(files, st.booleans())
def test_twenty_thousand_files_become_storyboards_or_typed_errors(data, faithful):
    converted(animatediff_yaml, yaml.safe_dump(data), faithful=faithful)
