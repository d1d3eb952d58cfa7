"""Files of animatediff-cli and animatediff-cli-prompt-travel become storyboards that say the same."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from foreign_files import converted, survives
from hypothesis import given, settings, strategies as st

from lcm_video.errors import StoryboardError
from lcm_video.importers import animatediff_cli
from lcm_video.importers.animatediff_cli.fields import FIELDS, READ_TOGETHER
from lcm_video.importers.animatediff_cli.sampling import SCHEDULERS, growing
from lcm_video.importers.animatediff_cli.travel import by_frame, joined, keyframes
from lcm_video.importers.document import document
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text
from lcm_video.timeline import Keyframe, plan

WILD = Path(__file__).parents[2] / "shared" / "golden" / "wild_inputs"
CASES = json.loads((Path(__file__).parent / "golden" / "prompts" / "cli_travel.json").read_text())["cases"]

PEER_FIELDS = (
    "name", "path", "vae_path", "motion_module", "context_schedule", "lcm_map", "gradual_latent_hires_fix_map",
    "compile", "tensor_interpolation_slerp", "seed", "scheduler", "steps", "guidance_scale", "unet_batch_size",
    "clip_skip", "prompt_fixed_ratio", "head_prompt", "tail_prompt", "prompt_map", "n_prompt", "is_single_prompt_mode",
    "lora_map", "motion_lora_map", "ip_adapter_map", "img2img_map", "region_map", "controlnet_map", "upscale_config",
    "stylize_config", "output", "result",
)  # fmt: skip


def imported(data, *, faithful=False):
    found = document(data if isinstance(data, str) else json.dumps(data), name="x.json")
    assert animatediff_cli.recognises(found)
    return animatediff_cli.convert(found, faithful=faithful)


def board(data, *, faithful=False):
    return load_text(to_yaml(imported(data, faithful=faithful)), name="x.yaml")


def fates(result):
    return {finding.field: finding.fate for finding in result.findings}


def schedule(prompts, *, frames, loop):
    """Each frame's two prompts and the share of the right one."""
    keys = {str(at): Keyframe(text) for at, text in prompts.items()}
    timeline = plan(keys, fps=8, frames=frames, loop=loop)
    return [(timeline.prompts[left], timeline.prompts[right], mix) for left, right, mix in timeline.frames]


