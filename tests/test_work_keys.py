"""A shot's key stands for its frames: whatever can change them changes it, and nothing else does."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from PIL import Image

from lcm_video.course import course_of
from lcm_video.models import Lora, Runtime
from lcm_video.plan import plan
from lcm_video.reader import load_text
from lcm_video.storyboard import Shot, Storyboard, shots
from lcm_video.work import facts, facts_of, keys, shot_key, sources_of

BOARD = """
extends: embedded
prompts: {0: a red circle, 4: a blue square}
negative: blurry
video: {frames: 8, width: 64, height: 64}
sampling: {guidance: 1.5}
curves: {unused: sin(t)}
"""

CHANGES = {
    "prompts": ["prompts.4=a blue circle"],
    "negative": ["negative=dark"],
    "video.frames": ["video.frames=9"],
    "video.width": ["video.width=72"],
    "video.height": ["video.height=72"],
    "video.loop": ["video.loop=true"],
    "model.checkpoint": ["model.checkpoint={other}/embedded.safetensors"],
    "model.vae": ["model.vae={other}/vae.safetensors"],
    "model.motion": ["model.motion="],
    "model.motion_scale": ["model.motion_scale=0.9"],
    "model.loras": ["model.loras.more.path={other}/lora.safetensors"],
    "model.loras.path": ["model.loras.lcm.path={other}/lora.safetensors"],
    "model.loras.scale": ["model.loras.lcm.scale=0.9"],
    "model.loras.steps": ["model.loras.lcm.steps.0=0.5"],
    "model.loras.called": ["model.loras.lcm.called=true"],
    "model.embeddings": ["model.embeddings=[]"],
    "model.clip_skip": ["model.clip_skip=2"],
    "model.emphasis": ["model.emphasis=comfy"],
    "model.tokenizer": ["model.tokenizer={other}/merges.txt"],
    **{f"model.size.{name}": [f"model.size.{name}=64"] for name in (
        "original_height", "original_width", "crop_top", "crop_left", "target_height", "target_width")},
    "sampling.sampler": ["sampling.sampler=ddim"],
    "sampling.steps": ["sampling.steps=5"],
    "sampling.guidance": ["sampling.guidance=1.6"],
    "sampling.seed": ["sampling.seed=7"],
    "sampling.timesteps": ["sampling.timesteps=trailing"],
    "sampling.betas": ["sampling.betas.schedule=average"],
    "windows.length": ["windows.length=8"],
    "windows.overlap": ["windows.overlap=2"],
    "windows.stride": ["windows.stride=2"],
    "windows.schedule": ["windows.schedule=static"],
    "windows.blend": ["windows.blend=flat"],
    "windows.early": ["windows.early=1"],
    "windows.noise": ["windows.noise=shuffle"],
    "freeinit.rounds": ["freeinit.rounds=1"],
    "freeinit.filter": ["freeinit.filter=gaussian"],
    "freeinit.order": ["freeinit.order=3"],
    "freeinit.space": ["freeinit.space=0.3"],
    "freeinit.time": ["freeinit.time=0.3"],
    "travel.blend": ["travel.blend=slerp"],
    "start.source": ["start.source={other}/picture.png"],
    "start.strength": ["start.source={other}/picture.png", "start.strength=0.5"],
    "start.fit": ["start.source={other}/picture.png", "start.fit=crop"],
    "runtime.device": ["runtime.device=cpu"],
    "runtime.dtype": ["runtime.dtype=bfloat16"],
    "runtime.kernels": ["runtime.kernels=plain"],
    "runtime.compile": ["runtime.compile=off"],
    "runtime.decode_batch": ["runtime.decode_batch=2"],
    "runtime.window_batch": ["runtime.window_batch=2"],
}  # fmt: skip
"""What changes a shot's key, by the field that it changes: an option that is added must be named here or below."""

LEAVES = {
    "shots": [],  # tested below
    "video.fps": ["video.fps=12"],
    "video.tempo": ["video.tempo=120"],
    "runtime.strict": ["runtime.strict=true"],
    "runtime.parallel_windows": ["runtime.parallel_windows=2"],
    "runtime.folders": ["runtime.folders=[{other}/empty]"],
    "curves": ["curves.unused=cos(t)", "curves.more=3"],
    "wildcards": ["wildcards.colour=[red, blue]"],
    "vars": ["vars.hero=a fox"],
    "output.path": ["output.path=other.gif"],
    "output.formats": ["output.formats=[gif, png]"],
    "output.codec": ["output.codec=h265"],
    "output.quality": ["output.quality=30"],
    "output.chroma": ["output.chroma=444"],
    "output.gif": ["output.gif=small"],
    "output.repeat": ["output.repeat=false"],
    "output.audio.source": ["output.audio.source={other}/sound.wav"],
    "output.audio.start": ["output.audio.start=1"],
    "output.audio.loop": ["output.audio.loop=false"],
    "output.audio.volume": ["output.audio.volume=0.5"],
    "output.audio.fade": ["output.audio.fade=1"],
    "output.metadata": ["output.metadata=false"],
}
"""What leaves a shot's key alone."""


