"""ComfyUI's workflows as storyboards: both formats, the order of patches, what is set aside, where files carry them."""

import json
from pathlib import Path

import pytest

from lcm_video.errors import StoryboardError
from lcm_video.importers import importing
from lcm_video.importers.comfy import convert, recognises
from lcm_video.importers.comfy.widgets import named
from lcm_video.importers.document import document
from lcm_video.importers.report import lines

EXAMPLES = Path(__file__).parent.parent / "examples" / "import"
SCALED = {"start": 0.00085, "end": 0.012, "schedule": "scaled_linear"}
LINEAR = {"start": 0.00085, "end": 0.012, "schedule": "linear"}


def tutorial():
    return json.loads((EXAMPLES / "tutorial-api.json").read_text())


def read(data):
    return convert(document(json.dumps(data), name="test"))


def fate(imported, field):
    """The finding about a field, by the end of its name."""
    return next(finding for finding in imported.findings if finding.field.endswith(field))


def test_the_tutorials_workflow_says_what_the_tutorial_says():
    board = importing(EXAMPLES / "tutorial-api.json").board
    assert board["model"]["checkpoint"] == "dreamshaper_8.safetensors"
    assert board["model"]["motion"] == "mm_sd_v15_v2.ckpt"
    assert board["model"]["loras"] == {"lcm_lora_sd15": "lcm_lora_sd15.safetensors"}
    assert board["model"]["embeddings"] == ["BadDream"]
    assert board["prompts"] == {
        "0": "a red circle on a white background",
        "8": "a blue square on a white background",
        "15": "a green star on a black background",
    }
    assert board["negative"] == "embedding:BadDream, blurry"
    assert board["sampling"] == {
        "sampler": "lcm", "timesteps": "comfy_sgm_uniform", "seed": 4, "steps": 8, "guidance": 1.5
    }  # fmt: skip
    assert board["video"] == {"width": 512, "height": 512, "frames": 16, "fps": 8}
    assert board["output"]["path"] == "out/AnimateDiff.gif"


def test_both_formats_of_a_workflow_give_the_same_storyboard():
    saved, run = importing(EXAMPLES / "tutorial.json"), importing(EXAMPLES / "tutorial-api.json")
    assert saved.board == run.board
    # The screen lists four unused weights by position that the other format leaves out.
    assert [one for one in saved.findings if ": pw_" not in one.field] == [*run.findings]


def test_every_value_of_every_node_has_a_fate():
    imported = read(tutorial())
    told = {finding.field for finding in imported.findings}
    for name, node in tutorial().items():
        label = f"{node['class_type']} {name}"
        for field, value in node["inputs"].items():
            silent = isinstance(value, list) or value == ""
            assert silent or {label, f"{label}: {field}"} & told, f"{label}: {field}"


def with_model_sampling(*, after):
    """The tutorial with ModelSamplingDiscrete before or after AnimateDiff's loader."""
    data = tutorial()
    data["20"] = {"class_type": "ModelSamplingDiscrete", "inputs": {"sampling": "lcm", "zsnr": False}}
    if after:
        data["20"]["inputs"]["model"], data["9"]["inputs"]["model"] = ["5", 0], ["20", 0]
    else:
        data["20"]["inputs"]["model"], data["5"]["inputs"]["model"] = ["3", 0], ["20", 0]
    return data


def test_the_last_model_sampling_on_the_line_wins():
    late = read(with_model_sampling(after=True))
    assert late.board["sampling"]["betas"] == SCALED
    assert fate(late, "5: beta_schedule").fate == "ignored"
    early = read(with_model_sampling(after=False))
    assert "betas" not in early.board["sampling"]  # as mm_sd_v15_v2's card says: linear
    assert fate(early, "ModelSamplingDiscrete 20").fate == "ignored"


@pytest.mark.parametrize(
    ("choice", "betas"),
    [("linear (HotshotXL/default)", SCALED), ("lcm", SCALED), ("lcm >> sqrt_linear", None),
     ("linear (AnimateDiff-SDXL)", {**SCALED, "end": 0.02}), ("autoselect", None)],
)  # fmt: skip
def test_noise_schedules_have_other_names_there(choice, betas):
    data = tutorial()
    data["5"]["inputs"]["beta_schedule"] = choice
    assert read(data).board["sampling"].get("betas") == betas


def test_an_unknown_motion_module_gets_the_loaders_betas_written_out():
    data = tutorial()
    data["5"]["inputs"]["model_name"] = "my_own_module.ckpt"
    assert read(data).board["sampling"]["betas"] == LINEAR


def test_loras_keep_their_order_and_strength():
    data = tutorial()
    data["20"] = {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "style\\ink.safetensors", "strength_model": 0.7, "strength_clip": 0.3,
                   "model": ["3", 0], "clip": ["3", 1]},
    }  # fmt: skip
    data["5"]["inputs"]["model"] = ["20", 0]
    imported = read(data)
    assert list(imported.board["model"]["loras"].items()) == [
        ("lcm_lora_sd15", "lcm_lora_sd15.safetensors"),
        ("ink", {"path": "style/ink.safetensors", "scale": 0.7}),
    ]
    assert fate(imported, "20: strength_clip").fate == "approximated"


