import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from lcm_video.errors import CheckpointError
from lcm_video.prompts.tokenizer import BEGIN, END, MERGES, Tokenizer, carried, read_merges, tokenizer, words

TEXTS = json.loads((Path(__file__).parent / "golden/text/tokens.json").read_text(encoding="utf-8"))


def test_every_text_has_the_ids_of_transformers():
    """Prompts, languages, composed and decomposed, emoji, punctuation, typed-out specials, garbage."""
    assert len(TEXTS) > 300
    encode = tokenizer()
    wrong = [case["text"] for case in TEXTS if [BEGIN, *encode(case["text"]), END] != case["ids"]]
    assert not wrong


def test_a_text_and_its_case_have_the_same_ids_but_specials_must_be_exact():
    encode = tokenizer()
    assert encode("A FOX") == encode("a fox")
    assert encode("<|endoftext|>") == [END]
    assert len(encode("<|ENDOFTEXT|>")) > 1


def test_a_capital_sigma_at_a_words_end_is_lowered_as_unicode_says_for_letters_alone():
    assert [*words("ΟΔΟΣ")] == ["ΟΔΟΣ"]
    encode = tokenizer()
    assert encode("ΟΔΟΣ") == encode("οδοσ") != encode("οδος")


@pytest.mark.parametrize("form", ["merges.txt", "tokenizer.json", "old tokenizer.json", "folder", "gz"])
def test_every_form_of_the_vocabulary_gives_the_same_ids(tmp_path, form):
    pairs = read_merges(carried())
    if form == "gz":
        path = carried()
    elif form.endswith("json"):
        path = tmp_path / "tokenizer.json"
        merges = [" ".join(pair) for pair in pairs] if form.startswith("old") else pairs
        path.write_text(json.dumps({"model": {"merges": merges}}), encoding="utf-8")
    else:
        path = tmp_path / "merges.txt"
        path.write_text("#version: 0.2\n" + "\n".join(map(" ".join, pairs)) + "\n", encoding="utf-8")
        path = tmp_path if form == "folder" else path
    assert tokenizer(str(path)).ids == tokenizer().ids
    assert len(tokenizer().ids) == END + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"#version: 0.2\na b\n", f"1 merges instead of {MERGES:,}"),
        (b"\x1f\x8bnot gzip at all", "cannot be read as a vocabulary"),
        (b"\xff\xfe\xfa", "cannot be read as a vocabulary"),
    ],
)
def test_a_wrong_vocabulary_is_refused_with_a_remedy(tmp_path, content, message):
    path = tmp_path / "merges.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_merges(path)
    assert "model.tokenizer" in caught.value.remedy


def test_a_json_file_without_merges_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read as a vocabulary"):
        read_merges(path)


def test_tokenizing_loads_neither_torch_nor_refiners():
    code = (
        "import sys; from lcm_video.prompts.tokenizer import tokenizer; tokenizer()('a fox');"
        "sys.exit(bool({'torch', 'refiners', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_merging_takes_the_earliest_rule_first():
    """``ab`` merges before ``bc``, so that abc becomes ab + c, whatever the order in the word."""
    rules = [("b", "c</w>"), ("a", "b")]
    first, second = Tokenizer(rules), Tokenizer(rules[::-1])
    assert first("abc") == [first.ids["a"], first.ids["bc</w>"]]
    assert second("abc") == [second.ids["ab"], second.ids["c</w>"]]


WORDS = ("fox", "Fox's", "it'll", "masterpiece", "8k", "1girl", "café", "naïve", "façade", "trending", "antidisestab")
SCRIPTS = ("!~", "¡ɏ", "Ͱϻ", "Ѐӹ", "את", "ءي", "ऀॿ", "กฺ", "ぁヿ", "一俿", "가귿", "🌀🗻", "🤌🧿")
"""The first and the last letter of each."""


def texts_of_all_kinds(count, *, seed):
    """Words, punctuation, contractions, scripts of the world, emoji with joiners, combining marks; some are long."""
    random = Random(seed)

    def piece():
        if random.random() < 0.4:
            return random.choice(WORDS)
        first, last = map(ord, random.choice(SCRIPTS))
        letters = "".join(chr(random.randrange(first, last)) for _ in range(random.randint(1, 7)))
        return letters + random.choice(["", "", "", "\u0301", "\u200d", "\ufe0f", "!!", "...", "'s", " \t "])

    for index in range(count):
        length = 120 if index % 25 == 0 else random.randint(1, 14)
        yield random.choice([" ", ", ", "", "\n", "-"]).join(piece() for _ in range(length))


def test_six_hundred_more_texts_have_the_ids_of_transformers_itself():
    from transformers import CLIPTokenizer

    ours = tokenizer()
    merges = [tuple(pair) for pair in read_merges(carried())]
    theirs = CLIPTokenizer(vocab=dict(ours.ids), merges=merges)
    wrong = [
        text
        for text in texts_of_all_kinds(600, seed=332)
        if [BEGIN, *ours(text), END] != theirs(text, truncation=False)["input_ids"]
    ]
    assert not wrong
