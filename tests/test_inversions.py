"""Textual inversions: every file people have, for one text encoder or for SDXL's two."""

import pytest
import torch
from model_files.specs import TINY

from lcm_video.errors import CheckpointError
from lcm_video.models import Model, Runtime, inversions, load
from lcm_video.models.files import read

SD15, SDXL = [TINY.clip], [TINY.clip, TINY.g]
FILES = {
    "BadDream.pt": (SD15, 10),
    "UnrealisticDream.pt": (SD15, 16),
    "a1111_parameter_legacy.pt": (SD15, 1),
    "easynegative.safetensors": (SD15, 8),
    "SDXL_embedding.safetensors": (SDXL, 8),
    "learned_embeds.bin": (SD15, 1),
    "learned_embeds.safetensors": (SD15, 1),
}


def tensors_in(model_files, name):
    return read(model_files(f"embeddings/{name}") / "embeddings" / name).tensors


@pytest.mark.parametrize("name", FILES)
def test_every_file_gives_its_vectors_for_each_text_encoder(model_files, name):
    widths, count = FILES[name]
    found = inversions.vectors(tensors_in(model_files, name), name, widths=widths)
    assert [tuple(rows.shape) for rows in found] == [(count, width) for width in widths]
    assert not any(rows.requires_grad for rows in found)


def test_a_pair_is_given_in_the_order_of_the_text_encoders_whatever_that_of_the_file():
    first, second = torch.ones(2, 768), torch.zeros(2, 1280)
    for names in (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")):
        tensors = dict(reversed([*zip(names, (first, second), strict=True)]))
        found = inversions.vectors(tensors, "x", widths=[768, 1280])
        assert torch.equal(found[0], first)
        assert torch.equal(found[1], second)


V15, V2, G = torch.ones(2, 768), torch.ones(2, 1024), torch.ones(2, 1280)


@pytest.mark.parametrize(
    ("tensors", "widths", "message"),
    [
        ({"emb_params": V15}, [768, 1280], "vectors of 768 numbers, for SD 1.5; the text encoders take 768 and 1280"),
        ({"emb_params": V2}, [768], "vectors of 1024 numbers, for SD 2; the text encoder takes 768"),
        ({"clip_l": V15, "clip_g": G}, [768], "vectors of 768 and 1280 numbers, for SDXL; the text encoder takes 768"),
        ({"emb_params": torch.ones(2, 5)}, [768], "vectors of 5 numbers, for another family"),
        ({"clip_l": V15, "clip_g": G[:1]}, [768, 1280], "2 and 1 vectors for the two text encoders"),
        ({"a": V15, "b": V15}, [768], "holds 2 words, not one"),
        ({"string_to_param": {"a": V15, "b": V15}}, [768], "holds 2 words, not one"),
        ({"string_to_param": {}}, [768], "holds 0 words, not one"),
        ({"emb_params": V15 * torch.nan}, [768], "holds NaN or infinity"),
        ({"clip_l": V15, "clip_g": G / 0}, [768, 1280], "holds NaN or infinity"),
        ({"emb_params": torch.ones(2, 2, 768)}, [768], r"numbers of shape \(2, 2, 768\)"),
        ({"emb_params": torch.ones(0, 768)}, [768], r"numbers of shape \(0, 768\)"),
        ({"emb_params": torch.tensor(1.0)}, [768], r"numbers of shape \(\)"),
    ],
)
def test_what_cannot_be_used_is_refused_with_both_families(tensors, widths, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        inversions.vectors(tensors, "odd.pt", widths=widths)
    assert "odd.pt" in str(caught.value)
    assert caught.value.remedy


@pytest.fixture(scope="module")
def folder(model_files):
    names = ("dreamshaper_8.safetensors", "sd_xl_base_1.0.safetensors")
    return str(model_files("embeddings/*", *(f"checkpoints/{name}" for name in names)))


def test_prompts_call_an_inversion_by_its_files_name_and_every_vector_counts(folder, model_files):
    """Ten vectors behind one word of two cases; diffusers uses one of them."""
    parts = load(Model(checkpoint="dreamshaper_8", embeddings=("BadDream", "easynegative")), Runtime(folders=(folder,)))
    encoder = parts.text.encoders[0].model
    (vectors,) = inversions.vectors(tensors_in(model_files, "BadDream.pt"), "", widths=SD15)
    words = encoder.get_input_embeddings().weight
    assert torch.equal(words[49408:49418], vectors.to(words))
    assert parts.text.vocabulary.inversions["BadDream"] == tuple(range(49408, 49418))
    assert parts.text.vocabulary.inversions["easynegative"] == tuple(range(49418, 49426))
    plain, called = (parts.text([prompt])["tokens"] for prompt in ("a fox", "a fox, baddream"))
    assert not torch.allclose(plain, called, atol=1e-3)
    assert "BadDream.pt: 10 vectors" in parts.notes


def test_a_pair_teaches_both_text_encoders_of_sdxl_the_same_ids(folder, model_files):
    parts = load(Model(checkpoint="sd_xl_base_1.0", embeddings=("SDXL_embedding",)), Runtime(folders=(folder,)))
    found = inversions.vectors(tensors_in(model_files, "SDXL_embedding.safetensors"), "", widths=SDXL)
    ids = parts.text.vocabulary.inversions["SDXL_embedding"]
    assert ids == tuple(range(49408, 49416))
    for encoder, rows in zip(parts.text.encoders, found, strict=True):
        words = encoder.model.get_input_embeddings().weight
        assert torch.equal(words[list(ids)], rows.to(words))
    plain, called = (parts.text([prompt])["tokens"] for prompt in ("a fox", "a fox, SDXL_embedding"))
    for part in (slice(0, TINY.clip), slice(TINY.clip, None)):
        assert not torch.allclose(plain[..., part], called[..., part], atol=1e-3)


@pytest.mark.parametrize(
    ("checkpoint", "embedding"), [("dreamshaper_8", "SDXL_embedding"), ("sd_xl_base_1.0", "easynegative")]
)
def test_an_inversion_of_the_other_family_is_refused(folder, checkpoint, embedding):
    with pytest.raises(CheckpointError, match=f"{embedding}.safetensors has vectors of .*; the text encoder"):
        load(Model(checkpoint=checkpoint, embeddings=(embedding,)), Runtime(folders=(folder,)))