@pytest.fixture(autouse=True, scope="module")
def same_code():
    """Lets no key change because somebody edits this package while its tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts, "code", lambda: "this")
        yield


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A folder of files that are not those of the embedded model, though of the same names."""
    folder = tmp_path_factory.mktemp("other")
    for name in ("embedded.safetensors", "vae.safetensors", "lora.safetensors", "merges.txt", "sound.wav"):
        (folder / name).write_text(f"another {name}")
    (folder / "empty").mkdir()
    Image.new("RGB", (64, 64), "teal").save(folder / "picture.png")
    return folder


def board_of(overrides=(), *, text=BOARD, other=Path()):
    return load_text(text, name="film", overrides=[change.format(other=other) for change in overrides])


def key_of(board, number=0):
    scene = shots(board)[number]
    course = plan(board).shots[number].course
    return shot_key(course, files=sources_of(board, scene).hashes, facts=facts_of(board, scene))


@pytest.fixture(scope="module")
def key():
    return key_of(board_of())


@pytest.mark.parametrize("field", CHANGES)
def test_what_can_change_frames_changes_the_key(field, key, other):
    assert key_of(board_of(CHANGES[field], other=other)) != key


def test_with_a_start_image_its_options_change_the_key(other):
    found = [key_of(board_of(CHANGES[f"start.{name}"], other=other)) for name in ("source", "strength", "fit")]
    assert len({*found}) == 3
    Image.new("RGB", (64, 64), "red").save(other / "picture.png")
    assert key_of(board_of(CHANGES["start.source"], other=other)) != found[0]


@pytest.mark.parametrize("field", LEAVES)
def test_what_cannot_change_frames_leaves_the_key_alone(field, key, other):
    assert key_of(board_of(LEAVES[field], other=other)) == key


def test_what_leaves_the_key_alone_leaves_the_frames_alone(embedded_parts, other):
    from concurrent.futures import ThreadPoolExecutor

    from lcm_video.pipeline import Pipeline
    from lcm_video.samplers import Betas

    betas = Betas(embedded_parts.betas.start, embedded_parts.betas.end, embedded_parts.betas.schedule)
    pipeline = Pipeline(embedded_parts.text, embedded_parts.unet, embedded_parts.vae, betas)
    # The output's options contradict each other, and no part of the pipeline is told them.
    drawing = [change for field, changes in LEAVES.items() for change in changes if not field.startswith("output.")]
    changed = board_of(drawing, other=other)
    with ThreadPoolExecutor(2) as pool:
        frames = [*pipeline.frames(changed, map=pool.map)]
    assert changed != board_of()
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in pipeline.frames(board_of())]


def options(section: Any, path: str = "") -> list[str]:
    """Every field of a section, of the sections within it, and of the things that have names in it."""
    found = []
    for name, hint in get_type_hints(section).items():
        named = [kind for kind in get_args(hint) if kind in (Lora, Shot)]
        if named or not is_dataclass(hint):
            found.append(path + name)
        for kind in named or [hint]:
            found += options(kind, f"{path}{name}.") if is_dataclass(kind) else []
    return found


def test_every_option_is_known_to_change_frames_or_not():
    """Who adds an option says which, by naming it in CHANGES or in LEAVES."""
    every = {name for name in options(Storyboard) if not name.startswith("shots.")}
    assert every == {*CHANGES, *LEAVES}
    assert {field.name for field in fields(Shot)} == {"prompts", "negative", "frames", "seed", "sampling", "start"}


def test_what_is_left_out_of_keys_is_there_to_leave_out():
    for section, names in keys.ELSEWHERE.items():
        have = {field.name for field in fields(section)} if is_dataclass(section) else {*section._fields}
        assert {*names.split()} <= have


def test_an_option_that_is_added_counts_by_itself(key, monkeypatch):
    from pydantic.dataclasses import dataclass

    from lcm_video.windows import Windows

    @dataclass(frozen=True)
    class Wider(Windows):
        shuffle: bool = False

    board = board_of()
    found = []
    for windows in (Wider(), Wider(shuffle=True)):
        course = replace(plan(board).shots[0].course, board=replace(board, windows=windows))
        found.append(shot_key(course, files={}, facts={}))
    assert found[0] != found[1]


# --- shots

SHOTS = """
extends: embedded
video: {width: 64, height: 64, fps: 8}
shots:
  day: {frames: 8, prompts: {0: a red circle, 4: a blue square}}
  dusk: {frames: 12, prompts: a green triangle}
  night: {frames: 8, prompts: {0: a star, 4: a moon}, seed: 4}
"""


def keys_of(text, *overrides):
    board = board_of(overrides, text=text)
    return {scene.name: key_of(board, number) for number, scene in enumerate(shots(board))}


@pytest.fixture(scope="module")
def three():
    return keys_of(SHOTS)


def test_every_shot_has_a_key_of_its_own(three):
    assert len({*three.values()}) == 3


