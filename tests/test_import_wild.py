"""Real users' files: each imports to a storyboard that reads, or is refused with a reason. And files made to break."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from test_import_schedules import blend, printed, weights

from lcm_video.errors import LcmVideoError
from lcm_video.importers import ade, fizz, importing
from lcm_video.importers.comfy import convert, recognises
from lcm_video.importers.document import document, plain_json
from lcm_video.importers.keys import board_prompts
from lcm_video.importers.report import lines
from lcm_video.importers.writing import to_yaml
from lcm_video.reader import load_text

WILD = Path(__file__).parents[2] / "shared" / "golden" / "wild_inputs"
TABLES = ("EXPECTED.json", "INDEX.json", "node_input_types.json", "prompt_travel_texts.json")
FILES = sorted(path for path in WILD.glob("*") if path.name not in TABLES) if WILD.exists() else []
REFUSED = {
    "audio": "no node in it draws", "converted-format-input": "no node in it draws", "loop.json": "no node in it draws",
    "old-vae-conversion": "no node in it draws", "example.md_block0": "has no prompts",
}  # fmt: skip
"""Workflows that only handle pictures, and a part of a file."""
EXAMPLES = Path(__file__).parent.parent / "examples" / "import"

there = pytest.mark.skipif(not FILES, reason="other people's files are not part of the repository")


@there
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[-40:])
def test_every_wild_file_imports_or_is_refused_with_a_reason(path):
    if reason := next((reason for part, reason in REFUSED.items() if part in path.name), ""):
        with pytest.raises(LcmVideoError, match=reason) as refused:
            importing(path)
        assert refused.value.remedy
        return
    imported = importing(path)
    board = load_text(to_yaml(imported, source=path.name), name=path.name, folder=path.parent)
    assert board.prompts or board.shots
    assert board.model.checkpoint or "example.md" in path.name
    assert [*lines(imported)][1:]


def expected():
    if not FILES:
        return []
    files = json.loads((WILD / "EXPECTED.json").read_text())["files"]
    return [(name, node) for name, file in files.items() for node in file.get("schedule_nodes", [])]


@there
@pytest.mark.parametrize(("name", "node"), expected(), ids=lambda value: value[:30] if isinstance(value, str) else "")
def test_schedules_in_wild_files_are_what_their_programs_make_of_them(name, node):
    text, frames = node["used_text"], int(node["used_max_frames"])
    if "ade" in node:
        said = [printed(line) for line in node["ade"]["printed_schedule"]]
        found = weights(board_prompts(ade.schedule(text, frames=frames)), frames)
        tolerance = 0.0051
    else:
        program = node["fizz_without_pre_app"]
        program = program.get("end_frame_max") or program["end_frame_0_node_default"]
        said = [
            blend((now.strip(), share), (then.strip(), 1 - share))
            for now, then, share in zip(
                program["pos_current"], program["pos_next"], program["current_weight"], strict=True
            )
        ]
        found = weights(board_prompts(fizz.schedule(text, frames=frames).positive), frames)
        tolerance = 1e-9
    assert len(said) == len(found)
    for share, told in zip(found, said, strict=True):
        big = {text: weight for text, weight in share.items() if weight > 0.005}
        assert big == pytest.approx({text: weight for text, weight in told.items() if weight > 0.005}, abs=tolerance)


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12)
TUTORIAL, SAVED = (json.loads((EXAMPLES / name).read_text()) for name in ("tutorial-api.json", "tutorial.json"))
NAMES = sorted({name for node in TUTORIAL.values() for name in node["inputs"]})
KINDS = [*sorted({node["class_type"] for node in TUTORIAL.values()}), "Reroute", "LoraLoaderModelOnly", "VAEEncode"]


@st.composite
def damaged_runs(draw):
    """The tutorial as ComfyUI runs it, with nodes removed, retyped, and inputs replaced by anything, loops included."""
    data = json.loads(json.dumps(TUTORIAL))
    for _ in range(draw(st.integers(1, 6))):
        name = draw(st.sampled_from([*TUTORIAL]))
        node = data.get(name)
        if node is None or draw(st.integers(0, 9)) == 0:
            data.pop(name, None)
        elif draw(st.integers(0, 4)) == 0:
            node["class_type"] = draw(st.sampled_from(KINDS))
        else:
            link = st.tuples(st.sampled_from([*TUTORIAL, 9, "x"]), st.integers(-1, 3)).map(list)
            node["inputs"][draw(st.sampled_from(NAMES))] = draw(SCALARS | link | st.lists(SCALARS, max_size=3))
    return data


@st.composite
def damaged_files(draw):
    """The tutorial as ComfyUI's screen saves it, with any value in any node, and links from anywhere to anywhere."""
    data = json.loads(json.dumps(SAVED))
    for _ in range(draw(st.integers(1, 6))):
        node = draw(st.sampled_from(data["nodes"]))
        field = draw(st.sampled_from(["mode", "type", "inputs", "outputs", "widgets_values", "id"]))
        whole = SCALARS | st.lists(SCALARS, max_size=9) | st.dictionaries(st.text(max_size=8), SCALARS, max_size=3)
        node[field] = draw(st.sampled_from([0, 2, 4]) if field == "mode" else whole)
        ends = st.tuples(*[st.integers(-20, 12)] * 5, st.text(max_size=5)).map(list)
        data["links"].append(draw(ends | SCALARS))
    return data