def assert_same_travel(ours, keys, texts):
    """The peer's [left key, right key, share] of every frame, through what stands at these keys."""
    for (left, right, mix), (before, after, share) in zip(ours, keys, strict=True):
        before, after = texts[str(before)], texts[str(after)]
        if before == after or share == 0:
            assert (left, right, mix) == (before, before, 0)
        else:
            assert (left, right) == (before, after)
            assert mix == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_prompts_travel_as_the_tool_means_it(case):
    placed, strange = by_frame(case["prompt_map"])
    whole = {at: joined(case["head_prompt"], text, case["tail_prompt"]) for at, text in placed.items()}
    frames = case["video_length"]
    found = keyframes(whole, hold=case["prompt_fixed_ratio"], frames=frames, wraps=True)
    assert not strange
    assert [*found.items()] == sorted((at, text) for at, text in case["expanded"])
    assert_same_travel(
        schedule(found, frames=frames, loop=True), case["keys_sorted"], case["key_to_prompt_embedding_sorted"]
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_only_the_way_back_to_the_first_prompt_is_missing_where_it_is_not_asked_for(case):
    placed, _ = by_frame(case["prompt_map"])
    frames, hold = case["video_length"], case["prompt_fixed_ratio"]
    wrapped, plain = (keyframes(placed, hold=hold, frames=frames, wraps=wraps) for wraps in (True, False))
    last, first = max(at for at in placed if at < frames), min(placed)
    ours, theirs = schedule(plain, frames=frames, loop=False), schedule(wrapped, frames=frames, loop=True)
    assert ours[first : last + 1] == theirs[first : last + 1]
    assert {frame[0] for frame in ours[last:]} == {placed[last]}
    assert {frame[0] for frame in ours[:first]} <= {placed[first]}


def test_faithful_adds_the_loop_and_nothing_else():
    data = {"prompt_map": {"0": "a", "8": "b"}, "prompt_fixed_ratio": 0.5, "steps": 4}
    plain, faithful = imported(data).board, imported(data, faithful=True).board
    assert faithful["video"].pop("loop") is True
    assert faithful["prompts"].pop("12") == "b"
    assert plain == faithful


def test_every_field_of_the_tool_is_accounted_for():
    assert {*PEER_FIELDS} <= {*FIELDS, *READ_TOGETHER}
    data = {field: {} if field.endswith(("_map", "_config")) else "" for field in PEER_FIELDS}
    data |= {"prompt_map": {"0": "a"}, "seed": [1], "n_prompt": ["b"], "output": {"fps": 9}, "lora_map": {"l.pt": 1}}
    data |= {"motion_lora_map": {"m.ckpt": 1}, "path": "p", "vae_path": "v", "motion_module": "m"}
    told = {field.split(".")[0] for field in fates(imported(data))}
    assert told >= {*PEER_FIELDS} - {"result"}


def test_a_whole_file_says_here_what_it_says_there():
    found = board(
        {
            "name": "my film",
            "path": "share/Stable-diffusion/toon.safetensors",
            "vae_path": "vae/ema.ckpt",
            "motion_module": "models/motion-module/mm_sd_v15_v2.ckpt",
            "seed": [341774366206100, 7],
            "scheduler": "k_dpmpp_2m",
            "steps": 20,
            "guidance_scale": 10,
            "clip_skip": 2,
            "tensor_interpolation_slerp": False,
            "head_prompt": "best",
            "prompt_map": {"32": "b", "0": "a"},
            "tail_prompt": "sharp",
            "prompt_fixed_ratio": 0.5,
            "n_prompt": ["bad", "worse"],
            "lora_map": {"share/Lora/one.safetensors": 0.8, "two.safetensors": {"scale": {"0": 1.0, "8": 0.5}}},
            "motion_lora_map": {"models/motion_lora/v2_lora_PanLeft.ckpt": 1.0},
            "output": {"format": "mp4", "fps": 12, "encode_param": {"crf": 10}},
        }
    )
    assert {at: key.text for at, key in found.prompts.items()} == {
        "0": "best,a,sharp", "16": "best,a,sharp", "32": "best,b,sharp",
    }  # fmt: skip
    assert (found.video.frames, found.video.fps, found.video.loop) == (64, Fraction(12), False)
    assert (found.model.checkpoint, found.model.vae, found.model.motion) == (
        "toon.safetensors", "ema.ckpt", "mm_sd_v15_v2.ckpt",
    )  # fmt: skip
    assert [lora.path for lora in found.model.loras.values()] == [
        "one.safetensors", "two.safetensors", "v2_lora_PanLeft.ckpt",
    ]  # fmt: skip
    sampling = found.sampling
    assert (sampling.sampler, sampling.timesteps, sampling.steps) == ("dpmpp_2m", "karras", 20)
    assert (sampling.guidance, sampling.seed, found.model.clip_skip) == (10, 341774366206100, 2)
    assert (found.travel.blend, found.negative, found.windows.blend) == ("linear", "bad", "flat")
    assert (found.output.path, found.output.quality) == ("out/my_film.mp4", 10)


def test_what_a_file_leaves_out_is_as_in_the_tool():
    found = board({"prompt_map": {"0": "a"}, "n_prompt": ["b"]})
    assert (found.sampling.sampler, found.sampling.steps, found.sampling.guidance) == ("dpmpp_2m", 25, 7.5)
    assert found.travel.blend == "slerp"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 5000])
def test_every_scheduler_can_be_followed(scheduler, steps):
    assert board({"prompt_map": {"0": "a"}, "scheduler": scheduler, "steps": steps}).sampling.steps <= 1000


@pytest.mark.parametrize("steps", [1, 4, 8, 50])
def test_the_lcm_lora_grows_over_the_steps(steps):
    lcm_map = {"enable": True, "start_scale": 0.2, "end_scale": 1.0, "gradient_start": 0.25, "gradient_end": 0.75}
    found = {int(at): scale for at, scale in growing(lcm_map, steps).items()}
    for step in range(steps):
        done = (step + 1) / steps
        expected = 0.2 if done < 0.25 else 1.0 if done > 0.75 else 0.2 + 0.8 * (done - 0.25) / 0.5
        low = max(at for at in found if at <= step)
        high = min(at for at in found if at >= step)
        share = (step - low) / (high - low) if high > low else 0
        assert found[low] + (found[high] - found[low]) * share == pytest.approx(expected, abs=1e-8)


def test_lcm_takes_the_schedulers_place_and_says_so():
    result = imported({"prompt_map": {"0": "a"}, "scheduler": "euler_a", "steps": 8, "lcm_map": {"enable": True}})
    assert result.board["sampling"]["sampler"] == "lcm"
    assert fates(result)["scheduler"] == "ignored"
    assert [*result.board["model"]["loras"]] == ["lcm-lora-sdv1-5"]


def test_several_prompts_without_a_map_become_shots():
    result = imported({"motion_module": "m", "prompt": ["a", "b", "c"], "n_prompt": ["x", "y"], "seed": [1, 2]})
    shots = result.board["shots"]
    assert [(shot["prompts"]["0"], shot["negative"], shot["seed"]) for shot in shots.values()] == [
        ("a", "x", 1), ("b", "y", 2), ("c", "x", 1),
    ]  # fmt: skip
    assert fates(result)["prompt"] == "approximated"


