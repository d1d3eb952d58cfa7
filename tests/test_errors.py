"""Every message a storyboard can cause, word for word: faults 1 to 17 that a user or an attacker may write."""

import os
import re
import time

import pytest

from lcm_video import errors
from lcm_video.errors import Interrupted, LcmVideoError, StoryboardError, did_you_mean
from lcm_video.reader import InvalidStoryboard, load, load_text


def refused(text, *overrides):
    with pytest.raises(InvalidStoryboard) as error:
        load_text(text, name="film.yaml", overrides=overrides)
    assert error.value.exit_code == 3
    return error.value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "prompts: {0: a fox}\nvideo: {frame: 24}",
            """film.yaml:2:9: video.frame: video has no field 'frame'
    video: {frame: 24}
            ^
  → did you mean 'frames'? known: fps, frames, height, loop, tempo, width""",
        ),
        (
            "prompt: {0: a fox}",
            """film.yaml:1:1: prompt: a storyboard has no field 'prompt'
    prompt: {0: a fox}
    ^
  → did you mean 'prompts'? known: curves, freeinit, model, negative, output, prompts, runtime, sampling, shots, \
start, sweep, travel, vars, video, wildcards, windows""",
        ),
        (
            "prompts:\n  0: {text: a fox, ease: smoth}",
            """film.yaml:2:26: prompts.0.ease: unknown easing 'smoth'
      0: {text: a fox, ease: smoth}
                             ^
  → did you mean 'smooth'? known: linear, smooth, hold, ease_in, ease_out, ease_in_out, bezier and more: see \
docs/storyboard.md""",
        ),
        (
            "prompts:\n  0: a fox\n  1:75: a hare",
            """film.yaml:3:3: prompts.1:75: '1:75' is not a moment
      1:75: a hare
      ^
  → write a frame (12), seconds (1.5s), a share of the shot (25%) or count from the end (-1)""",
        ),
        (
            "prompts: {noon: a fox}",
            """film.yaml:1:11: prompts.noon: 'noon' is not a moment
    prompts: {noon: a fox}
              ^
  → write a frame (12), seconds (1.5s), a share of the shot (25%) or count from the end (-1)""",
        ),
        (
            "video: {fps: 12}\nprompts:\n  0: a fox\n  12: a hare\n  1s: a bear",
            """film.yaml:5:7: prompts.1s: moments '12' and '1s' are both frame 12
      1s: a bear
          ^
  → move or remove one of them""",
        ),
        (
            "prompts:\n  0: a fox\n  '0': a hare",
            """film.yaml:3:3: '0' is given twice, first in line 2
      '0': a hare
      ^
  → remove or rename one of them""",
        ),
        (
            "prompts:\n  0: a fox\n  00: a hare",
            """film.yaml:3:3: '00' is given twice, first in line 2
      00: a hare
      ^
  → remove or rename one of them""",
        ),
        (
            "video:\n\tfps: 12",
            """film.yaml:2:1: not YAML: found character that cannot start any token
    \tfps: 12
    ^
  → indent with spaces, not tabs; put texts that begin with @ or ` or % in quotes""",
        ),
        (
            "prompts: {0: a fox\n",
            """film.yaml:1:10: not YAML: did not find expected ',' or '}'
    prompts: {0: a fox
             ^
  → look for a bracket or quote that is not closed, or a line that is indented otherwise""",
        ),
        (
            "negative: bad: very bad",
            """film.yaml:1:14: not YAML: mapping values are not allowed in this context
    negative: bad: very bad
                 ^
  → put a text that contains ': ' in quotes""",
        ),
        ("", "film.yaml: there is nothing in it\n  → write prompts: {0: a fox}"),
        (
            "a fox",
            """film.yaml:1:1: a storyboard is a map of sections, not a text
    a fox
    ^
  → write prompts: {0: a fox in spring}""",
        ),
        (
            "prompts: a fox\n---\nprompts: a hare",
            """film.yaml:2:1: a second document begins here
    ---
    ^
  → keep one storyboard in a file; remove the line ---""",
        ),
        (
            "prompts: a f\0x",
            """film.yaml:1:13: the character U+0000 is not text
    prompts: a f·x
                ^
  → remove it""",
        ),
        (
            "prompts: a \ud83dfox",
            """film.yaml:1:12: the character U+D83D is not text
    prompts: a ·fox
               ^
  → remove it""",
        ),
        (
            'prompts: "a \\0"',
            """film.yaml:1:10: an escape here stands for a character that is not text
    prompts: "a \\0"
             ^
  → remove it""",
        ),
        (
            "prompts: !!python/object/apply:os.system [touch hacked]",
            """film.yaml:1:10: the tag !!python/object/apply:os.system is not allowed
    prompts: !!python/object/apply:os.system [touch hacked]
             ^
  → remove it: values are plain text""",
        ),
        (
            "prompts: a fox\nvideo: {width: 500}",
            """film.yaml:2:16: video.width: 500 is not a multiple of 8
    video: {width: 500}
                   ^
  → use 496 or 504""",
        ),
        (
            "prompts: a fox\nvideo: {frames: 1000000000}",
            """film.yaml:2:17: video.frames: 1000000000 is more than 1000000
    video: {frames: 1000000000}
                    ^
  → choose 1000000 or less""",
        ),
        (
            "prompts: a fox\nvideo: {fps: 0}",
            """film.yaml:2:14: video.fps: 0 is not above 0 and at most 240
    video: {fps: 0}
                 ^
  → 8 to 30 frames per second is usual""",
        ),
        (
            "prompts: a fox\nsampling: {guidance: {0: 1, 2s: 99}}",
            """film.yaml:2:33: sampling.guidance.2s: 99 is not between 0 and 30
    sampling: {guidance: {0: 1, 2s: 99}}
                                    ^
  → choose a number from 0 to 30""",
        ),
        (
            "prompts: a fox\nsampling: {steps: four}",
            """film.yaml:2:19: sampling.steps: 'four' is not a whole number
    sampling: {steps: four}
                      ^
  → write digits only, for example 16""",
        ),
        (
            "video: {fps: 12}",
            "film.yaml:1:1: there are no prompts\n    video: {fps: 12}\n    ^\n  → write prompts: {0: a fox in spring}",
        ),
        (
            "prompts: a fox\nvideo: 12",
            """film.yaml:2:8: video: 12 is not a section
    video: 12
           ^
  → write its fields below it, or as {name: value}""",
        ),
        (
            "prompts: a fox\ntravel: {blend: sleep}",
            """film.yaml:2:17: travel.blend: 'sleep' is not known here
    travel: {blend: sleep}
                    ^
  → did you mean 'slerp'? known: linear, slerp""",
        ),
        (
            "prompts:\n  0: a 狐\n  1: {text: 狐狸, ease: x}",
            """film.yaml:3:23: prompts.1.ease: unknown easing 'x'
      1: {text: 狐狸, ease: x}
                            ^
  → known: linear, smooth, hold, ease_in, ease_out, ease_in_out, bezier and more: see docs/storyboard.md""",
        ),
    ],
)
def test_messages_word_for_word(text, said):
    assert str(refused(text)) == said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "video.fps=fast",
            """override:1:11: video.fps: 'fast' is not a frame rate
    video.fps=fast
              ^
  → write 12, 23.976, 24000/1001 or one of film, ntsc-film, ntsc, pal""",
        ),
        (
            "sampling.stepz=3",
            """override:1:1: sampling.stepz: sampling has no field 'stepz'
    sampling.stepz=3
    ^
  → did you mean 'steps'? known: betas, guidance, sampler, seed, steps, timesteps""",
        ),
        (
            "video.fps",
            """override:1:1: this is not an override
    video.fps
    ^
  → write key=value, for example video.fps=12""",
        ),
        (
            "=3",
            """override:1:1: this is not an override
    =3
    ^
  → write key=value, for example video.fps=12""",
        ),
        (
            "video={fps: }12}",
            """override:1:14: not YAML: did not find expected <document start>
    video={fps: }12}
                 ^
  → look for a bracket or quote that is not closed, or a line that is indented otherwise""",
        ),
        (
            "extends=fast",
            """override:1:1: a storyboard's presets cannot be changed from here
    extends=fast
    ^
  → set extends in the file""",
        ),
        (
            "sampling.steps=",
            """override:1:16: sampling.steps: '' is not a whole number
    sampling.steps=
                   ^
  → write digits only, for example 16""",
        ),
    ],
)
def test_messages_about_overrides_word_for_word(override, said):
    assert str(refused("prompts: a fox", override)) == said


