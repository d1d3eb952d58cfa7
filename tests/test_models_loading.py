"""Options to parts, on the model that is shipped: everything arrives through the loaders of a user's files."""

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from lcm_video.errors import CheckpointError, ResourceError
from lcm_video.models import Lora, Model, Runtime, Schedule, find, load
from lcm_video.models.temporal import TemporalLayer
from lcm_video.models.vae import Vae as AutoencodedBy
from lcm_video.timeline import Point
from lcm_video.types import TextEncoder, Unet, Vae

RED, BLUE = "a large red circle on a white background", "a large blue circle on a white background"


def test_the_embedded_model_is_complete(embedded_parts):
    parts = embedded_parts
    assert isinstance(parts.text, TextEncoder)
    assert isinstance(parts.unet, Unet)
    assert isinstance(parts.vae, Vae)
    assert (parts.vae.channels, parts.vae.factor) == (4, 8)
    assert parts.betas == parts.card.betas == Schedule(0.00085, 0.012, "scaled_linear")
    assert [file.role for file in parts.files] == ["checkpoint", "motion", "lora:lcm"]
    assert all(len(file.sha256) == 64 for file in parts.files)
    assert "embedded_lcm_lora.safetensors: 278 of 278 modules applied, at 1" in parts.notes
    assert "embedded.safetensors: 21 temporal layers, card embedded" in parts.notes


def lcm(parts, tokens, *, seed, timesteps=(999, 759, 499, 259), **more):
    """Four steps of latent consistency sampling (arXiv:2310.04378), written out: this test needs no sampler."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0).tolist()
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(len(tokens), 4, 16, 16, generator=generator)
    for step, t in enumerate(timesteps):
        noise = parts.unet(latents, float(t), {"tokens": tokens, **more}, clip=len(tokens))
        clean = (latents - (1 - alphas[t]) ** 0.5 * noise) / alphas[t] ** 0.5
        if step + 1 == len(timesteps):
            return parts.vae.decode(clean)
        alpha = alphas[timesteps[step + 1]]
        latents = alpha**0.5 * clean + (1 - alpha) ** 0.5 * torch.randn(latents.shape, generator=generator)


def test_prompts_travel_on_the_embedded_model(embedded_parts):
    """From red to blue: the middle of the first frame is red, of the last blue, and the redness falls on the way."""
    red, blue = embedded_parts.text([RED, BLUE])["tokens"]
    mix = torch.linspace(0, 1, 8)[:, None, None]
    film = lcm(embedded_parts, red * (1 - mix) + blue * mix, seed=0)
    centre = film[:, :, 40:72, 48:80].mean(dim=(2, 3))
    border = torch.cat([film[:, :, :6].flatten(2), film[:, :, -6:].flatten(2)], dim=2).mean(dim=2)
    assert (border > 0.6).all(), "the background is white all the time"
    redness = centre[:, 0] - centre[:, 2]
    assert redness[0] > 0.8
    assert redness[-1] < -0.8
    assert torch.corrcoef(torch.stack([redness, torch.arange(8.0)]))[0, 1] < -0.9


def test_temporal_layers_hold_a_film_together(embedded_parts):
    """With motion switched off the same noise gives frames that differ far more from their neighbours."""
    tokens = embedded_parts.text([RED])["tokens"].expand(8, -1, -1)
    films = [lcm(embedded_parts, tokens, seed=1, motion_scale=torch.full((8,), scale)) for scale in (1.0, 0.0)]
    moving, still = ((film[1:] - film[:-1]).abs().mean() for film in films)
    assert moving < 0.6 * still


def test_latents_are_scaled_to_unit_variance_and_back(golden):
    """Oracle: the AutoencoderKL itself, whose latents are 1 / 0.18215 times as large."""
    model = AutoencoderKL.from_pretrained(golden / "models/tiny_sd15/vae", torch_dtype=torch.float32)
    vae = AutoencodedBy(model)
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(4)) * 2 - 1
    plain = model.encode(images).latent_dist.mean
    assert plain.shape == (2, vae.channels, 16 // vae.factor, 24 // vae.factor)
    torch.testing.assert_close(vae.encode(images), plain * 0.18215)
    torch.testing.assert_close(vae.decode(plain * 0.18215), model.decode(plain).sample, atol=1e-5, rtol=1e-5)


def test_the_embedded_vae_gives_back_what_it_is_shown(embedded_parts):
    """A red disc on white: its own kind of picture."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    disc = ((rows - 64) ** 2 + (columns - 64) ** 2 < 40**2)[None].float()
    image = (1 - disc * torch.tensor([0.1, 0.9, 0.9])[:, None, None])[None] * 2 - 1
    latents = embedded_parts.vae.encode(image)
    assert 0.5 < latents.std() < 2
    assert (embedded_parts.vae.decode(latents) - image).abs().mean() < 0.1