def check_any(data, *, loaded=True):
    """A workflow reads, or says why not; what it becomes is YAML that our reader answers for."""
    found = document(json.dumps(data), name="test")
    if not recognises(found):
        return
    try:
        text = to_yaml(convert(found))
        if loaded:
            load_text(text, name="test")
    except LcmVideoError:
        return


QUIET = {"deadline": None, "suppress_health_check": [*HealthCheck]}


@settings(max_examples=20, **QUIET)
@given(damaged_runs() | damaged_files())
def test_a_damaged_workflow_is_a_storyboard_or_an_error(data):
    check_any(data)


@pytest.mark.slow
@settings(max_examples=20_000, **QUIET)
@given(damaged_runs() | damaged_files())
def test_many_damaged_workflows_are_storyboards_or_errors(data):
    check_any(data, loaded=False)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='{}[]",:/*#\\ab1 \n', max_size=60))
def test_any_text_is_a_document(text):
    found = document(text, name="test")
    assert found.data is None or isinstance(found.data, dict | list | str | int | float)


def test_comments_and_trailing_commas_are_json_here():
    text = '# head\n{"a": "// no # comment", // yes\n /* and\n this */ "b": [1, 2,], "c": "\\"", }'
    assert document(text, name="test").data == {"a": "// no # comment", "b": [1, 2], "c": '"'}


def test_yaml_aliases_are_refused_and_plain_words_stay_words():
    assert document("a: &x [1, 2]\nb: *x\n", name="test").data is None
    assert document("a: no\nb: 1:30\nc: 2001-01-01\nd: 1.5\n", name="test").data == {
        "a": "no", "b": "1:30", "c": "2001-01-01", "d": 1.5
    }  # fmt: skip


HOSTILE = {
    "open text": lambda n: '{"' + '\\"' * n,
    "open comments": lambda n: "{" + "/* " * n,
    "commas": lambda n: "{" + ", " * n,
    "brackets": lambda n: "[" * n,
    "keys": lambda n: '"1": ' * n,
    "backticks": lambda n: '"0": "' + "`t" * n + '"',
    "equals": lambda n: "0 = " * n,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_reading_hostile_text_takes_linear_time(make):
    def seconds(size):
        text = make(size)
        began = time.process_time()
        found = document(text, name="test")
        for module in (fizz, ade):
            try:
                if module.recognises(found):
                    module.convert(found)
            except LcmVideoError:
                pass
        plain_json(text)
        return time.process_time() - began

    seconds(100)
    assert seconds(80_000) < 20 * max(seconds(10_000), 0.02)


def test_a_long_chain_of_nodes_takes_linear_time():
    data = json.loads(json.dumps(TUTORIAL))
    for number in range(100, 3100):
        data[str(number)] = {"class_type": "Pass", "inputs": {"model": [str(number + 1), 0]}}
    data["3100"] = {"class_type": "Pass", "inputs": {"model": ["5", 0]}}
    data["9"]["inputs"]["model"] = ["100", 0]
    began = time.process_time()
    assert convert(document(json.dumps(data), name="test")).board["model"]["motion"]
    assert time.process_time() - began < 5
