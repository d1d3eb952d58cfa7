"""The prompt language on the whole path, with the embedded model at a size that takes moments."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import lcm_video as lv
from lcm_video.course import course_of
from lcm_video.models import Lora, Runtime, find
from lcm_video.plan import as_data, plan
from lcm_video.prompts.text import OnDemand
from lcm_video.samplers import Betas, Sampling
from lcm_video.storyboard import shots
from lcm_video.timeline import Point

RED, GREEN = "a red circle on a blue background", "a green circle on a white background"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A LoRA of the embedded model that changes UNet and text encoder, under two names."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    tensors = load_file(find("embedded_lcm_lora", kind="LoRA"))
    parts = lv.Pipeline.load(lv.load("embedded", ["prompts=x"]).model).text.encoders[0].model
    for name, layer in parts.named_modules():
        if name.endswith("mlp.fc1"):
            key = f"lora_te_text_model_{name.removeprefix('text_model.').replace('.', '_')}"
            tensors[f"{key}.lora_down.weight"] = torch.randn(2, layer.in_features)
            tensors[f"{key}.lora_up.weight"] = torch.randn(layer.out_features, 2)
    save_file(tensors, folder / "Both.safetensors")
    return folder


@pytest.fixture(scope="module")
def preset():
    return lv.load("embedded", ["prompts=x"])


@pytest.fixture
def board(preset, folder):
    def make(prompts, *, frames=3, steps=1, model=preset.model, **sections):
        video = replace(preset.video, width=64, height=64, frames=frames)
        sampling = sections.pop("sampling", Sampling(steps=steps, seed=3))
        runtime = Runtime(folders=(str(folder),))
        return lv.Storyboard(prompts=prompts, model=model, video=video, sampling=sampling, runtime=runtime, **sections)

    return make


@pytest.fixture
def film(pipelines):
    def make(board):
        *_, last = pipelines(board).steps(board)
        return last.latents

    return make


@pytest.fixture(scope="module")
def pipelines():
    known = {}

    def load(board):
        key = repr((board.model, board.runtime))
        if key not in known:
            known[key] = lv.Pipeline.load(board.model, board.runtime)
        return known[key]

    return load


def course(board):
    (shot,) = shots(board)
    return course_of(board, shot, Betas())


def test_emphasis_changes_the_picture_and_a_weight_of_1_no_bit(board, film):
    plain = film(board({"0": RED}))
    assert torch.equal(film(board({"0": RED.replace("red", "(red:1.0)")})), plain)
    assert not torch.allclose(film(board({"0": RED.replace("red", "(red:1.5)")})), plain, atol=1e-3)


def test_both_programs_weights_are_chosen_by_name(board, film, preset):
    comfy = replace(preset.model, emphasis="comfy")
    heavy = {"0": RED.replace("red", "(red:1.5)")}
    assert torch.equal(film(board({"0": RED}, model=comfy)), film(board({"0": RED})))
    assert not torch.allclose(film(board(heavy, model=comfy)), film(board(heavy)), atol=1e-3)


def test_editing_changes_the_film_from_its_step_on(board, pipelines):
    edited = board({"0": "a [red:green:2] circle"}, steps=3)
    plain, other = board({"0": "a red circle"}, steps=3), board({"0": "a green circle"}, steps=3)
    ours, red, green = ([step.latents for step in pipelines(each).steps(each)] for each in (edited, plain, other))
    assert torch.equal(ours[0], red[0])
    assert torch.equal(ours[1], red[1])
    assert not torch.allclose(ours[2], red[2], atol=1e-3)
    assert not torch.allclose(ours[0], green[0], atol=1e-3)


def test_a_weight_that_is_a_curve_is_encoded_frame_by_frame(board, film, preset):
    """Oracle, without motion: each frame is that of the film whose weight is the curve's value there."""
    alone = replace(preset.model, motion="")
    curved = board({"0": "a (red:@much) circle"}, model=alone, curves={"much": {"0": Point(0.5), "2": Point(1.5)}})
    found = film(curved)
    for frame, weight in enumerate((0.5, 1.0, 1.5)):
        fixed = film(board({"0": f"a (red:{weight}) circle"}, model=alone))
        torch.testing.assert_close(found[frame], fixed[frame], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["weight", "LoRA"])
def test_a_text_for_every_frame_is_encoded_on_demand_to_the_same_bits(board, film, preset, monkeypatch, kind):
    if kind == "weight":
        curves = {"loud": {"0": 0.5, "-1": 1.5}}
        made = board({"0": "a (red:@loud) circle", "-1": GREEN}, frames=5, steps=2, curves=curves)
    else:
        made = board(
            {"0": RED, "-1": GREEN},
            frames=5,
            model=replace(preset.model, loras={"both": Lora("Both", scale={"0": 0.0, "-1": 1.0})}),
        )
    every = film(made)
    monkeypatch.setattr("lcm_video.pipeline.MANY", 1)
    asked = []
    original = OnDemand.__call__
    monkeypatch.setattr(OnDemand, "__call__", lambda self, numbers: asked.append(numbers) or original(self, numbers))
    assert torch.equal(film(made), every)
    assert asked


def test_a_lora_in_a_prompt_is_that_of_the_model(board, film, preset):
    """Oracle: the same LoRA merged into the weights of UNet and text encoder."""
    bare = replace(preset.model, loras={})
    called = film(board({"0": f"{RED}<lora:both:0.5>"}, model=bare))
    merged = film(board({"0": RED}, model=replace(bare, loras={"b": Lora("Both", 0.5)})))
    torch.testing.assert_close(called, merged, atol=2e-3, rtol=0)
    unet_only = film(board({"0": f"{RED}<lora:Both:0:0.5>"}, model=bare))
    assert not torch.allclose(called, unet_only, atol=1e-2)


