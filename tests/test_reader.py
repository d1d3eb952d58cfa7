"""Presets, overrides, merging, paths, the way back to text. The bad inputs of C6 are in test_errors and test_guard."""

import os
import subprocess
import sys
from dataclasses import replace
from textwrap import dedent

import pytest
import yaml
from hypothesis import HealthCheck, example, given, reject, settings, strategies as st
from pydantic import ValidationError

from lcm_video import reader
from lcm_video.models import Runtime
from lcm_video.reader import InvalidStoryboard, dump, load, load_text, redacted, schema
from lcm_video.reader.paths import READS
from lcm_video.storyboard import Shot, Storyboard, Video, shots
from lcm_video.timeline import EASINGS, Keyframe, Point


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, and presets of our own in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    monkeypatch.setattr("lcm_video.reader.layers.shipped", lambda folder: tmp_path / folder)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(text, *overrides):
    return load_text(text, name="film.yaml", overrides=overrides)


def refusals(*args, **more):
    with pytest.raises(InvalidStoryboard) as error:
        load(*args, **more)
    return [problem.message for problem in error.value.problems]


def test_every_shipped_preset_loads():
    for name in reader.presets():
        assert load(name, ["prompts.0=a fox"]).prompts["0"].text


def test_scalars_are_text_until_a_field_says_otherwise():
    board = read("prompts: {0: no, 5: 012, 7: 1:30, 8: on, 9: 1e3, 10: ~, 11: null}\nvideo: {loop: off, width: 0512}")
    assert [key.text for key in board.prompts.values()] == ["no", "012", "1:30", "on", "1e3", "~", "null"]
    assert (board.video.loop, board.video.width) == (False, 512)


def test_a_prompt_alone_holds_for_the_whole_shot():
    assert read("prompts: a fox").prompts == {"0": Keyframe("a fox")}


def test_presets_come_first_then_the_file_then_overrides(here):
    write(here / "configs/fast.yaml", "sampling: {steps: 4, guidance: 1.2}\nvideo: {fps: 8}\nprompts: {0: a fox}")
    write(here / "configs/wide.yaml", "video: {width: 768, fps: 10}")
    write(here / "film.yaml", "extends: [fast, wide]\nsampling: {steps: 6}\nprompts: {2s: a hare}")
    board = load("film.yaml", ["video.height=256", "sampling.guidance={0: 1, 1s: 2}"])
    assert (board.sampling.steps, board.video.width, board.video.height, str(board.video.fps)) == (6, 768, 256, "10")
    assert board.sampling.guidance == {"0": Point(1), "1s": Point(2)}
    assert {at: key.text for at, key in board.prompts.items()} == {"0": "a fox", "2s": "a hare"}


def test_extends_reads_paths_beside_the_file_and_presets_of_presets(here):
    write(here / "configs/base.yaml", "video: {fps: 8, width: 256}")
    write(here / "configs/fast.yaml", "extends: base\nvideo: {fps: 10}")
    write(here / "films/look.yaml", "extends: fast\nnegative: blurry")
    write(here / "films/film.yaml", "extends: look.yaml\nprompts: a fox")
    board = load("films/film.yaml")
    assert (board.negative, board.video.width, str(board.video.fps)) == ("blurry", 256, "10")


def test_extends_in_a_circle_is_refused(here):
    write(here / "a.yaml", "extends: b.yaml")
    write(here / "b.yaml", "extends: a.yaml")
    assert refusals("a.yaml") == ["this extends itself: a.yaml → b.yaml → a.yaml"]


def test_extends_that_multiplies_is_refused(here):
    for level in range(12):
        write(here / f"{level}.yaml", f"extends: [{', '.join([f'{level + 1}.yaml'] * 5)}]\nprompts: a")
    write(here / "12.yaml", "prompts: a")
    assert refusals("0.yaml") == ["this is built on more than 32 files"]


