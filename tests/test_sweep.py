"""A sweep is one storyboard and many films: each is what the storyboard with that film's values would be."""

import json
import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

import lcm_video as lv
from lcm_video.cli.commands import app
from lcm_video.cli.film_names import differences, short_names
from lcm_video.cli.sources import opened_films
from lcm_video.cli.sweep_sheet import SweepSheet
from lcm_video.errors import StoryboardError
from lcm_video.media import grid, read_frames
from lcm_video.reader import InvalidStoryboard, load_films, load_text, load_text_films

BOARD = """\
extends: embedded
vars: {animal: fox}
prompts: {0: "a ${vars.animal}", 2s: a hare}
shots: {first: {}, second: {seed: 7}}
"""


def films(section, *overrides, sweep=()):
    return load_text_films(BOARD + section, name="board.yaml", overrides=overrides, sweep=sweep)


def refused(section, *overrides, sweep=()):
    with pytest.raises(InvalidStoryboard) as caught:
        films(section, *overrides, sweep=sweep)
    return [(one.line, one.column, one.path, one.message) for one in caught.value.problems]


def test_a_grid_is_all_combinations_and_each_equals_the_storyboard_with_overrides():
    found = films("sweep: {sampling.guidance: [1, 1.5, 2], sampling.seed: [1, 2]}\n")
    expected = [{"sampling.guidance": g, "sampling.seed": s} for g, s in product(["1", "1.5", "2"], ["1", "2"])]
    assert [film.settings for film in found] == expected
    for film in found:
        plain = load_text(
            BOARD, name="board.yaml", overrides=[f"{key}={value}" for key, value in film.settings.items()]
        )
        assert film.board == plain


def test_sections_may_be_written_as_maps_and_shots_inherit_what_is_swept():
    nested = films("sweep: {sampling: {guidance: [1, 2], seed: [1, 2]}}\n")
    assert [film.board for film in nested] == [
        film.board for film in films("sweep: {sampling.guidance: [1, 2], sampling.seed: [1, 2]}\n")
    ]
    text = "shots: {a: {sampling: {steps: 3}}}\nprompts: {0: x, 4: y}\nsweep: {sampling.guidance: [1, 2]}\n"
    found = load_text_films(text, name="board.yaml")
    assert [film.board.shots["a"].sampling.guidance for film in found] == [1, 2]
    assert {film.board.shots["a"].sampling.steps for film in found} == {3}


def test_a_list_is_one_film_each_and_may_set_whole_sections():
    found = films("sweep: [{sampling.steps: 4, sampling.guidance: 2}, {sampling: {steps: 8}}]\n")
    told = [(film.board.sampling.steps, film.board.sampling.guidance) for film in found]
    assert told == [(4, 2.0), (8, 1.0)], "what one film sets, the next does not"
    assert [film.settings for film in found] == [
        {"sampling.steps": "4", "sampling.guidance": "2"},
        {"sampling": "{steps: 8}"},
    ]


def test_prompts_moments_with_dots_texts_to_use_and_whole_values_can_be_swept():
    found = films('sweep: {vars.animal: [cat, dog], prompts.2s.text: [x, "big ${vars.animal}"]}\n')
    told = [(film.board.prompts["0"].text, film.board.prompts["2s"].text) for film in found]
    assert told == [("a cat", "x"), ("a cat", "big cat"), ("a dog", "x"), ("a dog", "big dog")]
    assert found[1].settings["prompts.2s.text"] == "big cat", "references are shown as what they stand for"
    curves = films("sweep: {sampling.guidance: [1, {0: 1, 1s: 2}], model.embeddings: [[], [embedded_negative]]}\n")
    assert [film.settings["sampling.guidance"] for film in curves] == ["1", "1", "{0: 1, 1s: 2}", "{0: 1, 1s: 2}"]
    assert [film.board.model.embeddings for film in curves] == [(), ("embedded_negative",)] * 2


