"""The prompt language: what brackets, braces and angle brackets in a prompt come to."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lcm_video.errors import LcmVideoError, StoryboardError
from lcm_video.plan import plan
from lcm_video.prompts import directives, wildcards
from lcm_video.prompts.checks import faults
from lcm_video.prompts.chunks import Vocabulary
from lcm_video.prompts.directives import Amount
from lcm_video.prompts.editing import by_step
from lcm_video.prompts.emphasis import READINGS, Run, a1111, comfy, written
from lcm_video.prompts.text import Encoder, Text, grow
from lcm_video.prompts.tokenizer import BEGIN, END, tokenizer
from lcm_video.reader import load_text

GOLDEN = Path(__file__).parent / "golden"
WEIGHTED = json.loads((GOLDEN / "prompts/weighted.json").read_text(encoding="utf-8"))
EMPHASIS = json.loads((GOLDEN / "text/emphasis.json").read_text(encoding="utf-8"))
NOISE = st.text(st.sampled_from("ab1 ()[]{}:|\\.,<>@_$-lora:BREAK\n"), max_size=80) | st.text(max_size=80)


def by_program(runs):
    """Runs as the golden files have them, with all kinds of BREAK as one."""
    return [("BREAK", 0) if run.broken else (run.text, run.weight) for run in runs]


@pytest.mark.parametrize("program", ["a1111", "comfyui"])
def test_brackets_are_read_as_by(program):
    compared = 0
    for case in WEIGHTED:
        theirs = case[program] or [["", 1.0]]
        if isinstance(theirs, dict):  # A1111 crashes on it
            with pytest.raises(StoryboardError, match="is not a weight"):
                a1111(case["text"])
            continue
        ours = by_program(READINGS[program[:5]](case["text"]))
        if program == "a1111":
            theirs = [("BREAK", 0) if text == "BREAK" else (text, weight) for text, weight in theirs]
        assert [text for text, _ in ours] == [text for text, _ in theirs], case["text"]
        assert [weight for _, weight in ours] == pytest.approx([weight for _, weight in theirs], abs=1e-9), case["text"]
        compared += 1
    assert compared > 300


@pytest.fixture(scope="module")
def encoder():
    """The golden files' encoder with their two embeddings."""
    model = CLIPTextModel.from_pretrained(GOLDEN / "models/tiny_sd15/text_encoder", dtype=torch.float32)
    files = sorted((GOLDEN / "models/embeddings").glob("*.safetensors"))
    return model, {file.stem: grow(model, load_file(file)["emb_params"]) for file in files}


def text_of(encoder, emphasis="a1111", skip=1):
    model, names = encoder
    return Text(Vocabulary(tokenizer(), names), (Encoder(model, skip),), emphasis)


@pytest.mark.parametrize("case", EMPHASIS, ids=lambda case: case["key"])
def test_encodings_equal_those_of_both_programs(case, encoder):
    theirs = torch.from_numpy(np.load(GOLDEN / "text/emphasis.npz")[case["key"]])
    ours = text_of(encoder, case["emphasis"], case["skip"])([case["prompt"]])["tokens"]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("emphasis", ["a1111", "comfy"])
def test_a_weight_of_1_changes_no_bit_and_others_do(encoder, emphasis):
    text = text_of(encoder, emphasis)
    plain, one, more = text(["a fox in snow", "a (fox:1.0) in snow", "a (fox:1.3) in snow"])["tokens"]
    assert torch.equal(plain, one)
    assert not torch.allclose(plain, more, atol=1e-3)


def test_a1111_keeps_the_mean_and_comfy_moves_along_a_line(encoder):
    prompts = ["a fox", "a (fox:1.5)", "a (fox:0)"]
    plain, heavy, _ = text_of(encoder)(prompts)["tokens"]
    assert heavy.mean().item() == pytest.approx(plain.mean().item(), abs=1e-5)
    text = text_of(encoder, "comfy")
    plain, heavy, none = text(prompts)["tokens"]
    nothing = text([""])["tokens"][0]
    torch.testing.assert_close(none[2], nothing[2])
    torch.testing.assert_close(heavy[2], plain[2] + 0.5 * (plain[2] - nothing[2]), atol=1e-5, rtol=1e-5)
    assert torch.equal(heavy[[0, 1]], plain[[0, 1]])


def test_break_begins_a_chunk(encoder):
    first, second = text_of(encoder).vocabulary.chunks("red BREAK (blue:1.2)")
    assert [token.id for token in first.tokens] == tokenizer()("red")
    assert [token.weight for token in second.tokens] == [1.2]


def test_a_long_prompt_is_rather_broken_after_a_comma():
    chunks = Vocabulary(tokenizer()).chunks("cat " * 70 + ", a tall red brick house, dog")
    assert len(chunks[0].tokens) == 71
    assert [len(c.tokens) for c in Vocabulary(tokenizer()).chunks("cat " * 80)] == [75, 5]