@pytest.mark.parametrize(
    "change",
    [
        "shots.dusk.prompts.0=a green circle", "shots.dusk.frames=20", "shots.dusk.seed=9",
        "shots.dusk.negative=dark", "shots.dusk.sampling.steps=5",
    ],
)  # fmt: skip
def test_editing_a_shot_changes_its_own_key_only(three, change):
    found = keys_of(SHOTS, change)
    assert found["dusk"] != three["dusk"]
    assert {**found, "dusk": ""} == {**three, "dusk": ""}


def test_adding_removing_and_moving_shots_leaves_the_others_alone(three):
    without = "\n".join(line for line in SHOTS.splitlines() if "dusk" not in line)
    assert keys_of(without) == {name: three[name] for name in ("day", "night")}
    lines = SHOTS.rstrip().splitlines()
    turned = keys_of("\n".join([*lines[:-3], *reversed(lines[-3:])]))
    assert turned == three
    assert {**keys_of(SHOTS + "  more: {frames: 3, prompts: a rain}"), "more": ""} == {**three, "more": ""}


def test_a_shot_that_follows_beats_is_another_when_it_lies_elsewhere():
    tempo = "video.tempo=90"
    music = SHOTS.replace("{0: a star, 4: a moon}", "{1b: a star, 2b: a moon}")
    moved = music.replace("frames: 12", "frames: 13")
    assert keys_of(music, tempo)["night"] != keys_of(moved, tempo)["night"]
    assert keys_of(music, tempo)["day"] == keys_of(moved, tempo)["day"]


def test_a_frame_rate_counts_through_the_values_it_gives():
    timed = BOARD.replace("4: a blue square", "0.5s: a blue square")
    assert keys_of(timed) != keys_of(timed, "video.fps=12")
    assert keys_of(timed) == keys_of(BOARD)  # 0.5 s are 4 frames


def test_numbers_count_by_their_values_not_by_how_they_are_written():
    changed = keys_of(BOARD, "sampling.guidance=1 + t / 10")
    assert changed == keys_of(BOARD, "curves.unused=t / 10", "sampling.guidance=@unused + 1")
    assert changed != keys_of(BOARD)


def test_a_name_is_part_of_a_shot_because_its_noise_is(three):
    assert keys_of(SHOTS.replace("dusk", "dawn"))["dawn"] != three["dusk"]


def test_the_order_of_loras_counts_because_sums_are_rounded(other):
    one, two = (f"{{path: {other}/lora.safetensors, scale: 0.{n}}}" for n in (1, 2))
    loras = [BOARD + f"model: {{loras: {{{first}, {second}}}}}" for first, second in
             ((f"a: {one}", f"b: {two}"), (f"b: {two}", f"a: {one}"))]  # fmt: skip
    assert keys_of(loras[0]) != keys_of(loras[1])


# --- what a key is made of

ELSEWHERE = """
import sys
sys.path.insert(0, {tests!r})
from test_work_keys import *
assert "torch" not in sys.modules and "av" not in sys.modules
facts.code = lambda: "this"
print(key_of(board_of()))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_key_is_the_same_in_every_process(key, seed):
    code = ELSEWHERE.format(tests=str(Path(__file__).parent))
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )  # fmt: skip
    assert ended.stdout.strip() == key


def test_threads_change_the_key_because_they_cut_sums(key, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert key_of(board_of()) != key


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, lambda: 0, Path("a")])
def test_nothing_without_a_content_gets_into_a_key(value):
    with pytest.raises(TypeError, match="cannot be part of a key"):
        keys.canonical({"value": value})


def test_what_is_not_a_number_does_not_get_into_a_key():
    with pytest.raises(ValueError, match="not JSON"):
        keys.canonical(float("nan"))


def test_numbers_are_written_to_their_last_digit():
    assert keys.canonical([0.1 + 0.2, 1.0, 1, True, None]) == "[0.30000000000000004,1.0,1,true,null]"
    assert keys.canonical(Lora("a", 0.5)) != keys.canonical(Lora("a", 0.5, called=True))
    assert keys.canonical(Runtime()) != keys.canonical(Runtime(decode_batch=8))


def test_files_and_facts_are_part_of_the_key():
    board = board_of()
    course = course_of(board, shots(board)[0], plan(board).shots[0].course.shot.sampling.betas or _betas())

    def key(files: Mapping[str, str], facts: Mapping[str, Any]) -> str:
        return shot_key(course, files=files, facts=facts)

    found = {
        key({}, {}), key({"a": "1"}, {}), key({"a": "2"}, {}), key({"b": "1"}, {}), key({}, {"a": "1"}),
        key({"a": "1", "b": "2"}, {}), key({"a": "2", "b": "1"}, {}),
    }  # fmt: skip
    assert len(found) == 7
    assert key({"a": "1", "b": "2"}, {}) == key({"b": "2", "a": "1"}, {})


def _betas():
    from lcm_video.samplers import Betas

    return Betas()