def test_the_command_line_adds_to_a_grid_and_takes_the_place_of_a_list():
    found = films("sweep: {sampling.seed: [1, 2]}\n", sweep=["sampling.steps=2, 3", 'prompts.0=["a, b", c]'])
    assert len(found) == 8
    assert found[1].settings == {"sampling.seed": "1", "sampling.steps": "2", "prompts.0": "c"}
    assert found[0].board.prompts["0"].text == "a, b"
    assert len(films("sweep: {sampling.seed: [1, 2]}\n", sweep=["sampling.seed=5,6,7"])) == 3
    assert len(films("sweep: [{sampling.steps: 2}]\n", sweep=["sampling.seed=5,6,7"])) == 3
    assert len(films("", "sweep.sampling.seed=[1, 2]")) == 2
    assert len(films("sweep: {sampling.seed: [1, 2]}\n", "sweep.sampling.seed=[1, 2, 3]")) == 3


@pytest.mark.parametrize("section", ["", "sweep:\n", "sweep: {}\n", "sweep: []\n"])
def test_without_values_there_is_one_film(section):
    (film,) = films(section)
    assert film.settings == {}
    assert film.board == load_text(BOARD, name="board.yaml")
    assert films("sweep: {sampling.seed: [1, 2]}\n", "sweep=") == (film,)


def test_presets_can_be_swept_and_files_built_on_a_sweep_add_to_it(tmp_path):
    (tmp_path / "base.yaml").write_text(BOARD + "sweep: {sampling.seed: [1, 2]}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nsweep: {sampling.steps: [2, 3]}\n")
    assert [film.settings for film in load_films(tmp_path / "own.yaml")] == [
        {"sampling.seed": seed, "sampling.steps": steps} for seed, steps in product("12", "23")
    ]
    assert len(load_films("embedded", ["prompts=a fox"], sweep=["sampling.seed=1,2"])) == 2


def test_one_storyboard_is_not_read_from_a_sweep():
    with pytest.raises(StoryboardError, match=r"sweep over sampling\.seed: it describes 2 films"):
        load_text(BOARD + "sweep: {sampling.seed: [1, 2]}\n", name="board.yaml")


def test_what_is_wrong_in_any_combination_is_told_once_where_it_is_written():
    section = "sweep:\n  sampling.guidance: [1, two, 99]\n  sampling.sed: [1, 2]\n  model.clip_skip: [1, 0]\n"
    assert [(line, column, path) for line, column, path, _ in refused(section)] == [
        (6, 26, "sampling.guidance"),
        (6, 31, "sampling.guidance"),
        (7, 3, "sampling.sed"),
        (8, 24, "model.clip_skip"),
    ]
    with pytest.raises(InvalidStoryboard, match="did you mean 'seed'"):
        films(section)
    assert refused("sweep: {sampling.seed: [1, 2]}\nvideo: {fps: 0}\n")[0][:3] == (6, 14, "video.fps")
    assert len(refused("sweep: {sampling.seed: [1, 2]}\nvideo: {fps: 0}\n")) == 1
    assert refused("", sweep=["sampling.steps=1,0"])[0][1:] == (18, "sampling.steps", "0 is less than 1")


@pytest.mark.parametrize(
    ("section", "place", "message"),
    [
        ("sweep: {output.quality: [1, 2]}", (5, 9), "output cannot be swept"),
        ("sweep: [{output: {quality: 3}}]", (5, 10), "output cannot be swept"),
        ("sweep: {sweep.sampling.seed: [1]}", (5, 9), "sweep cannot be swept"),
        ("sweep: {extends: [embedded]}", (5, 9), "extends cannot be swept"),
        ("sweep: {sampling.seed: 4}", (5, 24), "this is not a list of values"),
        ("sweep: {sampling.seed: []}", (5, 9), "this is not a list of values"),
        ("sweep: {sampling.seed: [3, 4, 3]}", (5, 31), "3 is there twice"),
        ("sweep: {sampling.seed: [3], sampling: {seed: [4]}}", (5, 40), "sampling.seed is there twice"),
        ("sweep: [{sampling.seed: 1}, {sampling.seed: 1}]", (5, 29), "{sampling.seed: 1} is there twice"),
        ("sweep: [{sampling.seed: 1}, two]", (5, 29), "this is not a map of fields"),
        ("sweep: much", (5, 8), "a sweep is a map of fields or a list of such maps"),
        (f"sweep: {{sampling.seed: {[*range(40)]}, video.fps: {[*range(1, 41)]}}}", (5, 1), "these are 1600 films"),
        (f"sweep: {[{'sampling.seed': n} for n in range(1001)]}", None, "these are 1001 films"),
    ],
)
def test_sweeps_that_cannot_be_are_refused_with_the_reason(section, place, message):
    line, column, _, told = refused(section.replace("'", "") + "\n")[0]
    assert told == message
    assert place in (None, (line, column))