def test_extends_does_not_reach_outside(here, tmp_path_factory):
    outside = write(tmp_path_factory.mktemp("other") / "secret.yaml", "password: x")
    film = write(here / "films/film.yaml", f"extends: {os.path.relpath(outside, here / 'films')}\nprompts: a fox")
    (message,) = refusals(film)
    assert "lies outside the storyboard's folder" in message
    assert refusals(film, allow_paths=[outside.parent]) == ["a storyboard has no field 'password'"]


def test_short_and_long_forms_of_a_keyframe_merge(here):
    write(here / "configs/base.yaml", "prompts: {0: a fox, 8: {text: a hare, ease: smooth}}\nmodel: {loras: {x: f}}")
    write(here / "film.yaml", "extends: base\nprompts: {0: {ease: hold}, 8: a bear}\nmodel: {loras: {x: {scale: 0.5}}}")
    board = load("film.yaml", ["sampling.guidance={0: 1}", "sampling.guidance.0.ease=smooth"])
    assert board.prompts == {"0": Keyframe("a fox", "hold"), "8": Keyframe("a bear", "smooth")}
    assert (board.model.loras["x"].path, board.model.loras["x"].scale) == ("f", 0.5)
    assert board.sampling.guidance == {"0": Point(1, "smooth")}


def test_lists_and_kinds_are_replaced_whole(here):
    write(here / "configs/base.yaml", "model: {embeddings: [a, b]}\nnegative: {0: x}\nsampling: {guidance: {0: 1}}")
    write(
        here / "film.yaml", "extends: base\nprompts: x\nmodel: {embeddings: [c]}\nnegative: y\nsampling: {guidance: 2}"
    )
    board = load("film.yaml")
    assert (board.model.embeddings, board.negative, board.sampling.guidance) == (("c",), "y", 2)


def test_a_shot_names_only_what_differs():
    board = read("""
        prompts: a fox
        sampling: {steps: 5, guidance: 1.5, seed: 1}
        shots:
          meadow:
          city: {sampling: {steps: 8}, seed: 2}
        """)
    meadow, city = shots(board)
    assert (meadow.sampling.steps, city.sampling.steps) == (5, 8)
    assert (meadow.sampling.guidance, city.sampling.guidance) == (1.5, 1.5)
    assert (meadow.sampling.seed, city.sampling.seed) == (1, 2)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("prompts.0=a hare", "prompts.0.text", "a hare"),
        ("prompts.1.5s.text=a hare", "prompts.1.5s.text", "a hare"),
        ("prompts.1.5s=a hare", "prompts.1.5s.text", "a hare"),
        ('prompts."1.5s".ease=hold', "prompts.1.5s.ease", "hold"),
        ("prompts.2.25s=new", "prompts.2.25s.text", "new"),
        ("prompts.12.5%=new", "prompts.12.5%.text", "new"),
        ("prompts.3=x = y: [z]", "prompts.3.text", "x = y: [z]"),
        ("prompts.3=(a fox:1.2), {red", "prompts.3.text", "(a fox:1.2), {red"),
        ("prompts.3='[a] {b}'", "prompts.3.text", "[a] {b}"),
        ("prompts.3={text: x, ease: hold}", "prompts.3.ease", "hold"),
        ("negative=", "negative", ""),
        ("vars.v1.2=x", "vars.v1.2", "x"),
        ("model.loras.film.v2.scale=0.25", "model.loras.film.v2.scale", 0.25),
        ("video={fps: 12, width: 256}", "video.width", 256),
        ("model.embeddings=[a, b]", "model.embeddings", ("a", "b")),
    ],
)
def test_overrides_reach_every_value(override, path, value):
    text = "prompts: {0: a, 1.5s: {text: b, ease: smooth}, 6s: z}\nmodel: {loras: {film.v2: f}}\nvars: {v1.2: w}"
    board = read(f"{text}\nvideo: {{frames: 64}}\nnegative: ugly", override)
    found = board
    while path:
        names = found if isinstance(found, dict) else {name: getattr(found, name) for name in vars(found)}
        name = max((name for name in names if path == name or path.startswith(f"{name}.")), key=len)
        found, path = names[name], path[len(name) + 1 :]
    assert found == value