def test_everything_wrong_is_told_at_once_from_the_top():
    error = refused(
        "moddel: x\nprompts: {0: a, noon: b}\nvideo: {width: 5, height: 9, fps: -1}\nsampling: {steps: 0, seed: x}",
        "video.loop=maybe",
        "nonsense",
    )
    assert [(problem.file, problem.line, problem.path) for problem in error.problems] == [
        ("override", 1, ""),
        ("override", 1, "video.loop"),
        ("film.yaml", 1, "moddel"),
        ("film.yaml", 2, "prompts.noon"),
        ("film.yaml", 3, "video.width"),
        ("film.yaml", 3, "video.height"),
        ("film.yaml", 3, "video.fps"),
        ("film.yaml", 4, "sampling.steps"),
        ("film.yaml", 4, "sampling.seed"),
    ]
    assert isinstance(error, StoryboardError)
    assert all(problem.remedy and problem.text for problem in error.problems)


def test_a_value_is_reported_where_it_was_last_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("# first line\nvideo: {width: 5}\nsampling: {steps: 0}")
    (tmp_path / "film.yaml").write_text("extends: base.yaml\nprompts: a\n\nvideo: {width: 6, height: 7}")
    with pytest.raises(InvalidStoryboard) as error:
        load("film.yaml", ["video.height=8"])
    places = {problem.path: (problem.file, problem.line, problem.column) for problem in error.value.problems}
    assert places == {
        "video.width": ("film.yaml", 4, 16),
        "video.height": ("override", 1, 14),
        "sampling.steps": ("base.yaml", 3, 19),
    }