def test_what_is_swept_cannot_be_set_by_an_override_too():
    ((_, _, path, message),) = refused("sweep: {sampling.seed: [1, 2]}\n", "sampling.seed=3")
    assert (path, message) == ("sampling.seed", "sampling.seed is swept, and set by an override, too")
    assert len(films("sweep: {sampling.seed: [1, 2]}\n", "sampling.steps=3")) == 2


@pytest.mark.parametrize("text", ["sampling.seed", "=1", "sampling.seed=", "sampling.seed=[1"])
def test_a_sweep_on_the_command_line_that_is_none_is_refused_at_its_place(text):
    (told,) = refused("", sweep=[text])
    assert told[0] == 1


def test_names_say_what_differs_shortly():
    assert short_names(["sampling.seed", "sampling.guidance"]) == {
        "sampling.seed": "seed",
        "sampling.guidance": "guidance",
    }
    assert short_names(["sampling.seed", "shots.a.seed"]) == {
        "sampling.seed": "sampling-seed",
        "shots.a.seed": "a-seed",
    }
    assert short_names(["prompts.1.5s"]) == {"prompts.1.5s": "prompts-1-5s"}
    assert differences([{"model.loras.lcm.scale": "-0.5", "prompts.0": "a Fox, 4 feet: (red:1.2)/x"}]) == [
        "scale--0.5.prompts-0-a-Fox-4-feet-red-1.2-x"
    ]
    assert differences([{"vars.animal": word} for word in ("Fox", "fox")]) == ["animal-Fox", "animal-fox-2"]
    alike = [{"prompts.0": "a very long prompt that goes on " + end} for end in ("and on", "for ever", "AND on")]
    assert differences(alike) == [f"prompts-0-a-very-long-prompt-that{end}" for end in ("", "-2", "-3")]
    assert (
        differences(
            [
                {f"section.field{n}": "a word of some length"} | {f"x.y{n}{m}": "z" * 30 for m in range(5)}
                for n in range(10)
            ]
        )[9]
        == "sweep-10"
    )


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["sampling.seed", "prompts.0", "a.b", "b"]), st.text(max_size=40), min_size=1),
        min_size=1,
        max_size=12,
        unique_by=lambda film: tuple(film.items()),
    )
)
def test_names_of_films_are_safe_and_never_alike(found):
    names = differences(found)
    assert len({name.casefold() for name in names}) == len(found)
    assert all(re.fullmatch(r"[\w.+-]+", name) and len(name.encode()) <= 120 for name in names)
    assert names == differences(found)


def test_films_are_named_after_the_storyboards_film_or_the_storyboard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fox.yaml").write_text(BOARD + "sweep: {sampling.seed: [1, 2]}\n")

    def names(*changes):
        return [film.board.output.path for film in opened_films("fox.yaml", changes)]

    assert names() == ["out/fox.seed-1.mp4", "out/fox.seed-2.mp4"]
    assert names("output.path=x/y.z.gif") == ["x/y.z.seed-1.gif", "x/y.z.seed-2.gif"]
    assert names("sweep=") == ["out/fox.mp4"]


def test_plan_and_check_show_all_combinations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fox.yaml").write_text(
        "extends: embedded\nprompts: {0: a red circle, 3: a blue circle}\nnegative: blurry\n"
        "sweep: {sampling.guidance: [1, 2], sampling.steps: [1, 2]}\n"
    )
    shown = CliRunner().invoke(app, ["plan", "fox.yaml"]).stdout
    assert "sweep    4 films, 16 frames, 9 UNet calls" in shown
    assert re.search(r"out/fox\.guidance-2\.steps-2\.mp4  sampling\.guidance=2, sampling\.steps=2 +4\n", shown)
    assert shown.count("the negative prompt does nothing at guidance 1") == 1
    data = json.loads(CliRunner().invoke(app, ["plan", "fox.yaml", "--json"]).stdout)["films"]
    assert [film["unet_calls"] for film in data] == [1, 2, 2, 4]
    assert data[0]["settings"] == {"sampling.guidance": "1", "sampling.steps": "1"}
    assert "fox.yaml: no problems in any of 4 films" in CliRunner().invoke(app, ["check", "fox.yaml"]).stdout
    wrong = CliRunner().invoke(app, ["check", "fox.yaml", "sweep.sampling.steps=[1, 0]", "--json"])
    assert (wrong.exit_code, json.loads(wrong.stdout)["problems"][0]["message"]) == (3, "0 is less than 1")
    assert CliRunner().invoke(app, ["plan", "fox.yaml", "--plot", "x.svg"]).exit_code == 3