def test_later_overrides_win():
    assert read("prompts: a", "video.fps=12", "video={fps: 10}", "video.fps=9").video.fps == 9


def test_sections_with_nothing_in_them_are_as_if_left_out():
    assert read("prompts: a\nvideo:\nshots:\nmodel:\n  loras:\nvars:\n") == read("prompts: a")


def test_many_keyframes_are_read():
    """In a process of its own, because checking every call's types makes this very slow."""
    code = """
        from lcm_video.reader import load_text
        lines = "".join(f"  {frame}: {{text: fox {frame}, ease: smooth}}\\n" for frame in range(20_000))
        print(len(load_text(f"video: {{frames: 20000}}\\nprompts:\\n{lines}", name="many").prompts))
        """
    assert subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True).stdout == "20000\n"


def test_anchors_and_aliases_may_be_used():
    board = read("prompts: a\nshots:\n  x: {prompts: &p {0: fox, 5: hare}}\n  y: {prompts: *p}\n")
    assert board.shots["x"].prompts == board.shots["y"].prompts != {}


def test_inputs_are_found_beside_the_file_that_names_them(here):
    write(here / "configs/base.yaml", "model: {vae: v.bin, checkpoint: here.safetensors}")
    write(here / "configs/v.bin", "x")
    for name in ("here.safetensors", "l.bin", "e/one.pt", "s.png", "a.mp3"):
        write(here / "films" / name, "x")
    film = """
        extends: base
        prompts: a
        model:
          motion: card
          checkpoint: here.safetensors
          loras: {x: l.bin, y: {path: l.bin}, z: lcm}
          embeddings: [e/one.pt, two]
        start: {source: s.png}
        shots: {a: {start: {source: s.png}}}
        output: {audio: {source: a.mp3}}
        """
    write(here / "films/film.yaml", film)
    board = load("films/film.yaml", ["model.tokenizer=l.bin"])
    model = board.model
    assert (model.vae, model.checkpoint) == (str(here / "configs/v.bin"), "films/here.safetensors")
    assert [lora.path for lora in model.loras.values()] == ["films/l.bin", "films/l.bin", "lcm"]
    assert model.embeddings == ("films/e/one.pt", "two")
    assert (model.motion, model.tokenizer) == ("card", "l.bin")
    assert board.start.source == board.shots["a"].start.source == "films/s.png"
    assert board.output.audio.source == "films/a.mp3"


def test_every_field_that_names_an_input_exists():
    from lcm_video.reader.schema import _shapes

    for pattern in READS:
        assert _shapes(pattern.split(".")), pattern


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../film.mp4", "lies outside the current folder"),
        ("out/../../film.mp4", "lies outside the current folder"),
        ("/tmp/film.mp4", "lies outside the current folder"),
        ("~/film.mp4", "begins in a home folder"),
        ("~root/film.mp4", "begins in a home folder"),
        ("C:\\film.mp4", "names a drive"),
        ("C:film.mp4", "names a drive"),
        ("\\\\server\\share\\film.mp4", "names a drive"),
        ("\\film.mp4", "names a drive"),
        ("..\\film.mp4", "leaves its folder"),
        ("out/con.mp4", "is a device on Windows"),
        ("NUL.mp4", "is a device on Windows"),
        ("linked/film.mp4", "lies outside the current folder"),
        ("link.mp4", "lies outside the current folder"),
        ("folder.mp4", "is a folder"),
        ("film.gif", "is also an input"),
        ("./start.mp4", "is also an input"),
    ],
)
def test_a_file_may_write_only_below_the_current_folder(here, tmp_path_factory, path, said):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (here / "linked").symlink_to(elsewhere)
    (here / "link.mp4").symlink_to(elsewhere / "film.mp4")
    (here / "folder.mp4").mkdir()
    write(here / "start.mp4", "x")
    write(here / "film.gif", f"prompts: a\nstart: {{source: start.mp4}}\noutput: {{path: '{path}'}}")
    (message,) = refusals("film.gif")
    assert said in message