@pytest.mark.parametrize("call", ["BadDream", "baddream", "embedding:BadDream", "EMBEDDING:baddream.pt", "(BadDream)"])
def test_embeddings_are_called_by_word_or_by_prefix(encoder, call):
    _, names = encoder
    (chunk,) = Vocabulary(tokenizer(), names).chunks(f"{call}, ugly")
    assert tuple(token.id for token in chunk.tokens[:3]) == names["BadDream"]
    assert [token.id for token in chunk.tokens[3:]] == tokenizer()(", ugly")


def test_two_encoders_read_side_by_side_and_the_last_one_pools():
    """SDXL. Oracle: transformers, given the ids that OpenCLIP was trained with (0 after the first end)."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    ids = {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": END}
    first = CLIPTextModel(CLIPTextConfig(**sizes, **ids))
    second = CLIPTextModelWithProjection(CLIPTextConfig(**{**sizes, "hidden_size": 24}, projection_dim=12, **ids))
    text = Text(Vocabulary(tokenizer()), (Encoder(first, 2, False), Encoder(second, 2, False)))
    found = text(["a fox", "a hare " * 60])
    assert found["tokens"].shape == (2, 154, 40)
    assert found["pooled"].shape == (2, 12)
    own = tokenizer()("a fox")
    padded = [torch.tensor([[BEGIN, *own, END, *[pad] * (75 - len(own))]]) for pad in (END, 0)]
    theirs = [model(ids, output_hidden_states=True) for model, ids in zip((first, second), padded, strict=True)]
    torch.testing.assert_close(found["tokens"][0, :77], torch.cat([out.hidden_states[-2][0] for out in theirs], dim=1))
    torch.testing.assert_close(found["pooled"][0], theirs[1].text_embeds[0])


def test_the_pooled_vector_is_that_of_the_first_end_even_with_embeddings():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPTextConfig(**sizes, projection_dim=8, bos_token_id=BEGIN, eos_token_id=END)
    model = CLIPTextModelWithProjection(config)
    (fox,) = tokenizer()("fox")
    names = {"Reineke": grow(model, model.get_input_embeddings().weight[[fox]])}
    text = Text(Vocabulary(tokenizer(), names), (Encoder(model, 2, False),))
    word, embedding = text(["a fox", "a Reineke"])["pooled"]
    torch.testing.assert_close(word, embedding)


@pytest.mark.parametrize(
    ("prompt", "plain", "strengths"),
    [
        ("a fox <lora:x:0.7>", "a fox ", {"x": Amount(0.7, 0.7)}),
        ("<lora:x>a", "a", {"x": Amount(1, 1)}),
        ("<LORA:my file_v1.2:0.5:-.25>a", "a", {"my file_v1.2": Amount(0.5, -0.25)}),
        ("<lora:x:0.5><lora:x:0.25>", "", {"x": Amount(0.75, 0.75)}),
        (r"\<lora:x:1> a < b > c", "<lora:x:1> a < b > c", {}),
        ("<hypernet:x:1>", "<hypernet:x:1>", {}),
    ],
)
def test_loras_are_read_out_of_prompts(prompt, plain, strengths):
    assert directives.strengths(prompt) == (plain, strengths)


def test_lora_directives_are_those_that_a1111_finds():
    for case in WEIGHTED:
        theirs = case["a1111_extra_networks"]["networks"].get("lora", [])
        ours = [(call.name, call.amount.unet) for call in directives.calls(case["text"])]
        assert ours == [(network["items"][0], float(network["items"][1])) for network in theirs]


@pytest.mark.parametrize(
    ("prompt", "message", "column"),
    [
        ("a AND b", "AND", 2),
        ("a <lora:x:much>", "no strength that is a number", 2),
        ("<lora:x:1:2:3>", "no strength", 0),
        ("<lora:x:11>", "too strong", 0),
        ("a (b:1.2.3)", "not a weight", 5),
        ("(a:@joy)", "no curve 'joy'", 4),
        ("(" * 400 + "a" + ":9)" * 400, "multiply to a weight of inf", 0),
    ],
)
def test_what_is_wrong_is_told_at_its_column(prompt, message, column):
    (fault,) = faults(prompt, reading="a1111", curves=["glee"], negative=False)
    assert re.search(message, fault.message)
    assert fault.column == column
    assert fault.remedy


@pytest.mark.parametrize("prompt", [r"a \AND b", "HAND, and", "SANDY AND_ x", r"(a:@b\)", "a@b.c"])
def test_what_only_looks_like_it_is_not_wrong(prompt):
    assert not [*faults(prompt, reading="a1111", curves=[], negative=False)]


def test_a_negative_prompt_cannot_call_a_lora():
    assert [*faults("ugly <lora:x:1>", reading="a1111", curves=[], negative=True)]


# Wildcards


def test_equal_seeds_draw_equal_words_and_others_differ():
    text = "{a|b|c|d} and {e|f|g|h}"
    drawn = [wildcards.draw(text, {}, seed=seed) for seed in range(30)]
    assert drawn == [wildcards.draw(text, {}, seed=seed) for seed in range(30)]
    assert len({one.text for one in drawn}) > 8
    assert wildcards.draw(text, {}, seed=7) == ("c and f", ("{a|b|c|d}: c", "{e|f|g|h}: f")), "the same on any machine"


def test_options_are_drawn_as_often_as_they_say():
    drawn = [wildcards.draw("{3::a|b}", {}, seed=seed).text for seed in range(400)]
    assert 0.68 < drawn.count("a") / 400 < 0.82


def test_several_options_are_different_ones():
    for seed in range(50):
        words = wildcards.draw("{2$$a|b|c}", {}, seed=seed).text.split(", ")
        assert len({*words}) == 2
    assert " and " in wildcards.draw("{2$$ and $$a|b}", {}, seed=0).text
    assert {len(wildcards.draw("{1-3$$a|b|c}", {}, seed=s).text.split(", ")) for s in range(40)} == {1, 2, 3}


def test_wildcards_call_wildcards():
    lines = {"pet": ["a __colour__ {cat|cat}"], "colour": ["red"]}
    assert wildcards.draw("__pet__, happy", lines, seed=0).text == "a red cat, happy"
    with pytest.raises(StoryboardError, match="call each other"):
        wildcards.draw("__a__", {"a": ["__a__"]}, seed=0)
    with pytest.raises(StoryboardError, match="characters"):
        wildcards.draw("__0__", {f"{n}": [f"__{n + 1}__" * 9] for n in range(20)} | {"20": ["x"]}, seed=0)


@pytest.mark.parametrize("literal", ["{a}", "{", "}{", r"C:\path", "a|b", "snake_case __init", "x__", "{a|b", "a}"])
def test_braces_and_lines_that_mean_nothing_stay(literal):
    assert wildcards.draw(literal, {}, seed=0) == (literal, ())


def test_literal_braces_are_escaped():
    assert wildcards.draw(r"\{a\|b\} \__x__", {}, seed=0).text == "{a|b} __x__"


# Any text


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(-4, 4)), min_size=1, max_size=6))
def test_printing_and_parsing_again_gives_the_same(parts):
    runs = [Run(text, weight) for text, weight in parts if "BREAK" not in text and text]
    read = [run for run in a1111(written(runs)) if run.text]
    spread = lambda runs: [(letter, pytest.approx(run.weight, abs=1e-6)) for run in runs for letter in run.text]
    assert [(letter, run.weight) for run in read for letter in run.text] == spread(runs)


def survives(text):
    for reading in READINGS:
        for fault in faults(text, reading=reading, curves=["a"], negative=False):
            assert 0 <= fault.column <= len(text)
    try:
        drawn = wildcards.draw(text, {"a": ["b {c|d}"]}, seed=1).text
        plain, _ = directives.strengths(drawn)
        assert Vocabulary(lambda words: [*range(len(words.split()))]).chunks(plain)
        assert comfy(plain)
    except LcmVideoError as error:
        if not error.remedy:
            raise AssertionError("an error without a remedy") from error


@given(NOISE)
def test_any_text_is_read_or_refused_with_a_remedy(text):
    survives(text)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(NOISE)
def test_twenty_thousand_texts_are_read_or_refused_with_a_remedy(text):
    survives(text)


@pytest.mark.parametrize("hard", ["(", "[(", "(a:1)", "\\", ":1)", "{a|", "__a", "<lora:a", "(]", "BREAK "])
def test_long_texts_are_read_in_moments(hard):
    survives(hard * 3000)


# What the document says

DOCUMENT = (Path(__file__).parents[1] / "docs/prompt-language.md").read_text(encoding="utf-8")


def examples(language):
    for body in re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL):
        yield from (re.split(r"\s+→ ", line) for line in body.splitlines())


def told(run):
    return "BREAK" if run.broken else f'"{run.text}" {run.weight:.3g}'


def test_the_documents_examples_come_to_what_it_says():
    emphasis, edits = [*examples("emphasis")], [*examples("editing")]
    assert len(emphasis) >= 5
    assert len(edits) >= 5
    for prompt, said in emphasis:
        assert ", ".join(map(told, a1111(prompt))) == said
    for prompt, said in edits:
        assert " / ".join(by_step(prompt, 4)) == said


def test_the_documents_storyboards_can_be_planned():
    boards = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(boards) >= 3
    for text in boards:
        assert plan(load_text(text, name="prompt-language.md")).frames > 1 or "wildcards" in text
