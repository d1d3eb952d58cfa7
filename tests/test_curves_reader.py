"""Curves as they are written in YAML: merged, found beside their file, and refused at their column."""

import pytest
from hypothesis import HealthCheck, given, reject, settings, strategies as st
from pydantic import ValidationError

from lcm_video.reader import InvalidStoryboard, dump, load, load_text, redacted
from lcm_video.storyboard import Storyboard, Video
from lcm_video.timeline import EASINGS, Heard, Keyframe, Point, SeedPoint, Tempo


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


def read(text, *overrides):
    return load_text(text, name="film.yaml", overrides=overrides)


def test_a_sound_and_points_replace_each_other_but_mix_with_their_own_kind(here):
    write(here / "configs/sound.yaml", "sampling: {guidance: {audio: a.wav, range: [1, 2]}}\nvideo: {tempo: 120}")
    write(here / "configs/points.yaml", "sampling: {guidance: {0: 1, 8: 2}}\noutput: {path: x.mp4}")
    write(here / "1.yaml", "extends: sound\nprompts: a\nsampling: {guidance: {band: low}}\nvideo: {tempo: {beats: 3}}")
    write(here / "2.yaml", "extends: [sound, points]\nprompts: a")
    write(here / "3.yaml", "extends: [points, sound]\nprompts: a\noutput: {audio: {source: b.wav}}")
    one, two, three = (load(f"{name}.yaml") for name in (1, 2, 3))
    assert one.sampling.guidance == Heard("a.wav", "low", range=(1, 2))
    assert one.video.tempo == Tempo(120, beats=3)
    assert two.sampling.guidance == {"0": Point(1), "8": Point(2)}
    assert three.sampling.guidance == Heard("a.wav", range=(1, 2))
    assert (three.output.path, three.output.audio.source) == ("x.mp4", "b.wav")


def test_sounds_are_found_beside_the_file_wherever_a_curve_stands(here):
    film = """
        prompts: a
        sampling: {guidance: {audio: a.wav, range: [1, 2]}}
        model: {motion_scale: {audio: a.wav}, loras: {audio: {path: x, scale: {audio: a.wav}}}}
        curves: {drums: {audio: a.wav}, audio: "@drums"}
        shots: {a: {start: {strength: {audio: a.wav}}}}
        vars: {audio: a.wav}
        """
    write(here / "films/film.yaml", film)
    write(here / "films/a.wav", "x")
    board = load("films/film.yaml")
    heard = [
        board.sampling.guidance,
        board.model.motion_scale,
        board.model.loras["audio"].scale,
        board.curves["drums"],
        board.shots["a"].start.strength,
    ]
    assert [one.audio for one in heard] == ["films/a.wav"] * 5
    assert (board.vars["audio"], board.curves["audio"]) == ("a.wav", "@drums")
    elsewhere = load("films/film.yaml", [f"curves.drums.audio={here}/films/a.wav"])
    assert elsewhere.curves["drums"].audio == f"{here}/films/a.wav"
    assert redacted(elsewhere).curves["drums"].audio == "a.wav"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("guidance: 1 + foo", "3:17"),
        ("guidance: '1 + foo'", "3:18"),
        ('guidance: {0: "1 + foo"}', "3:22"),
        ("guidance: {0: {value: 1 + foo}}", "3:29"),
        ("guidance: 1 + @no", "3:17"),
        ('guidance: {0: 1, 2s: "1 + @no"}', "3:29"),
        ('guidance: "1 \\u002b foo"', "3:23"),  # an escape: columns cannot be counted, but the word is found
        ("guidance: clamp(t,\n    foo, 1)", "4:5"),
    ],
)
def test_errors_in_expressions_point_at_their_column(line, place):
    with pytest.raises(InvalidStoryboard) as error:
        read(f"prompts: a\nsampling:\n  {line}")
    assert str(error.value).startswith(f"film.yaml:{place}: sampling.guidance")