def test_further_formats_are_judged_like_the_first(here, tmp_path_factory):
    (here / "film.gif").symlink_to(tmp_path_factory.mktemp("elsewhere") / "film.gif")
    write(here / "film.yaml", "prompts: a\noutput: {path: film.mp4, formats: [gif]}")
    assert refusals("film.yaml") == ["'film.gif' lies outside the current folder"]


def test_allowed_folders_and_typed_paths_may_be_written_to(here, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    film = write(here / "film.yaml", f"prompts: a\noutput: {{path: {elsewhere}/film.mp4}}\nvars: {{out: /x.mp4}}")
    assert load(film, allow_paths=[elsewhere]).output.path == f"{elsewhere}/film.mp4"
    assert load(film, ["output.path=/tmp/film.mp4"]).output.path == "/tmp/film.mp4"
    assert load(film, ["output={path: ../film.mp4}"]).output.path == "../film.mp4"
    assert refusals(film, ["output.path=${vars.out}"]) == ["'/x.mp4' lies outside the current folder"]
    assert refusals(film, [f"output.path={film.with_name('film.yaml')}"])[0].startswith("cannot write")


def test_a_typed_path_may_not_be_an_input_or_a_folder_either(here):
    write(here / "start.mp4", "x")
    film = write(here / "film.yaml", "prompts: a\nstart: {source: start.mp4}")
    (here / "folder.mp4").mkdir()
    assert "also an input" in refusals(film, ["output.path=start.mp4"])[0]
    assert "is a folder" in refusals(film, ["output.path=folder.mp4"])[0]


TRAVELS = [name for name in EASINGS if not name.endswith(("_back", "_elastic"))]
curves = st.floats(0, 10) | st.dictionaries(
    st.integers(0, 15).map(str), st.builds(Point, st.floats(0, 10), st.sampled_from(TRAVELS)), min_size=1
)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]) | st.sampled_from("\n\t\x85\u2028\ufeff${\\"))
prompts = st.dictionaries(st.integers(0, 15).map(str), st.builds(Keyframe, texts, st.sampled_from(TRAVELS)), min_size=1)


boards = st.fixed_dictionaries(
    {
        "prompts": prompts,
        "negative": texts | prompts,
        "shots": st.dictionaries(
            st.sampled_from(["a", "b 2", "c.d"]),
            st.builds(Shot, prompts, st.none() | texts, seed=st.none() | st.just(3)),
        ),
        "video": st.builds(Video, st.just(16), st.sampled_from(["12", "23.976", "1/3"]), loop=st.booleans()),
        "sampling": st.fixed_dictionaries({"guidance": curves}),
        "vars": st.dictionaries(st.sampled_from(["x", "y_1"]), texts),
        "model": st.fixed_dictionaries({"embeddings": st.lists(texts)}),
    },
)


def made(values):
    """The storyboard of random values, where they make one: texts may call wildcards or curves that there are not."""
    try:
        return Storyboard(**values)
    except ValidationError:
        reject()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(boards)
def test_a_dumped_storyboard_reads_back_equal(values):
    board = made(values)
    text = dump(board)
    again = load_text(text, name="again")
    assert again == board
    assert dump(again) == text


@pytest.mark.parametrize(
    "text", ["a \u2028 b", "a \u2029 b", "a \x85 b", " \n a\t", "\\${x} \\\\${y} $", "狐 🦊", "'\"#: -"]
)
def test_awkward_texts_read_back_equal(text):
    assert load_text(dump(Storyboard(prompts={"0": Keyframe(text)})), name="x").prompts["0"].text == text


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(boards)
def test_another_yaml_reader_sees_the_same_values(values):
    board = made(values)
    seen = yaml.load(dump(board), yaml.BaseLoader)
    assert list(seen["prompts"]) == list(board.prompts)
    assert seen["video"]["fps"] == str(board.video.fps)
    if not any("${" in text for text in board.vars.values()):
        assert seen["vars"] == board.vars


