"""AUTOMATIC1111's texts, parameters and requests become storyboards that say the same."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from lcm_video.errors import StoryboardError
from lcm_video.importers import a1111
from lcm_video.importers.a1111.infotext import infotext, pairs
from lcm_video.importers.a1111.samplers import NEAREST, SAMPLERS, SCHEDULES, chosen
from lcm_video.importers.a1111.travel import travel
from lcm_video.importers.document import document
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text
from lcm_video.samplers import Sampling
from lcm_video.timeline import Keyframe, plan

WILD = Path(__file__).parents[2] / "shared" / "golden" / "wild_inputs"
CASES = json.loads((Path(__file__).parent / "golden" / "importers" / "webui_travel.json").read_text())
OURS_IS_LENIENT = ("case08", "case10")

FILM = """masterpiece, <lora:lcm:0.8>
0: spring
4: (summer:1.2)
12: autumn
best quality
Negative prompt: blurry,
bad hands
Steps: 8, Sampler: LCM, CFG scale: 1.5, Seed: 42, Size: 512x768, Model hash: abc, Model: dreamshaper_8, \
VAE: ema-560000.ckpt, Clip skip: 2, AnimateDiff: "enable: True, model: mm_sd_v15_v2.ckpt, video_length: 16, fps: 12, \
loop_number: 0, closed_loop: A, batch_size: 12, stride: 1, overlap: 4, interp: Off, interp_x: 10, mm_hash: 12345678", \
TI hashes: "easynegative: c74, BadDream: ab", Version: v1.8.0"""


def imported(text, *, faithful=False, carrier=""):
    found = document(text if isinstance(text, str) else json.dumps(text), name="x", carrier=carrier)
    assert a1111.recognises(found)
    return a1111.convert(found, faithful=faithful)


def board(text, **options):
    return load_text(to_yaml(imported(text, **options)), name="x.yaml")


def fates(result):
    return {finding.field: finding.fate for finding in result.findings}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.get("case", "error"))
@pytest.mark.parametrize("as_coded", [True, False])
def test_prompts_stand_at_the_frames_where_the_extension_puts_them(case, as_coded):
    found = travel(case["text"], as_coded=as_coded)
    if "error" in case or (not as_coded and case["case"] in OURS_IS_LENIENT):
        assert found is not None
        return
    if case["prompt_map"] is None:
        assert found is None
        return
    assert found is not None
    assert {str(at): text for at, text in found.prompts.items()} == case["prompt_map"]
    assert [*found.prompts] == sorted(found.prompts)


@pytest.mark.parametrize("case", [case for case in CASES if case.get("prompt_map")], ids=lambda case: case["case"])
@pytest.mark.parametrize("loop", [False, True])
def test_prompts_travel_as_in_the_extension(case, loop):
    found = travel(case["text"], as_coded=True)
    assert found is not None
    timeline = plan(
        {str(at): Keyframe(text) for at, text in found.prompts.items()}, fps=8, frames=case["video_length"], loop=loop
    )
    texts = case["prompt_map"]
    keys = case["keys_closed" if loop else "keys_open"]
    for (left, right, mix), (before, after, share) in zip(timeline.frames, keys, strict=True):
        assert timeline.prompts[left] == texts[str(before)]
        assert mix == pytest.approx(share if before != after else 0, abs=1e-12)
        assert timeline.prompts[right] == texts[str(after if share else before)]


def test_a_forgotten_blank_is_read_as_meant_unless_faithful():
    text = "Negative prompt: x"
    body = "head\n0:a\n\n8: b\ntail"
    meant, coded = (imported(f"{body}\n{text}", faithful=faithful).board["prompts"] for faithful in (False, True))
    assert meant == {"0": "head, a, tail", "8": "head, b, tail"}
    assert coded == {"0": body}


def test_faithful_changes_nothing_in_a_text_that_is_well_formed():
    assert imported(FILM).board == imported(FILM, faithful=True).board


def test_the_parameters_of_a_film_say_here_what_they_say_there():
    found = board(FILM)
    assert [(at, key.text) for at, key in found.prompts.items()] == [
        ("0", "masterpiece, <lora:lcm:0.8>, spring, best quality"),
        ("4", "masterpiece, <lora:lcm:0.8>, (summer:1.2), best quality"),
        ("12", "masterpiece, <lora:lcm:0.8>, autumn, best quality"),
    ]
    assert found.negative == "blurry,\nbad hands"
    assert (found.video.width, found.video.height, found.video.frames, found.video.fps) == (512, 768, 16, 12)
    assert found.video.loop
    assert (found.windows.length, found.windows.overlap, found.windows.stride) == (12, 4, 1)
    sampling = found.sampling
    assert (sampling.sampler, sampling.timesteps, sampling.steps, sampling.guidance) == ("lcm", "a1111", 8, 1.5)
    model = found.model
    assert (model.checkpoint, model.vae, model.motion) == ("dreamshaper_8", "ema-560000.ckpt", "mm_sd_v15_v2.ckpt")
    assert (model.embeddings, model.clip_skip, found.travel.blend) == (("easynegative", "BadDream"), 2, "slerp")


@pytest.mark.parametrize(
    ("closed_loop", "frames", "loop"),
    [("A", 32, True), ("R+P", 32, True), ("R-P", 32, False), ("N", 32, False), ("A", 16, False)],
)
def test_a_film_is_a_loop_only_where_the_extension_closes_it(closed_loop, frames, loop):
    text = FILM.replace("closed_loop: A", f"closed_loop: {closed_loop}").replace("batch_size: 12", "batch_size: 16")
    result = imported(text.replace("video_length: 16", f"video_length: {frames}"))
    assert result.board["video"].get("loop", False) is loop


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("freeinit_enable: True", {"rounds": 2}),
        ("freeinit_iters: 5, freeinit_enable: True, freeinit_ds: 0.3, freeinit_dt: 0.2, freeinit_filter: gaussian",
         {"rounds": 4, "space": 0.3, "time": 0.2, "filter": "gaussian"}),
        ("freeinit_enable: True, freeinit_iters: 99, freeinit_filter: box, freeinit_dt: 0",
         {"rounds": 10, "time": 0.01}),
        ("freeinit_enable: False, freeinit_iters: 5", {}),
    ],
)  # fmt: skip
def test_freeinit_is_drawn_here_as_there(said, becomes):
    result = imported(FILM.replace("interp: Off", f"{said}, interp: Off"))
    assert result.board.get("freeinit", {}) == becomes


def test_a_picture_without_animatediff_is_one_frame():
    found = board("a car <lora:lcm:1>\nSteps: 4, Sampler: Euler a, CFG scale: 1.5, Seed: 3, Size: 1024x1024, Model: xl")
    assert (found.video.frames, found.model.motion, found.sampling.sampler) == (1, "", "euler_a")


def test_a_request_to_the_api_says_what_the_parameters_say():
    request = {
        "prompt": "\n".join(FILM.split("\n")[:5]),
        "negative_prompt": "blurry,\nbad hands",
        "steps": 8,
        "sampler_name": "LCM",
        "cfg_scale": 1.5,
        "seed": 42,
        "width": 512,
        "height": 768,
        "subseed": -1,
        "override_settings": {
            "sd_model_checkpoint": "dreamshaper_8 [abcdef01]",
            "sd_vae": "ema-560000.ckpt",
            "CLIP_stop_at_last_layers": 2,
        },
        "alwayson_scripts": {
            "AnimateDiff": {
                "args": [
                    {
                        "enable": True, "model": "mm_sd_v15_v2.ckpt", "video_length": 16, "fps": 12, "loop_number": 0,
                        "closed_loop": "A", "batch_size": 12, "stride": 1, "overlap": 4, "interp": "Off",
                    }
                ]
            }
        },
    }  # fmt: skip
    expected = imported(FILM).board
    del expected["model"]["embeddings"]
    assert imported(request).board == expected


@pytest.mark.parametrize("name", [*SAMPLERS, *NEAREST])
@pytest.mark.parametrize("schedule", [*SCHEDULES, "exponential"])
def test_every_sampler_can_be_followed_along_every_schedule(name, schedule):
    found = chosen(name.upper(), schedule.upper())
    assert found is not None
    Sampling(sampler=found.sampler, timesteps=found.timesteps, steps=60)  # raises for what cannot be


def test_a_schedule_in_the_name_is_the_schedule_type():
    assert chosen("DPM++ 2M Karras") == chosen("DPM++ 2M", "Karras")


def test_texts_in_quotation_marks_keep_their_commas():
    line = 'Steps: 4, A: "x, y: z \\"q\\"", Sampler: DPM++ 2M, Lora hashes: "a: 1, b: 2", End: 1'
    assert pairs(line) == {
        "Steps": "4", "A": 'x, y: z "q"', "Sampler": "DPM++ 2M", "Lora hashes": "a: 1, b: 2", "End": "1",
    }  # fmt: skip


def test_a_prompt_may_speak_of_steps():
    found = infotext("Steps: into the light\nNegative prompt: none\nSteps: 4, Sampler: LCM, Seed: 1")
    assert (found.prompt, found.negative, found.settings["Steps"]) == ("Steps: into the light", "none", "4")


@pytest.mark.parametrize(
    "text",
    [
        '{"0": "a", "8": "b"}',
        '"0": "a",\n"8": "b"',
        '0 = "a"\n8:16 = "b"',
        "0: (1.0),\n10: (1.5)",
        "once upon a time",
        "prompts:\n  0: a fox",
        "",
    ],
)
def test_other_texts_are_left_to_others(text):
    assert not a1111.recognises(document(text, name="x"))


@pytest.mark.parametrize(
    ("old", "new", "field", "fate"),
    [
        ("Sampler: LCM", "Sampler: Heun", "Sampler", "approximated"),
        ("Sampler: LCM", "Sampler: Magic", "Sampler", "ignored"),
        ("Size: 512x768", "Size: 512x761", "Size", "approximated"),
        ("interp: Off", "interp: FILM", "interp", "ignored"),
        ("Version: v1.8.0", "Hires upscale: 2", "Hires upscale", "ignored"),
        ("Version: v1.8.0", "Denoising strength: 0.5", "Denoising strength", "ignored"),
        ("Version: v1.8.0", "Mystery: 3", "Mystery", "ignored"),
        ("overlap: 4", "overlap: 40", "overlap", "approximated"),
    ],
)
def test_what_cannot_be_kept_is_told(old, new, field, fate):
    text = FILM.replace(old, new)
    assert fates(imported(text))[field] == fate
    board(text)


def test_frames_beyond_the_film_are_left_out_and_told():
    result = imported(FILM.replace("12: autumn", "16: autumn"))
    assert [*result.board["prompts"]] == ["0", "4"]
    assert fates(result)["prompt 16"] == "ignored"


@pytest.mark.skipif(not WILD.is_dir(), reason="needs other people's files")
def test_texts_of_users_travel_as_in_the_extension():
    expected = [one for one in json.loads((WILD / "EXPECTED.json").read_text())["texts"] if one["kind"] == "webui"]
    assert expected
    for one in expected:
        assert imported(one["text"]).board["prompts"] == one["expected"]["prompt_map"]
        board(one["text"])


lines = st.one_of(
    st.text("abc ,.", max_size=30),
    st.builds("{}{}{}".format, st.integers(0, 10**8), st.sampled_from([": ", ":", " : "]), st.text("ab ", max_size=9)),
    st.sampled_from(["Negative prompt: x", "---", "", '0 = "x"', FILM.split("\n")[-1]]),
    st.builds(
        "Steps: {}, Sampler: {}, Seed: {}, Size: {}, AnimateDiff: {}".format,
        st.integers(),
        st.sampled_from(["LCM", "Euler a", "?"]),
        st.integers() | st.floats(),
        st.sampled_from(["512x512", "x", "9x9", "512x510"]),
        st.text('abc":, video_length0123', max_size=40),
    ),
)
texts = st.lists(lines, max_size=6).map("\n".join)


def converted(text, faithful):
    """A result, or nothing where an error says why not."""
    try:
        return a1111.convert(document(text, name="x", carrier="parameters"), faithful=faithful)
    except StoryboardError:
        return None


def survives(text, faithful):
    """What is imported passes the check."""
    if result := converted(text, faithful):
        load_text(to_yaml(result), name="x")


@settings(max_examples=60, deadline=None)
@given(texts, st.booleans())
def test_any_text_becomes_a_valid_storyboard_or_a_typed_error(text, faithful):
    survives(text, faithful)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(texts | st.text(max_size=300), st.booleans())
def test_twenty_thousand_texts_become_storyboards_or_typed_errors(text, faithful):
    converted(text, faithful)