def test_errors_in_overrides_and_references_are_placed_too():
    with pytest.raises(InvalidStoryboard, match=r"override:1:23: sampling.guidance"):
        read("prompts: a", "sampling.guidance=1 + foo")
    with pytest.raises(InvalidStoryboard, match=r"film.yaml:2:22: sampling.guidance: 'foo'"):
        read("prompts: a\nsampling: {guidance: '${vars.x}'}\nvars: {x: 1 + foo}")


def test_errors_across_sections_all_have_their_line():
    with pytest.raises(InvalidStoryboard) as error:
        read("prompts: {0: a, 0s: b}\nsampling:\n  guidance: 40 - t\nnegative:\n  3: a\n  3b: b\ncurves: {x: 1/t}")
    assert [(one.line, one.path) for one in error.value.problems] == [
        (1, "prompts.0s"),
        (3, "sampling.guidance"),
        (6, "negative.3b"),
        (7, "curves.x"),
    ]


def test_expressions_may_be_put_together_from_vars():
    board = read("prompts: a\nvars: {beat: 2*pi*t/12}\nsampling: {guidance: '1 + sin(${vars.beat})'}")
    assert board.sampling.guidance == "1 + sin(2*pi*t/12)"


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("sampling.guidance.2.5b=1.5", lambda board: board.sampling.guidance["2.5b"] == Point(1.5)),
        ("sampling.guidance=1 + t/100", lambda board: board.sampling.guidance == "1 + t/100"),
        ("sampling.guidance=@up", lambda board: board.sampling.guidance == "@up"),
        ("sampling.guidance.0.ease=[0, 0, 1, 1]", lambda board: board.sampling.guidance["0"].ease.startswith("bezier")),
        ("sampling.seed={0: 1, 1s: 2}", lambda board: board.sampling.seed["1s"] == SeedPoint(2)),
        ("video.tempo=90", lambda board: board.video.tempo.bpm == 90),
        ("curves.up.8=2", lambda board: board.curves["up"]["8"] == Point(2)),
        ("prompts.1:00=late", lambda board: board.prompts["1:00"].text == "late"),
    ],
)
def test_overrides_reach_curves(override, found):
    text = "prompts: {0: a}\nvideo: {frames: 500, tempo: 120}\ncurves: {up: {0: 1}}\nsampling: {guidance: {0: 1}}"
    assert found(read(text, override))


corners = st.lists(st.floats(0, 1).map(lambda corner: round(corner, 6)), min_size=4, max_size=4)
eases = st.sampled_from([name for name in EASINGS if not name.endswith(("_back", "_elastic"))]) | corners
formulas = st.sampled_from(["sin(t)+1", "@wave", "clamp(t, 0, 1) * 2"])
moments = st.integers(0, 15).map(str) | st.sampled_from(["0:01", "3b", "beat 2", "1bar", "-0.5s"])
points = st.dictionaries(moments, st.builds(Point, st.floats(0, 10), eases), min_size=1, max_size=3)
travelling = st.dictionaries(moments, st.builds(Point, formulas, eases), min_size=1, max_size=3)
sounds = st.builds(
    Heard, st.text("ab /.", min_size=1), st.sampled_from(["low", (20.0, 99.5)]), range=st.just((1.0, 2.0))
)
seeds = st.dictionaries(moments, st.builds(SeedPoint, st.integers(0, 2**63 - 1), eases), min_size=1, max_size=3)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(points, st.floats(0, 10) | formulas | points | travelling | sounds, st.integers(0, 99) | seeds)
def test_curves_of_all_kinds_are_written_and_read_back_equal(wave, guidance, seed):
    try:
        board = Storyboard(
            prompts={"0": Keyframe("a")},
            video=Video(32, "12", tempo=Tempo(120, 0.25)),
            curves={"wave": wave},
            sampling={"guidance": guidance, "seed": seed},
        )
    except ValidationError as error:
        if "both frame" not in str(error):
            raise
        reject()
    assert load_text(dump(board), name="again") == board