def test_what_travels_in_a_film_does_not_tell_of_the_machine(here):
    board = read(f"""
        prompts: a
        model:
          checkpoint: {here}/secret/dream.safetensors
          vae: ~/v.bin
          motion: card
          embeddings: ['C:\\me\\e.pt', ../up/x.pt, sub/y.pt]
        start: {{source: {here}/s.png}}
        output: {{path: out/mine.webm, codec: vp9}}
        runtime: {{device: cpu, dtype: float32, decode_batch: 2, folders: [{here}]}}
        """)
    bare = redacted(board)
    assert bare.model.checkpoint == "dream.safetensors"
    assert (bare.model.vae, bare.model.motion, bare.start.source) == ("v.bin", "card", "s.png")
    assert bare.model.embeddings == ("e.pt", "x.pt", "sub/y.pt")
    assert (bare.output.path, bare.output.codec) == ("film.webm", "vp9")
    assert bare.runtime == Runtime(device="cpu", dtype="float32")
    assert str(here) not in dump(bare)
    assert redacted(bare) == bare
    assert redacted(replace(board, output=replace(board.output, path="other/name.webm"))) == bare


def test_the_schema_describes_short_and_long_forms():
    shape = schema()
    assert shape["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = str(shape)
    assert "$defs" not in text
    assert "prefixItems" not in text
    assert shape["definitions"]["Point"]["properties"]["ease"]["anyOf"][0]["enum"] == [*EASINGS]
    assert {"Heard", "Point", "SeedPoint", "Tempo"} <= shape["definitions"].keys()
    assert shape["definitions"]["Video"]["properties"]["width"]["description"].startswith("pixels, a multiple of 8")
    assert "extends" in shape["properties"]
    for name, field in shape["properties"].items():
        assert field.get("description"), name


def test_every_option_is_described_for_editors():
    checked = ("Video", "Shot", "Keyframe", "Point", "Travel", "Heard", "SeedPoint", "Tempo")
    silent = [
        f"{name}.{field}"
        for name, section in schema()["definitions"].items()
        for field, shape in section.get("properties", {}).items()
        if name in checked and not shape.get("description")
    ]
    assert silent == []


def attempt(reading, *args, **more):
    """A storyboard, or the one error that may come instead."""
    try:
        return reading(*args, **more)
    except InvalidStoryboard as error:
        return error


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
@example(b"\xff\xfe\x00")
@example("prompts: {0: \ud800}".encode("utf-8", "surrogatepass"))
@example(b"%YAML 3.0\n---\na: b")
@example(b"? [a]\n: b")
@example(b"- &a a: *a")
def test_any_bytes_become_a_storyboard_or_a_storyboard_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "bytes.yaml"
    file.write_bytes(data)
    outcome = attempt(load, file)
    assert isinstance(outcome, Storyboard) or str(outcome)


sections = ["prompts", "shots", "video", "vars", "negative", "model", "sampling", "start", "output", "extends"]
values = ["0", "1s", "50%", "-1", "${vars.a}", "\\${", "a", "nan", "text", "loras", "path", "frames", "~", ""]
words = st.sampled_from([*sections, *values])
trees = st.recursive(
    words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(sections), trees, max_size=5), st.lists(st.tuples(words, words, words), max_size=2)
)
def test_any_yaml_becomes_a_storyboard_or_a_storyboard_error(values, keys):
    overrides = [f"{section}.{name}={value}" for section, name, value in keys]
    outcome = attempt(load_text, yaml.safe_dump(values), name="any", overrides=overrides)
    if isinstance(outcome, Storyboard):
        assert load_text(dump(outcome), name="again") == outcome
    else:
        assert all(problem.message and problem.remedy for problem in outcome.problems)


@given(st.lists(st.text(max_size=20), max_size=3))
@settings(deadline=None)
def test_any_override_is_applied_or_refused(overrides):
    outcome = attempt(load_text, "prompts: a", name="film", overrides=overrides)
    assert isinstance(outcome, Storyboard) or outcome.problems