def test_without_motion_every_frame_is_alone():
    parts = load(Model(checkpoint="embedded"))
    assert parts.card is None
    assert parts.betas == Schedule()
    assert not any(isinstance(layer, TemporalLayer) for layer in parts.unet.model.modules())


def test_a_lora_whose_strength_varies_equals_a_merged_one_where_it_is_1(embedded_parts):
    curve = {"0": Point(0), "-1": Point(1)}
    parts = load(Model(checkpoint="embedded", motion="embedded", loras={"lcm": Lora("embedded_lcm_lora", curve)}))
    assert (
        "embedded_lcm_lora.safetensors: 278 of 278 modules act beside the weights, their strength varies" in parts.notes
    )
    tokens = parts.text([RED])["tokens"].expand(3, -1, -1)
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    plain = load(Model(checkpoint="embedded", motion="embedded"))
    for strength, other in ((1.0, embedded_parts), (0.0, plain)):
        ours = parts.unet(latents, 499.0, {"tokens": tokens, "lora:lcm": torch.full((3,), strength)}, clip=3)
        theirs = other.unet(latents, 499.0, {"tokens": tokens}, clip=3)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_two_loras_add_up(embedded_parts):
    halves = {name: Lora("embedded_lcm_lora", 0.5) for name in ("first", "second")}
    twice = load(Model(checkpoint="embedded", motion="embedded", loras=halves))
    for name, weight in twice.unet.model.state_dict().items():
        torch.testing.assert_close(weight, embedded_parts.unet.model.state_dict()[name], atol=1e-5, rtol=1e-5)


def test_half_precision_draws_nearly_the_same(embedded_parts):
    model = Model(checkpoint="embedded", motion="embedded", loras={"lcm": Lora("embedded_lcm_lora")})
    half = load(model, Runtime(dtype="float16"))
    assert half.unet.model.dtype == torch.float16
    tokens = embedded_parts.text([RED])["tokens"].expand(2, -1, -1)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    ours, theirs = (p.unet(latents, 499.0, {"tokens": tokens}, clip=2) for p in (half, embedded_parts))
    assert ours.dtype == latents.dtype, "what comes back is as what went in"
    assert (ours - theirs).abs().max() < 0.05 * theirs.std()


def inversion(tmp_path, parts, word="red", name="Crimson.safetensors"):
    """A textual inversion that is a copy of a word: a film prompted with it must be that of the word."""
    (token,) = parts.text.vocabulary.encode(word)
    vector = parts.text.encoders[0].model.get_input_embeddings().weight[token][None].clone()
    save_file({"emb_params": vector}, tmp_path / name)
    return vector


def test_a_textual_inversion_is_called_by_its_files_name(tmp_path, embedded_parts):
    inversion(tmp_path, embedded_parts)
    parts = load(Model(checkpoint="embedded", embeddings=("Crimson",)), Runtime(folders=(str(tmp_path),)))
    assert torch.equal(parts.text(["a CRIMSON circle"])["tokens"], embedded_parts.text(["a red circle"])["tokens"])
    assert parts.files[-1].role == "embedding:Crimson"
    assert "Crimson.safetensors: 1 vectors" in parts.notes


