"""Prompts to encodings: chunks, textual inversions, the text encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from transformers import CLIPTextModel

from lcm_video.prompts.chunks import EMPTY, LENGTH, Vocabulary
from lcm_video.prompts.text import Encoder, OnDemand, Text, grow
from lcm_video.prompts.tokenizer import BEGIN, END, tokenizer
from lcm_video.types import TextEncoder

GOLDEN = json.loads((Path(__file__).parent / "golden/text/embeddings.json").read_text(encoding="utf-8"))
LONG = " ".join(f"word{i}" for i in range(100))


@pytest.fixture(scope="module")
def encoder(golden):
    return CLIPTextModel.from_pretrained(golden / "models/tiny_sd15/text_encoder", dtype=torch.float32)


@pytest.fixture(scope="module")
def text(encoder):
    return Text(Vocabulary(tokenizer()), (Encoder(encoder),))


def test_it_is_a_text_encoder(text):
    assert isinstance(text, TextEncoder)
    assert not any(weight.requires_grad for weight in text.encoders[0].model.parameters())


@pytest.mark.parametrize("skip", [1, 2])
def test_short_prompts_are_encoded_as_by_transformers(golden, encoder, skip):
    """And the first 75 tokens of long ones, where transformers stops."""
    arrays = np.load(golden / "text/embeddings.npz")
    encode = Text(Vocabulary(tokenizer()), (Encoder(encoder, skip),), "comfy")  # which fills a chunk to its last token
    for case in GOLDEN:
        literal = case["prompt"].replace("(", r"\(").replace(")", r"\)")
        ours = encode([literal])["tokens"][0, :77]
        theirs = torch.from_numpy(arrays[case["last" if skip == 1 else "clipskip2"]][0])
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_an_encoding_does_not_depend_on_the_prompts_beside_it(text):
    prompts = ["a fox", LONG, "", "a hare in snow"]
    together = text(prompts)["tokens"]
    for prompt, beside in zip(prompts, together, strict=True):
        alone = text([prompt])["tokens"][0]
        assert torch.equal(beside[: len(alone)], alone), prompt


def test_shorter_prompts_end_in_encodings_of_nothing(text):
    short, long = text(["a fox", LONG])["tokens"]
    chunks = len(text.vocabulary.chunks(LONG))
    assert chunks >= 3
    assert short.shape == long.shape == (77 * chunks, 24)
    nothing = text([""])["tokens"][0]
    assert torch.equal(short[77:], nothing.repeat(chunks - 1, 1))
    assert (short[77:] != 0).any(dim=1).all()


def test_no_prompts_at_all_are_refused_by_nobody_else(text):
    with pytest.raises(RuntimeError):
        text([])


def test_skip_takes_an_earlier_layer_through_the_final_norm(encoder, text):
    skipped = Text(text.vocabulary, (Encoder(encoder, 3),))(["a fox"])["tokens"][0]
    ids = torch.tensor([text.vocabulary.chunks("a fox")[0].ids()])
    states = encoder(ids, output_hidden_states=True).hidden_states
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    assert torch.equal(skipped, norm(states[1])[0])


def test_a_chunk_is_begin_the_prompt_and_ends():
    vocabulary = Vocabulary(tokenizer())
    (chunk,) = vocabulary.chunks("a fox")
    ids = chunk.ids()
    assert ids[0] == BEGIN
    assert [*ids[1:3]] == tokenizer()("a fox")
    assert {*ids[3:]} == {END}
    assert chunk.ids(pad=0)[3:5] == (END, 0)
    assert vocabulary.chunks("") == (EMPTY,)


@given(st.lists(st.integers(1, LENGTH), max_size=30))
def test_chunks_keep_every_run_whole_and_in_order(lengths):
    names = {f"name{number}x": (number,) * length for number, length in enumerate(lengths)}
    vocabulary = Vocabulary(lambda text: [], names)
    for reading in ("a1111", "comfy"):
        chunks = vocabulary.chunks(" ".join(names), reading)
        assert chunks
        assert all(len(chunk.ids()) == LENGTH + 2 == len(chunk.weights) for chunk in chunks)
        inside = [[token.id for token in chunk.tokens] for chunk in chunks]
        assert [id for ids in inside for id in ids] == [id for ids in names.values() for id in ids]
        for number, length in enumerate(lengths):
            if reading == "a1111" or length < 8:
                assert [ids.count(number) for ids in inside if number in ids] == [length]


@pytest.mark.parametrize(
    ("prompt", "calls"),
    [
        ("BadDream", 1),
        ("baddream, BADDREAM", 2),
        ("(baddream:1.2)", 1),
        ("xBadDreamy", 0),
        ("BadDream2", 0),
        ("bad-hands-5", 1),
        ("verybad_v1.3, ugly", 1),
        ("verybad_v1x3", 0),
        ("easy", 1),
        ("EasyNegative", 1),
    ],
)
def test_inversions_are_called_by_name_as_whole_words_in_any_case(prompt, calls):
    names = {"BadDream": (50000, 50001), "bad-hands-5": (50002,), "verybad_v1.3": (50003,)}
    names |= {"Easy": (50004,), "EasyNegative": (50005,)}
    runs = [*Vocabulary(tokenizer(), names).runs(prompt)]
    assert sum(run[0] >= 50000 for run in runs) == calls
    assert not any(run == (50004,) for run in runs if prompt == "EasyNegative"), "the longest name wins"


def test_the_text_around_an_inversion_keeps_its_ids():
    vocabulary = Vocabulary(tokenizer(), {"BadDream": (50000, 50001)})
    encode = tokenizer()
    runs = [*vocabulary.runs("ugly, BadDream, low quality")]
    assert runs == [*((i,) for i in encode("ugly,")), (50000, 50001), *((i,) for i in encode(", low quality"))]


def test_an_inversion_that_does_not_fit_opens_the_next_chunk():
    vocabulary = Vocabulary(tokenizer(), {"pair": (50000, 50001)})
    first, second = vocabulary.chunks("cat " * 74 + "pair")
    assert 50000 not in first.ids()
    assert second.ids()[1:4] == (50000, 50001, END)
    assert len(vocabulary.chunks("cat " * 73 + "pair")) == 1


def test_grown_words_are_read_as_their_vectors(golden):
    """Oracle: a vector copied from a word must encode as that word."""
    encoder = CLIPTextModel.from_pretrained(golden / "models/tiny_sd15/text_encoder", dtype=torch.float32)
    (fox,) = tokenizer()("fox")
    words = encoder.get_input_embeddings().weight
    ids = grow(encoder, torch.stack([words[fox], words[fox] * 2]))
    assert ids == (49408, 49409)
    text = Text(Vocabulary(tokenizer(), {"Reineke": ids[:1], "both": ids}), (Encoder(encoder),))
    encoded = text(["a fox", "a Reineke", "a both"])["tokens"]
    assert torch.equal(encoded[0], encoded[1])
    assert not torch.allclose(encoded[0, 3], encoded[2, 3])


MANY = [*(f"a (fox:{1 + number / 100:.2f}) in snow" for number in range(30)), LONG, ""]


@pytest.mark.parametrize("emphasis", ["a1111", "comfy"])
def test_encodings_on_demand_are_those_of_all_prompts_at_once(encoder, emphasis):
    """The same bits and as many chunks, in whatever order they are asked for and however few are kept."""
    text = Text(Vocabulary(tokenizer()), (Encoder(encoder),), emphasis)
    every = text(MANY)["tokens"]
    few = OnDemand(text, MANY, capacity=3)
    for numbers in ([0, 1, 1], [31], [*range(29, -1, -1)], [5, 30]):
        assert torch.equal(few(numbers)["tokens"], every[numbers])
        assert len(few._rows) <= 3
        assert len(few._memory.known) <= 3


def test_encodings_on_demand_keep_those_in_use(text):
    """Frames are drawn in several windows and steps: their texts are not encoded each time."""
    encoded = []
    hook = text.encoders[0].model.register_forward_pre_hook(lambda *_: encoded.append(1))
    few = OnDemand(text, [f"word{number}" for number in range(40)], capacity=8)
    for first in range(32):
        few([*range(first, first + 6)])
    hook.remove()
    assert len(encoded) == 37