def test_the_text_part_of_a_lora_whose_strength_varies_is_encoded_by_frame(board, film, preset):
    bare = replace(preset.model, loras={}, motion="")
    at = lambda scale: board({"0": RED}, model=replace(bare, loras={"b": Lora("Both", scale)}))
    found = film(at({"0": Point(0), "2": Point(0.5)}))
    for frame, scale in enumerate((0.0, 0.25, 0.5)):
        torch.testing.assert_close(found[frame], film(at(scale))[frame], atol=2e-3, rtol=0)


def test_a_loras_strength_travels_as_prompts_do(board, preset):
    bare = replace(preset.model, loras={})
    made = board({"0": RED, "4": f"{GREEN}<lora:Both:0.3:0.8>"}, frames=6, model=bare)
    found = course(made)
    assert found.varying["lora:Both"] == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 0.8))
    toward, away = found.scripts(frozenset({"Both"}))
    acting = lambda text: float(text.split("<lora:Both:")[1].split(":")[0])
    assert {acting(text) for text in toward.texts} == {0, 0.3}, "a keyframe is encoded under its own strength"
    by_frame = [acting(away.texts[blend.left]) for blend in away.steps[0]]
    assert by_frame == pytest.approx([0, 0.075, 0.15, 0.225, 0.3, 0.3]), "what not to show, under the frame's"


def test_a_called_loras_scale_multiplies(board, preset):
    made = board({"0": f"{RED}<lora:lcm:0.5>"}, model=replace(preset.model, loras={"lcm": Lora("Both", 0.8)}))
    assert course(made).varying["lora:lcm"] == pytest.approx((0.4, 0.4, 0.4))
    assert made.model.loras["lcm"].called


def test_a_loras_strength_over_steps_is_exact(board, pipelines, preset):
    """Oracle: films of constant strength, of which one step follows the other."""
    lora = Lora("embedded_lcm_lora", steps={"0": 0.0, "-1": 1.0})
    found = board({"0": RED}, steps=3, model=replace(preset.model, loras={"lcm": lora}))
    assert course(found).stepwise["lora:lcm"] == [(0.0,) * 3, (0.5,) * 3, (1.0,) * 3]
    seen = []
    pipeline = pipelines(found)

    def spied(latents, timestep, encoding, /, *, clip):
        seen.append((timestep, encoding["lora:lcm"].tolist()))
        return pipeline.unet(latents, timestep, encoding, clip=clip)

    [*replace(pipeline, unet=spied).steps(found)]
    assert [strength for _, strength in seen] == [[0.0] * 3, [0.5] * 3, [1.0] * 3]


def test_at_a_keyframe_the_conditioning_is_the_plain_encoding(board, pipelines):
    made = board({"0": f"{RED} <lora:Both:0.5>", "2": GREEN})
    text, calls = pipelines(made).text, []

    def unet(latents, timestep, encoding, /, *, clip):
        calls.append(encoding)
        return latents * 0

    [*replace(pipelines(made), unet=unet).steps(made)]
    alone = text([f"{RED} <lora:Both:0.5:0>", GREEN])["tokens"]
    assert torch.equal(calls[0]["tokens"][0], alone[0])
    assert torch.equal(calls[0]["tokens"][2], alone[1])


def test_words_are_drawn_from_the_seed_and_told(board):
    lines = {"kind": ("circle", "square")}
    drawn = lambda seed: board({"0": "a {red|blue|green} __kind__"}, wildcards=lines, sampling=Sampling(seed=seed))
    made = [plan(drawn(seed)) for seed in range(8)]
    texts = [each.shots[0].prompts.prompts[0] for each in made]
    assert len({*texts}) > 2
    assert all(len(as_data(each)["shots"][0]["drawn"]) == 2 for each in made)


YAML = """\
extends: embedded
prompts:
  0: a fox <lora:embeded_lcm_lora:1>
  4: >
    a quite long text
    that calls embedding:nothing here
  6: {text: "a __animal__", ease: smooth}
"""


def test_what_a_prompt_calls_in_vain_is_told_at_its_line_and_column(tmp_path):
    path = tmp_path / "film.yaml"
    path.write_text(YAML.replace("__animal__", "hare"))
    with pytest.raises(lv.LcmVideoError) as caught:
        lv.load(path)
    problems = caught.value.problems
    assert [(problem.line, problem.column) for problem in problems] == [(3, 12), (6, 16)]
    assert "embedded_lcm_lora" in problems[0].remedy


def test_wildcards_are_read_beside_the_storyboard(tmp_path):
    path = tmp_path / "film.yaml"
    path.write_text("prompts: {0: a __pets/animal__}\n")
    (tmp_path / "wildcards/pets").mkdir(parents=True)
    (tmp_path / "wildcards/pets/animal.txt").write_text("# comment\n\nfox\n__pets/small__\n")
    (tmp_path / "wildcards/pets/small.txt").write_text("mouse\n")
    board = lv.load(path)
    assert board.wildcards == {"pets/animal": ("fox", "__pets/small__"), "pets/small": ("mouse",)}
    path.write_text("prompts: {0: a __../secret__}\n")
    assert lv.load(path).wildcards == {}
    path.write_text("prompts: {0: a __animals__}\nwildcards: {animal: [fox]}\n")
    with pytest.raises(lv.LcmVideoError, match="did you mean 'animal'"):
        lv.load(path)
