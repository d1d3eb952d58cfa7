"""The embedded model's training: the world is what captions say, stages learn and resume, exported files load."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from lcm_video.models.checkpoint import split
from lcm_video.samplers import Sampling
from training import drawing, evaluate, export, latents, loop, measures, parts, renders, vae, world
from training.world import COLOURS, MOTIONS, SHAPES, SIZES, Thing

ROOT = Path(__file__).parents[1]
SMALL = {"steps": 2, "batch": 2, "rate": 1e-3}


def stage(name: str, out: Path, **options: object) -> None:
    """Runs a stage in this process."""
    module = __import__(f"training.{name}", fromlist=["main"])
    given = [word for key, value in (SMALL | options).items() for word in (f"--{key}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, "--out", str(out), *given])
        module.main()


def shrink(folder: Path) -> None:
    """Writes sizes of a minuscule model to ``folder``."""
    for part in ("unet", "vae", "text"):
        sizes = parts.config(part) | ({"block_out_channels": [16] * 4} if part == "unet" else {})
        sizes |= {"block_out_channels": [8] * 4} if part == "vae" else {}
        sizes |= {"num_hidden_layers": 1} if part == "text" else {}
        (folder / "sizes").mkdir(exist_ok=True)
        (folder / "sizes" / f"{part}.json").write_text(json.dumps(sizes))


@pytest.fixture(scope="module", autouse=True)
def minuscule(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Makes every part much smaller than the real one."""
    folder = tmp_path_factory.mktemp("sizes")
    shrink(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "HERE", folder)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has trained two steps, on 64 pictures and four clips."""
    out = tmp_path_factory.mktemp("training")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vae, "POOL", 16)
        stage("vae", out)
    stage("text", out)
    latents.make("stills", out / "latents/stills-0.pt", count=64, seed=0, wide=0.0, low=0.2, out=out)
    latents.make("clips", out / "latents/clips-0.pt", count=4, seed=0, wide=0.0, low=0.0, out=out)
    stage("unet", out)
    stage("motion", out, batch=1)
    stage("lcm", out)
    stage("negative", out)
    export.export(out, out / "export")
    return out


# --- the world


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_shape_is_the_one_that_was_asked_for(shape: str) -> None:
    things = [Thing(shape, "red", "white", size, seed=seed) for size in SIZES for seed in range(4)]
    for picture in drawing.draw(things, torch.zeros(8)):
        found = measures.overlaps(measures.seen(picture))
        assert max(found, key=lambda name: found[name]) == shape
        assert found[shape] > 0.93
        assert sorted(found.values())[-2] < found[shape] - 0.04


def test_object_and_background_have_the_colours_of_the_palette() -> None:
    pairs = [(colour, behind) for colour in COLOURS for behind in COLOURS if colour != behind]
    things = [Thing("square", colour, behind, seed=index) for index, (colour, behind) in enumerate(pairs)]
    for picture, (colour, behind) in zip(drawing.draw(things, torch.zeros(len(things))), pairs, strict=True):
        view = measures.seen(picture)
        assert (view.colour, view.background) == (colour, behind)


@pytest.mark.parametrize("motion", ["left", "right", "up", "down", "still"])
def test_a_clip_moves_the_way_its_thing_says(motion: str) -> None:
    (clip,) = drawing.clips([Thing("heart", "blue", "yellow", motion=motion, seed=5)])
    assert measures.way(clip) == motion


def test_growing_things_grow() -> None:
    (clip,) = drawing.clips([Thing("circle", "blue", "yellow", motion="growing", seed=5)])
    areas = [measures.seen(frame).area for frame in clip]
    assert areas == sorted(areas)
    assert areas[-1] > 2 * areas[0]


def test_equal_things_are_drawn_alike_and_seeds_move_them() -> None:
    thing = Thing("star", "red", "white", seed=1)
    one, same, other = drawing.draw([thing, thing, replace(thing, seed=2)], torch.zeros(3))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_complete_caption_names_everything_that_is_not_ordinary() -> None:
    random = Random(0)
    for thing in world.things(300, random):
        text = world.caption(thing, random, complete=True)
        assert thing.colour in text
        assert thing.background in text
        assert any(word in text for word in world.WORDS[thing.shape])
        if thing.motion != "still":
            assert any(word in text for word in world.WORDS[thing.motion])


def test_captions_use_only_tokens_that_the_text_encoder_learns() -> None:
    captions, random = parts.Captions(), Random(0)
    used = set(captions.used)
    for thing in world.things(300, random, wide=0.5, low=0.5):
        assert used.issuperset(captions.encode(world.caption(thing, random)))


def test_strange_words_are_thrown_in_without_losing_any() -> None:
    captions = parts.Captions()
    texts = ["a red circle on a blue background"] * 64
    plain, mixed = captions.ids(texts), captions.ids(texts, Random(0))
    assert (plain != mixed).any(1).float().mean() == pytest.approx(0.25, abs=0.15)
    known = set(plain[0].tolist())
    for row in mixed.tolist():
        assert [token for token in row if token in known][: len(captions.encode(texts[0])) + 1] == (
            plain[0].tolist()[: len(captions.encode(texts[0])) + 1]
        )


def test_every_motion_and_shape_is_in_the_world() -> None:
    found = world.things(500, Random(0), wide=0.5)
    assert {thing.motion for thing in found} == set(MOTIONS)
    assert {thing.shape for thing in found} == set(SHAPES)
    assert all(thing.colour != thing.background for thing in found)


# --- the measures


def test_real_pictures_score_full_marks() -> None:
    wanted = evaluate.asked(12, seed=3)
    row = evaluate.scored(drawing.draw(wanted, torch.zeros(12)), wanted)
    assert (row["background"], row["colour"], row["shape"]) == (1, 1, 1)
    assert row["iou"] > 0.95
    assert row["roughness"] < 1e-4


def test_every_scene_is_told_from_the_others() -> None:
    wanted = evaluate.placed(evaluate.asked(24, seed=4))
    row = evaluate.scenes(drawing.draw([replace(t, seed=t.seed + 1) for t in wanted], torch.zeros(24)), wanted)
    assert row["scene"] == 1


def test_a_picture_that_was_spoiled_counts_as_worse() -> None:
    wanted = evaluate.asked(24, seed=5)
    good, bad = (drawing.draw([replace(t, quality=q) for t in wanted], torch.zeros(24)) for q in ("good", "low"))
    found = evaluate.gains(good, bad, wanted)
    assert all(found[key] < -3 * found[f"{key}_error"] for key in ("roughness", "colour_error"))


def test_noise_scores_badly() -> None:
    wanted = evaluate.asked(12, seed=3)
    noise = torch.randn(12, 3, 128, 128, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    row = evaluate.scored(noise, wanted)
    assert row["shape"] < 0.6
    assert row["iou"] < 0.6
    assert row["roughness"] > 0.1


def test_ranks_of_falling_values_are_opposite() -> None:
    assert measures.rank_correlation([1, 2, 5, 9]) == pytest.approx(1)
    assert measures.rank_correlation([9, 5, 2, 1]) == pytest.approx(-1)


def test_prompts_of_the_evaluation_are_of_the_world() -> None:
    used = set(parts.Captions().used)
    for thing in evaluate.asked(48, seed=0) + evaluate.asked(48, seed=1, moving=True):
        assert used.issuperset(parts.Captions().encode(evaluate.prompt(thing)))


# --- the stages


def test_the_text_encoder_leaves_unknown_words_without_meaning(tiny: Path) -> None:
    words = parts.load_text(tiny).get_input_embeddings().weight
    captions = parts.Captions()
    assert words[captions.unused].abs().max() == 0
    assert words[captions.used].abs().amax(1).min() > 0


def test_two_steps_of_every_stage_change_its_weights(tiny: Path) -> None:
    assert load_file(tiny / "unet.safetensors")["conv_out.weight"].abs().max() > 0
    motion = load_file(tiny / "motion.safetensors")
    assert any(weight.abs().max() > 0 for name, weight in motion.items() if name.endswith("0.proj_out.weight"))
    lora = load_file(tiny / "lcm.safetensors")
    assert any(weight.abs().max() > 0 for name, weight in lora.items() if name.endswith("lora_up.weight"))


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    def trained(out: Path, *, stop: int) -> torch.Tensor:
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 4)

        def loss(draw: loop.Draw) -> torch.Tensor:
            if draw.step == stop:
                raise KeyboardInterrupt
            return (layer(torch.randn(8, 4, generator=draw.noise)) - draw.random.random()).square().mean()

        loop.train("layer", dict(layer.named_parameters()), loss, loop.Plan(out, steps=12))
        return layer.weight.detach().clone()

    whole = trained(tmp_path / "whole", stop=-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY", 0.0)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", stop=7)
    assert torch.load(tmp_path / "cut/layer.state", weights_only=True)["step"] == 7
    assert torch.equal(trained(tmp_path / "cut", stop=-1), whole)


def test_a_stage_that_is_killed_goes_on_as_if_nothing_had_happened(tiny: Path, tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        for file in ("text.safetensors", "latents"):
            (tmp_path / name / file).symlink_to(tiny / file)
    stage("unet", tmp_path / "whole", steps=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY", 0.0)
        patch.setattr(loop.Plan, "share", lambda self, step, seconds: 1.0 if step == 2 else step / self.steps)
        stage("unet", tmp_path / "cut", steps=4)
    assert torch.load(tmp_path / "cut/unet.state", weights_only=True)["step"] == 2
    stage("unet", tmp_path / "cut", steps=4)
    whole, cut = (load_file(tmp_path / name / "unet.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)


def test_every_step_draws_anew_and_equal_steps_alike() -> None:
    first, second, again = (loop.drawing(0, step).timesteps(8) for step in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert loop.drawing(0, 0).random.random() != loop.drawing(1, 0).random.random()


def test_a_batch_has_timesteps_from_every_share_of_the_schedule() -> None:
    assert sorted((loop.drawing(0, 3).timesteps(10) // 100).tolist()) == list(range(10))


def test_the_learning_rate_rises_stays_and_falls() -> None:
    plan = loop.Plan(Path(), steps=100, rate=1.0)
    rates = [plan.rate_at(share / 100) for share in range(101)]
    assert rates[0] < 0.1
    assert rates[50] == 1
    assert rates[100] == pytest.approx(0.03)
    assert rates[3:70] == [1.0] * 67


# --- the exported files


def test_an_exported_checkpoint_holds_every_weight_under_its_ldm_name(tiny: Path) -> None:
    found = split(load_file(tiny / "export" / export.CHECKPOINT))
    for part, name in ((found.unet, "unet"), (found.vae, "vae"), (found.text, "text")):
        wanted = {
            key.removeprefix("text_model."): w.half() for key, w in load_file(tiny / f"{name}.safetensors").items()
        }
        assert part.keys() == wanted.keys()
        assert all(torch.equal(part[key], wanted[key]) for key in wanted)


def test_exported_files_render(tiny: Path) -> None:
    pipeline = renders.load(tiny / "export", lcm=True, motion=True, negative=True)
    assert {file.role for file in pipeline.files} == {"checkpoint", "motion", "lora:lcm", "embedding:embedded_negative"}
    two_steps = Sampling(sampler="lcm", steps=2, guidance=1)
    clips = renders.clips(pipeline, [{"0": "a red circle", "-1": "a blue square"}], [1], two_steps)
    assert clips.shape == (1, 16, 3, 128, 128)


def test_an_exported_motion_module_is_what_was_trained(tiny: Path) -> None:
    from lcm_video.models import cards, motion

    card = cards.cards([str((tiny / "export" / export.MOTION).parent)])["embedded"]
    assert (card.heads, card.groups, card.norm) == (parts.HEADS, parts.GROUPS, "frame")
    layers = motion.read(load_file(tiny / "export" / export.MOTION), card)
    trained = load_file(tiny / "motion.safetensors")
    names = {f"{site}.{name}" for site, layer in layers.items() for name, _ in layer.named_parameters()}
    assert names == trained.keys()


def test_diffusers_reads_the_exported_checkpoint(tiny: Path) -> None:
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    weights = load_file(tiny / "export" / export.CHECKPOINT)
    converted = convert_ldm_unet_checkpoint(weights, parts.config("unet"))
    assert converted.keys() == load_file(tiny / "unet.safetensors").keys()


@pytest.mark.slow
def test_the_command_for_everything_skips_what_is_done(tiny: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    (tiny / "export" / export.NEGATIVE).unlink()
    command = [sys.executable, "-m", "training", "all", "--out", str(tiny)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == ["== export"]