@pytest.mark.parametrize("form", ["a1111", "diffusers", "flat"])
def test_every_form_of_a_textual_inversion_is_read(tmp_path, embedded_parts, form):
    vector = inversion(tmp_path, embedded_parts)
    wrapped = {
        "a1111": {"string_to_token": {"*": 265}, "string_to_param": {"*": vector.requires_grad_()}, "name": "cat"},
        "diffusers": {"<red>": vector},
        "flat": {"<red>": vector[0]},
    }
    torch.save(wrapped[form], tmp_path / "Scarlet.pt")
    parts = load(Model(checkpoint="embedded", embeddings=("Scarlet",)), Runtime(folders=(str(tmp_path),)))
    assert torch.equal(parts.text(["a scarlet circle"])["tokens"], embedded_parts.text(["a red circle"])["tokens"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"emb_params": torch.ones(2, 768)}, "vectors of 768 numbers, for SD 1.5; the text encoder takes 64"),
        ({"emb_params": torch.full((2, 64), torch.nan)}, "NaN"),
        ({"emb_params": torch.ones(76, 64)}, "76 vectors, a prompt's chunk holds 75"),
        (
            {"clip_l": torch.ones(1, 64), "clip_g": torch.ones(1, 64)},
            "64 and 64 numbers, .*; the text encoder takes 64",
        ),
        ({"a": torch.ones(1, 64), "b": torch.ones(1, 64)}, "holds 2 words, not one textual inversion"),
    ],
)
def test_a_textual_inversion_that_cannot_be_used_is_refused(tmp_path, tensors, message):
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load(Model(checkpoint="embedded", embeddings=(str(tmp_path / "odd.safetensors"),)))


def test_clip_skip_reaches_the_text_encoder_and_has_its_limits(embedded_parts):
    skipped = load(Model(checkpoint="embedded", clip_skip=2)).text([RED])["tokens"]
    assert not torch.allclose(skipped, embedded_parts.text([RED])["tokens"], atol=1e-2)
    with pytest.raises(CheckpointError, match="clip_skip is 5, the text encoder has 4 layers"):
        load(Model(checkpoint="embedded", clip_skip=5))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model(), "no checkpoint is named"),
        (Model(checkpoint="embeded"), "checkpoint 'embeded' was not found"),
        (Model(checkpoint="embedded", motion="emdedded"), "motion module 'emdedded' was not found"),
        (Model(checkpoint="embedded", motion="embedded_lcm_lora"), "is a LoRA, not a motion module"),
        (Model(checkpoint="embedded", loras={"x": Lora("embedded")}), "is an SD 1.5 checkpoint, not a LoRA"),
        (Model(checkpoint="embedded", vae="embedded_lcm_lora"), "is a LoRA, not a VAE"),
        (Model(checkpoint="embedded_lcm_lora"), "is a LoRA, not a checkpoint"),
        (Model(checkpoint="embedded", tokenizer="/nowhere"), "cannot be read as a vocabulary"),
    ],
)
def test_options_that_lead_nowhere_are_refused_with_a_remedy(model, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load(model)
    assert caught.value.remedy


def test_a_lora_of_another_width_names_its_file(tmp_path):
    tensors = load_file(find("embedded_lcm_lora", kind="LoRA"))
    tensors = {key: w.repeat(1, 2) if key.endswith("to_q.lora_down.weight") else w for key, w in tensors.items()}
    save_file(tensors, tmp_path / "wide.safetensors")
    with pytest.raises(CheckpointError, match=r"wide.safetensors: .* in this model, the LoRA changes"):
        load(Model(checkpoint="embedded", loras={"x": Lora(str(tmp_path / "wide.safetensors"))}))


def test_a_motion_module_of_another_width_names_its_file(golden):
    path = golden / "original_animatediff/motion/mm_v2_original_keys.safetensors"
    with pytest.raises(CheckpointError, match=r"mm_v2_original_keys.safetensors: .* channels in the motion module"):
        load(Model(checkpoint="embedded", motion=str(path)))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta:x"])
def test_a_device_that_does_not_exist_is_refused(device):
    with pytest.raises(ResourceError, match=f"device '{device}' cannot be used") as caught:
        load(Model(checkpoint="embedded"), Runtime(device=device))
    assert caught.value.exit_code == 5


def test_options_are_checked_and_short_forms_understood():
    from pydantic import TypeAdapter, ValidationError

    made = TypeAdapter(Model).validate_python({"loras": {"lcm": "file", "fox": {"path": "f", "scale": "0.5"}}})
    assert made.loras == {"lcm": Lora("file"), "fox": Lora("f", 0.5)}
    for wrong in ({"motion_scale": "11"}, {"clip_skip": "0"}, {"loras": {"x": {"scale": 1}}}, {"chekpoint": "x"}):
        with pytest.raises(ValidationError):
            TypeAdapter(Model).validate_python(wrong)