def flat(level):
    return np.full((64, 64, 3), level, np.uint8)


def filled(settings, frames, tmp_path):
    """A sheet whose films show their number times ten, plus the number of each frame."""
    sheet = SweepSheet(tmp_path / "x.sweep.png", "x", settings, [frames] * len(settings))
    for film, setting in enumerate(settings):
        for number in range(frames):
            sheet.watch(setting).frame(number, flat(film * 10 + number))
    return sheet


def test_two_fields_are_rows_and_columns_and_further_ones_more_rows(tmp_path):
    settings = [{"a.x": x, "b.y": y, "c.z": z} for x, y, z in product("12", "345", "67")]
    rows, columns, cells = filled(settings, 3, tmp_path)._as_grid()
    assert columns == ["y 3", "y 4", "y 5"]
    assert rows == ["x 1, z 6", "x 1, z 7", "x 2, z 6", "x 2, z 7"]
    shown = [[int(cell[0, 0, 0]) for cell in row] for row in cells]
    assert shown == [[n * 10 % 256 + 1 for n in row] for row in ([0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11])]


def test_one_field_or_a_list_has_a_row_for_each_film(tmp_path):
    sheet = filled([{"sampling.steps": "4", "sampling.guidance": "1"}, {"sampling.steps": "8"}], 9, tmp_path)
    rows, columns, cells = sheet._as_list()
    assert rows == ["steps 4, guidance 1", "steps 8"]
    assert columns == ["frame 0", "frame 3", "frame 5", "frame 8"]
    assert [[int(cell[0, 0, 0]) for cell in row] for row in cells] == [[0, 3, 5, 8], [10, 13, 15, 18]]


def test_a_film_that_failed_leaves_its_place_empty_and_none_leave_no_sheet(tmp_path):
    settings = [{"a.x": x, "b.y": y} for x, y in product("12", "34")]
    sheet = SweepSheet(tmp_path / "x.sweep.png", "x", settings, [5] * 4)
    assert sheet.write() is None
    sheet.watch(settings[2]).frame(2, flat(9))
    _, _, cells = sheet._as_grid()
    assert [[cell is not None for cell in row] for row in cells] == [[False, False], [True, False]]
    assert sheet.write().is_file()


def test_the_grid_shows_every_cell_in_its_place_and_its_labels(tmp_path):
    cells = [[flat(50), None], [flat(100), flat(150)]]
    path = grid(cells, tmp_path / "g.png", rows=["first", "a second label " * 9], columns=["one", "two"], title="t")
    (picture,) = read_frames(path)
    found = {level: np.argwhere((picture == level).all(axis=2)) for level in (50, 100, 150)}
    corners = {level: (tuple(places.min(axis=0)), tuple(places.max(axis=0))) for level, places in found.items()}
    assert all(high[0] - low[0] == high[1] - low[1] == 255 for low, high in corners.values()), (
        "64 pixels, grown fourfold"
    )
    assert corners[50][0][1] == corners[100][0][1] < corners[150][0][1]
    assert corners[50][0][0] < corners[100][0][0] == corners[150][0][0]
    left, top = corners[50][0][1], corners[50][0][0]
    labels = picture[top:, :left].astype(int)
    assert (np.abs(labels - (23, 24, 27)).sum(axis=2) > 60).any(), "labels of rows"
    assert (np.abs(picture[70:top, left:].astype(int) - (23, 24, 27)).sum(axis=2) > 60).any(), "labels of columns"
    assert [file.name for file in tmp_path.iterdir()] == ["g.png"]


def test_the_schema_knows_the_sweep():
    assert lv.reader.schema()["properties"]["sweep"]["description"].startswith("values of other fields")