def test_many_problems_are_counted_rather_than_told():
    error = refused(f"prompts: {{{', '.join(f'x{number}: a' for number in range(50))}}}")
    assert len(error.problems) == 50
    assert str(error).endswith("\nand 30 more")
    assert str(error).count("→") == 20


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"prompts: a\nnegative: caf\xe9", "x.yaml:2:1: byte 24 is not UTF-8 text\n  → save the file as UTF-8"),
        (b"\xff\xfea\0", "x.yaml:1:1: byte 0 is not UTF-8 text\n  → save the file as UTF-8"),
        (
            b"# " + b"x" * 2_000_000,
            "x.yaml: the file has more than 2000000 bytes\n  → a storyboard is a short YAML text; is this one?",
        ),
    ],
)
def test_bytes_that_are_no_storyboard(tmp_path, monkeypatch, data, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_bytes(data)
    with pytest.raises(InvalidStoryboard) as error:
        load("x.yaml")
    assert str(error.value) == said


def test_files_that_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe.yaml", "folder.yaml", "/dev/zero"):
        with pytest.raises(InvalidStoryboard) as error:
            load(name)
        assert str(error.value) == f"{name}: this is not a file\n  → give a YAML file, or the name of a preset"
    for name in ("nope.yaml", "a\0b", "x" * 5000, ""):
        with pytest.raises(InvalidStoryboard):
            load(name)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfprompts: a fox")
    assert load(tmp_path / "x.yaml").prompts["0"].text == "a fox"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nest"),
        ("{a: " * 2000, "nested more than 32 deep"),
        ("\n".join(f"{' ' * depth}a:" for depth in range(1500)), "nested more than 32 deep"),
        ("- " * 100_000, "nest"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{to}: &{to} [{','.join([f'*{of}'] * 10)}]\n" for of, to in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "more than 200000 values",
        ),
        (f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 100)}]", "more than 4000000 characters"),
        ("a: &a [*a]", "*a stands for nothing, or for what it is itself part of"),
        ("a: *b", "*b stands for nothing"),
    ],
)
def test_text_that_would_explode_is_refused_at_once(text, said):
    before = time.process_time()
    assert said in refused(text).problems[0].message
    assert time.process_time() - before < 5


@pytest.mark.parametrize("prompt", ["(a fox", "((((", "a) b", "x " * 500, "x" * 900_000, "''"])
def test_odd_prompts_are_defined(prompt):
    assert load_text(f"prompts: {{0: {prompt}}}", name="film").prompts["0"].text == prompt.strip("'").strip()


def test_a_prompt_of_a_megabyte_is_refused():
    assert "the prompts have 1000000 characters" in str(refused(f"prompts: {{0: {'x' * 1_000_000}}}"))


@pytest.mark.parametrize("value", ["nan", ".nan", "inf", "-inf", "1e400", "-1", "1e9"])
@pytest.mark.parametrize("field", ["video.fps", "video.width", "video.frames", "sampling.steps", "sampling.guidance"])
def test_numbers_that_are_none_or_out_of_range_are_refused(field, value):
    (problem,) = refused("prompts: a", f"{field}={value}").problems
    assert (problem.path, problem.file) == (field, "override")


def test_nothing_shown_can_command_a_terminal():
    assert "\x1b" not in str(refused("video: {\x9b31mfps: 12, '\\\x85': x}"))
    assert "\x1b" not in str(refused("prompts: a\x1b[31m"))


def test_an_error_says_where_what_and_what_to_do():
    assert str(StoryboardError("the sky is green", remedy="paint it")) == "the sky is green\n  → paint it"
    assert did_you_mean("zebra", ["lcm", "euler"]) == "known: euler, lcm"


def test_the_table_of_exit_codes_is_the_classes():
    """What shells and scripts rely on stands at the top of errors.py, and is true."""
    told = dict(re.findall(r"^[├└]── (\w+) +([0-9]+)", errors.__doc__, re.MULTILINE))
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LcmVideoError)}
    assert {name: int(code) for name, code in told.items()} == {
        kind.__name__: kind("what").exit_code for kind in classes - {LcmVideoError}
    }
    assert {3, 4, 5, 6, 7, 130} == {int(code) for code in told.values()}


def test_a_stop_has_the_exit_code_of_its_signal_and_says_how_to_go_on():
    assert (Interrupted().exit_code, Interrupted(exit_code=143).exit_code, Interrupted().exit_code) == (130, 143, 130)
    assert str(Interrupted()) == "stopped\n  → run the same command again: it goes on from here"


def test_notes_come_after_the_remedy():
    error = StoryboardError("the sky is green", remedy="paint it")
    error.add_note("it was blue")
    assert str(error) == "the sky is green\n  → paint it\n  it was blue"