def test_the_second_generation_of_animatediffs_nodes_reads_the_same():
    data = tutorial()
    data["5"] = {"class_type": "ADE_UseEvolvedSampling", "inputs": {
        "beta_schedule": "sqrt_linear (AnimateDiff)", "model": ["3", 0], "m_models": ["21", 0], "context_options": ["4", 0]}}  # fmt: skip  # noqa: E501
    data["21"] = {"class_type": "ADE_ApplyAnimateDiffModelSimple", "inputs": {
        "motion_model": ["22", 0], "motion_lora": ["23", 0], "scale_multival": ["24", 0]}}  # fmt: skip
    data["22"] = {"class_type": "ADE_LoadAnimateDiffModel", "inputs": {"model_name": "mm_sd_v15_v2.ckpt"}}
    data["23"] = {"class_type": "ADE_AnimateDiffLoRALoader", "inputs": {"name": "v2_lora_ZoomIn.ckpt", "strength": 0.5}}
    data["24"] = {"class_type": "ADE_MultivalDynamic", "inputs": {"float_val": 1.2}}
    board, usual = read(data).board, read(tutorial()).board
    assert board["model"]["motion"] == usual["model"]["motion"]
    assert board["windows"] == usual["windows"]
    assert board["model"]["motion_scale"] == 1.2
    assert board["model"]["loras"]["v2_lora_ZoomIn"] == {"path": "v2_lora_ZoomIn.ckpt", "scale": 0.5}


def test_without_context_options_all_frames_are_in_one_window():
    data = tutorial()
    del data["5"]["inputs"]["context_options"]
    data["8"]["inputs"]["batch_size"] = data["6"]["inputs"]["max_frames"] = 24
    assert read(data).board["windows"]["length"] == 24


def test_a_second_pass_is_told_and_the_first_is_drawn():
    data = tutorial()
    data["20"] = {"class_type": "LatentUpscaleBy", "inputs": {"upscale_method": "bilinear", "scale_by": 1.5,
                                                              "samples": ["9", 0]}}  # fmt: skip
    data["21"] = {"class_type": "KSampler", "inputs": {**tutorial()["9"]["inputs"], "seed": 99, "denoise": 0.5,
                                                       "latent_image": ["20", 0]}}  # fmt: skip
    data["10"]["inputs"]["samples"] = ["21", 0]
    imported = read(data)
    assert imported.board["sampling"]["seed"] == 4
    assert fate(imported, "KSampler 21").fate == "ignored"
    assert fate(imported, "LatentUpscaleBy 20").fate == "ignored"


def test_a_film_may_begin_from_a_video():
    data = tutorial()
    data["20"] = {"class_type": "VHS_LoadVideo", "inputs": {"video": "dance.mp4", "frame_load_cap": 12,
                                                            "custom_width": 256, "custom_height": 384}}  # fmt: skip
    data["21"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["20", 0], "vae": ["2", 0]}}
    data["9"]["inputs"] |= {"latent_image": ["21", 0], "denoise": 0.6}
    board = read(data).board
    assert board["start"] == {"source": "dance.mp4", "fit": "crop", "strength": 0.6}
    assert board["video"] | {} == {"width": 256, "height": 384, "frames": 12, "fps": 8}


@pytest.mark.parametrize(
    ("name", "kept", "how"),
    [("euler_ancestral", "euler_a", "exact"), ("dpmpp_2m_sde_gpu", "euler_a", "approximated"),
     ("uni_pc", "dpmpp_2m", "approximated"), ("something_new", "euler_a", "approximated")],
)  # fmt: skip
def test_samplers_that_are_not_here_become_the_nearest(name, kept, how):
    data = tutorial()
    data["9"]["inputs"]["sampler_name"] = name
    imported = read(data)
    assert imported.board["sampling"]["sampler"] == kept
    assert fate(imported, "sampler_name").fate == how


@pytest.mark.parametrize(
    ("form", "path", "codec"),
    [("image/gif", "gif", None), ("video/h264-mp4", "mp4", None), ("video/h265-mp4", "mp4", "h265"),
     ("video/webm", "webm", None), ("video/av1-webm", "webm", "av1"), ("video/ProRes", "mov", "prores")],
)  # fmt: skip
def test_formats_of_video_combine_are_written_here(form, path, codec):
    data = tutorial()
    data["11"]["inputs"] |= {"format": form, "crf": 21, "filename_prefix": "%date:yyyy%/some/film 1"}
    output = read(data).board["output"]
    assert output["path"] == f"out/film_1.{path}"
    assert output.get("codec") == codec
    assert output["quality"] == 21