def test_where_a_base_is_named_the_path_is_a_lora():
    data = {"base": "s/maj.safetensors", "path": "s/film.safetensors", "lora_alpha": 0.6, "prompt": ["a"]}
    model = imported({**data, "motion_module": "m"}).board["model"]
    assert model["checkpoint"] == "maj.safetensors"
    assert model["loras"] == {"film": {"path": "film.safetensors", "scale": 0.6}}


def test_comments_and_a_part_of_a_file_are_read():
    text = '"prompt_fixed_ratio": 1.0, # held\n"prompt_map": {\n  "0": "a", // first\n  "8": "b",\n},\n'
    assert [*imported(text).board["prompts"]] == ["0", "7", "8"]


def test_without_prompts_it_is_refused():
    with pytest.raises(StoryboardError, match="no prompts"):
        imported({"prompt_map": {}, "lora_map": {}})


@pytest.mark.parametrize(
    ("field", "value", "fate"),
    [
        ("controlnet_map", {"controlnet_tile": {"enable": False}}, "exact"),
        ("controlnet_map", {"controlnet_tile": {"enable": True}}, "ignored"),
        ("ip_adapter_map", {"enable": False, "scale": 1}, "exact"),
        ("ip_adapter_map", {"enable": True, "scale": 1}, "ignored"),
        ("scheduler", "heun", "approximated"),
        ("scheduler", "unheard_of", "ignored"),
        ("steps", "many", "ignored"),
        ("guidance_scale", 99, "approximated"),
        ("context_schedule", "composite", "approximated"),
        ("made_up", 1, "ignored"),
        ("seed", [2**64 - 1], "approximated"),
    ],
)
def test_what_cannot_be_kept_is_told(field, value, fate):
    data = {"prompt_map": {"0": "a"}, field: value}
    assert fates(imported(data))[field] == fate
    board(data)


def test_a_long_text_around_many_prompts_is_refused_before_it_is_built():
    with pytest.raises(StoryboardError, match="characters"):
        imported({"head_prompt": "x" * 200_000, "prompt_map": {str(at): "a" for at in range(20_000)}})


wild = sorted(path.name for path in WILD.glob("*animatediff*") if "comfy" not in path.name) if WILD.is_dir() else []
KEYLESS = ("example.md_block0",)


@pytest.mark.skipif(not wild, reason="needs other people's files")
@pytest.mark.parametrize("name", [name for name in wild if "ADE" not in name])
def test_files_of_users_import_and_pass_the_check(name):
    found = document((WILD / name).read_text(), name=name)
    if not animatediff_cli.recognises(found):
        pytest.skip("of another tool")
    if any(part in name for part in KEYLESS):
        with pytest.raises(StoryboardError, match="no prompts"):
            animatediff_cli.convert(found)
        return
    for faithful in (False, True):
        load_text(to_yaml(animatediff_cli.convert(found, faithful=faithful)), name=name)


@pytest.mark.skipif(not wild, reason="needs other people's files")
def test_files_of_users_travel_as_in_the_tool():
    expected = json.loads((WILD / "EXPECTED.json").read_text())
    seen = 0
    cases = [(json.loads((WILD / name).read_text()), case) for name, case in expected["files"].items() if "cli" in case]
    cases += [
        (json.loads(one["text"]), {"cli": [one["expected"]]}) for one in expected["texts"] if one["kind"] == "cli"
    ]
    for data, case in cases:
        result = imported(data, faithful=True).board
        for one in case["cli"]:
            if one["num_frames"] == result["video"]["frames"]:
                prompts = {int(at): text for at, text in result["prompts"].items()}
                ours = schedule(prompts, frames=one["num_frames"], loop=True)
                assert_same_travel(ours, one["keys_sorted"], one["prompt_stored_under_key_sorted"])
                seen += 1
    assert seen == len(cases)


words = st.text("abc ,.äü", max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
frames = st.integers(-5, 2000).map(str) | words
files = st.fixed_dictionaries(
    {"prompt_map": st.dictionaries(frames, words | anything, max_size=4) | anything},
    optional={
        **{field: anything for field in PEER_FIELDS if field != "prompt_map"},
        "scheduler": st.sampled_from(sorted(SCHEDULERS)),
        "steps": st.integers(-3, 3000),
        "prompt_fixed_ratio": st.floats(-1, 2),
        "prompt": st.lists(words | anything, max_size=3),
        "lcm_map": st.dictionaries(st.sampled_from(["enable", "start_scale", "gradient_start"]), scalars),
        "lora_map": st.dictionaries(
            words, scalars | st.fixed_dictionaries({"scale": st.dictionaries(frames, scalars)})
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(files, st.booleans())
def test_any_file_becomes_a_valid_storyboard_or_a_typed_error(data, faithful):
    survives(animatediff_cli, json.dumps(data), faithful=faithful)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(files, st.booleans())
def test_twenty_thousand_files_become_storyboards_or_typed_errors(data, faithful):
    converted(animatediff_cli, json.dumps(data), faithful=faithful)