def test_an_embedding_a_text_node_and_joined_texts_are_followed():
    data = tutorial()
    data["20"] = {"class_type": "StringConstantMultiline", "inputs": {"string": "masterpiece,"}}
    data["21"] = {"class_type": "ConcatStringSingle", "inputs": {"string_a": ["20", 0], "string_b": " best"}}
    data["6"]["inputs"]["pre_text"] = ["21", 0]
    assert read(data).board["prompts"]["0"] == "masterpiece, best a red circle on a white background"


def saved():
    return json.loads((EXAMPLES / "tutorial.json").read_text())


def node_of(data, kind):
    return next(node for node in data["nodes"] if node["type"] == kind)


def test_a_bypassed_node_is_passed_through_and_a_muted_one_is_gone():
    data = saved()
    node_of(data, "LoraLoader")["mode"] = 4
    imported = read(data)
    assert "loras" not in imported.board["model"]
    assert imported.board["model"]["checkpoint"] == "dreamshaper_8.safetensors"
    assert fate(imported, "LoraLoader 3").reason == "bypassed"
    data = saved()
    node_of(data, "ADE_AnimateDiffUniformContextOptions")["mode"] = 2
    assert "overlap" not in read(data).board.get("windows", {})


def test_reroutes_and_primitives_are_what_they_lead_to():
    data = saved()
    data["nodes"] += [
        {"id": 30, "type": "Reroute", "mode": 0, "inputs": [{"name": "", "type": "*", "link": 90}], "outputs": []},
        {"id": 31, "type": "PrimitiveNode", "mode": 0, "outputs": [], "widgets_values": [77, "fixed"]},
    ]
    sampler = node_of(data, "KSampler")
    slot = next(i for i, one in enumerate(sampler["inputs"]) if one["name"] == "model")
    data["links"] = [link for link in data["links"] if link[3:5] != [9, slot]]
    data["links"] += [[90, 5, 0, 30, 0, "MODEL"], [91, 30, 0, 9, slot, "MODEL"], [92, 31, 0, 9, 4, "INT"]]
    sampler["inputs"].append({"name": "seed", "type": "INT", "link": 92, "widget": {"name": "seed"}})
    board = read(data).board
    assert board["model"]["motion"] == "mm_sd_v15_v2.ckpt"
    assert board["sampling"]["seed"] == 77


def test_subgraphs_are_opened():
    data = saved()
    inner = [node_of(data, "CLIPTextEncode")]
    data["nodes"].remove(inner[0])
    clip = {"name": "clip", "type": "CLIP", "link": 80}
    outputs = [{"name": "out", "type": "CONDITIONING"}]
    data["nodes"].append({"id": 40, "type": "sub-1", "mode": 0, "inputs": [clip], "outputs": outputs})
    data["definitions"] = {"subgraphs": [{
        "id": "sub-1", "nodes": inner,
        "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 7, "target_slot": 0, "type": "CLIP"},
                  {"id": 2, "origin_id": 7, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "X"}],
    }]}  # fmt: skip
    data["links"] = [[*link[:1], 40, *link[2:]] if link[1] == 7 else link for link in data["links"] if link[3] != 7]
    data["links"].append([80, 3, 1, 40, 0, "CLIP"])
    imported = read(data)
    assert imported.board["negative"] == "embedding:BadDream, blurry"
    data["definitions"]["subgraphs"][0]["nodes"].append({"id": 8, "type": "sub-1", "inputs": [], "outputs": []})
    with pytest.raises(StoryboardError, match="holds itself"):
        read(data)


def test_unknown_nodes_are_listed_and_stop_nothing():
    data = tutorial()
    data["20"] = {"class_type": "GlitterBomb", "inputs": {"amount": 3, "images": ["10", 0]}}
    data["11"]["inputs"]["images"] = ["20", 0]
    data["21"] = {"class_type": "Elsewhere", "inputs": {}}
    imported = read(data)
    assert fate(imported, "GlitterBomb 20").fate == "ignored"
    assert fate(imported, "Elsewhere 21").reason == "does not lead to the film"
    assert any("GlitterBomb" in line for line in lines(imported, exact=False))


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda data: data.pop("9"), "no node in it draws"),
     (lambda data: data["9"].update(class_type="MysterySampler"), "its sampler is not known here: MysterySampler"),
     (lambda data: data.pop("11"), "no output is linked to its sampler")],
)  # fmt: skip
def test_a_workflow_that_draws_nothing_is_refused_with_the_reason(change, said):
    data = tutorial()
    change(data)
    with pytest.raises(StoryboardError, match=said) as refused:
        read(data)
    assert refused.value.remedy


def test_a_workflow_wrapped_in_a_comment_is_found():
    wrapped = {"prompt": json.dumps(tutorial()), "workflow": saved()}
    found = document(json.dumps(wrapped), name="film.mp4 (comment)")
    assert recognises(found)
    assert convert(found).board == read(tutorial()).board


@pytest.mark.parametrize("values", [[], [0], [0, 1], [True, 2], ["x", 5], [None, None]])
def test_a_damaged_schedule_has_the_values_that_it_has(values):
    assert {*named("BatchPromptSchedule", values).values()} <= {*values}
