import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from lcm_video.errors import CheckpointError
from lcm_video.models import Model, Runtime, Schedule, card_for, load
from lcm_video.models.cards import as_configured, cards, located, recognise


def shapes(*, blocks=4, middle=False, frames=32, spelling="motion_modules", ending="pos_encoder.pe"):
    """Shapes of a motion module as its keys would have them: enough to tell which it is."""
    sites = [f"{side}_blocks.{i}" for side in ("down", "up") for i in range(blocks)]
    sites += ["mid_block"] if middle else []
    found = {f"{site}.{spelling}.0.temporal_transformer.norm.weight": (320,) for site in sites}
    if frames:
        block = "temporal_transformer.transformer_blocks.0.attention_blocks.0"
        found |= {f"{site}.{spelling}.0.{block}.{ending}": (1, frames, 320) for site in sites}
    return found


KNOWN = {
    "animatediff-v1": shapes(frames=24),
    "animatediff-v2": shapes(middle=True),
    "animatediff-v3": shapes(),
    "animatediff-sdxl-beta": shapes(blocks=3),
    "hotshot-xl": shapes(blocks=3, frames=24, spelling="temporal_attentions", ending="pos_encoder.positional_encoding"),
    "animatelcm": shapes(middle=True, frames=0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_module_is_recognised_by_its_structure(name):
    assert recognise(KNOWN[name], {}) == cards()[name]
    trained = {f"module.{key}": shape for key, shape in KNOWN[name].items()}
    assert recognise(trained, {}) == cards()[name]


NAMED = {
    "mm_sd_v15.ckpt": ("animatediff-v1", KNOWN["animatediff-v1"]),
    "mm_sd_v14.ckpt": ("animatediff-v1-sd14", KNOWN["animatediff-v1"]),
    "temporaldiff-v1-animatediff.ckpt": ("temporaldiff", KNOWN["animatediff-v1"]),
    "mm_sd15_v3.fp16.safetensors": ("animatediff-v3", KNOWN["animatediff-v3"]),
    "lt_long_mm_32_frames.ckpt": ("longanimatediff-32", KNOWN["animatediff-v3"]),
    "anything.ckpt": ("longanimatediff-64", shapes(frames=64)),
    "AnimateDiff_Lightning_8step_ComfyUI.safetensors": ("animatediff-lightning", KNOWN["animatediff-v2"]),
    "animatediff_lightning_1step_diffusers.safetensors": ("animatediff-lightning", KNOWN["animatediff-v2"]),
    "v3_sd15_mm.ckpt": ("animatediff-v1", KNOWN["animatediff-v1"]),
    "sd15_t2v_beta.ckpt": ("animatelcm", KNOWN["animatelcm"]),
    "mm_sd_v15_v2.ckpt": ("animatelcm", KNOWN["animatelcm"]),
    "hsxl_temporal_layers.safetensors": ("hotshot-xl", KNOWN["hotshot-xl"]),
}


@pytest.mark.parametrize("file", NAMED)
def test_among_modules_of_one_structure_the_files_name_decides(file):
    """And only among them: the last but two lie about what they are."""
    card, structure = NAMED[file]
    assert recognise(structure, {}, file=file).name == card


@pytest.mark.parametrize("name", cards())
def test_every_card_is_complete_and_finds_its_own_structure(name):
    card = cards()[name]
    assert card.about.endswith(".")
    assert card.source
    assert card.licence
    assert card.window <= card.max_frames
    if name != "embedded":
        found = shapes(blocks={"sd15": 4, "sdxl": 3}[card.family], middle=card.middle, frames=card.positions)
        for file in (card.file, *card.aliases):
            assert recognise(found, {}, file=file).name == name, file


def test_a_card_finds_its_file_under_any_of_its_names(tmp_path, golden):
    v2 = golden / "original_animatediff/motion/mm_v2_original_keys.safetensors"
    (tmp_path / "animatediff_lightning_8step_diffusers.safetensors").write_bytes(v2.read_bytes())
    path, card = located("animatediff-lightning", folders=[str(tmp_path)])
    assert (path.name, card.name) == ("animatediff_lightning_8step_diffusers.safetensors", "animatediff-lightning")
    with pytest.raises(
        CheckpointError, match=r"'temporaldiff' was not found: none of temporaldiff-v1.*is there"
    ) as caught:
        located("temporaldiff", folders=[str(tmp_path)])
    assert "huggingface.co/CiaraRowles/TemporalDiff" in caught.value.remedy


@pytest.mark.parametrize("half", [False, True])
def test_a_folder_of_diffusers_is_found_by_its_name_and_tells_its_heads(tmp_path, motion_adapter, half):
    folder = tmp_path / "my-adapter"
    motion_adapter.save_pretrained(folder, variant="fp16" if half else None)
    config = json.loads((folder / "config.json").read_text()) | {"motion_num_attention_heads": 4}
    (folder / "config.json").write_text(json.dumps(config))
    path, _ = located("my-adapter", folders=[str(tmp_path)])
    assert path.parent == located(str(folder))[0].parent == folder
    assert as_configured(cards()["animatediff-v2"], path).heads == 4
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"my-adapter/config\.json does not describe a motion adapter"):
        as_configured(cards()["animatediff-v2"], path)


def test_a_longer_module_of_a_known_structure_may_be_used_in_full():
    assert recognise(shapes(frames=64), {}).max_frames == 64
    assert recognise(shapes(middle=True, frames=16), {}).max_frames == 16


def test_an_unknown_structure_has_no_card():
    assert recognise(shapes(blocks=2), {}) is None
    assert recognise({}, {}) is None


def test_the_shipped_cards_say_what_the_modules_were_trained_with():
    """Facts of research/formats.md; linear and scaled_linear are diffusers' names."""
    linear, scaled = Schedule(0.00085, 0.012, "linear"), Schedule(0.00085, 0.012, "scaled_linear")
    facts = {name: (c.betas, c.norm, c.shared_norm, c.max_frames, c.family, c.heads) for name, c in cards().items()}
    assert facts == {
        "embedded": (scaled, "frame", False, 32, "sd15", 2),
        "animatediff-v1": (linear, "frame", True, 24, "sd15", 8),
        "animatediff-v2": (linear, "frame", False, 32, "sd15", 8),
        "animatediff-v3": (linear, "frame", False, 32, "sd15", 8),
        "animatediff-sdxl-beta": (Schedule(0.00085, 0.02, "scaled_linear"), "frame", False, 32, "sdxl", 8),
        "hotshot-xl": (scaled, "frame", True, 24, "sdxl", 8),
        "animatediff-v1-sd14": (linear, "frame", True, 24, "sd15", 8),
        "animatediff-lightning": (linear, "frame", False, 32, "sd15", 8),
        "temporaldiff": (linear, "frame", True, 24, "sd15", 8),
        "longanimatediff-32": (linear, "frame", False, 32, "sd15", 8),
        "longanimatediff-64": (linear, "frame", False, 64, "sd15", 8),
        "animatelcm": (scaled, "frame", False, 64, "sd15", 8),
    }


def test_a_card_is_found_by_its_name_its_file_and_a_files_header(tmp_path, golden):
    v2 = golden / "original_animatediff/motion/mm_v2_original_keys.safetensors"
    assert card_for("animatediff-v3") == cards()["animatediff-v3"]
    assert card_for(str(v2)) == cards()["animatediff-v2"]
    (tmp_path / "v3_sd15_mm.ckpt").write_bytes(b"\x80 a pickle, which planning does not read")
    assert card_for("v3_sd15_mm", folders=[str(tmp_path)]) == cards()["animatediff-v3"]
    assert card_for("") is card_for("nowhere") is None


def test_structure_counts_more_than_a_files_name(tmp_path, golden):
    v2 = golden / "original_animatediff/motion/mm_v2_original_keys.safetensors"
    liar = tmp_path / "mm_sd_v15.ckpt"
    liar.write_bytes(v2.read_bytes())
    assert card_for(str(liar)).name == "animatediff-v2"


def test_the_embedded_module_names_its_card_itself(tmp_path):
    """Four heads and four groups cannot be seen in weights; so a renamed copy still works."""
    from lcm_video.models import find

    copy = tmp_path / "renamed.safetensors"
    copy.write_bytes(find("embedded", kind="motion module").read_bytes())
    assert card_for(str(copy)) == card_for("embedded") == cards()["embedded"]


def test_a_card_in_the_users_folder_wins_and_other_yaml_files_are_no_cards(tmp_path):
    (tmp_path / "animatediff-v3.yaml").write_text(
        "{about: mine, family: sd15, file: mine.safetensors, window: 8, max_frames: 16}"
    )
    (tmp_path / "storyboard.yaml").write_text("prompts: {0: a fox}")
    (tmp_path / "broken.yaml").write_text("{")
    found = cards([str(tmp_path)])
    assert found["animatediff-v3"].about == "mine"
    assert found.keys() == cards().keys()


def test_a_wrong_card_is_named_with_its_field(tmp_path):
    (tmp_path / "mine.yaml").write_text("{about: x, family: sd15, file: f, window: 0, max_frames: 16}")
    with pytest.raises(CheckpointError, match=r"mine.yaml: window: .*greater than or equal to 1"):
        cards([str(tmp_path)])


def test_options_and_cards_need_no_torch():
    code = (
        "import sys; from lcm_video.models import card_for, Model, Lora, Runtime, find;"
        "assert card_for('embedded') and Model() and find('embedded');"
        "sys.exit(bool({'torch', 'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_card_that_does_not_fit_its_file_is_refused(tmp_path, golden):
    """As if v1's file lay under v3's usual name: its rows 24 to 31 do not exist."""
    from safetensors.torch import load_file

    v2 = load_file(golden / "original_animatediff/motion/mm_v2_original_keys.safetensors")
    short = {key: w[:, :24].contiguous() if key.endswith(".pe") else w for key, w in v2.items()}
    torch.save(short, tmp_path / "v3_sd15_mm.ckpt")
    with pytest.raises(CheckpointError, match=r"positions for 24 frames, its card animatediff-v3 says 32"):
        load(Model(checkpoint="embedded", motion="animatediff-v3"), Runtime(folders=(str(tmp_path),)))


def test_a_module_of_unknown_structure_is_refused_at_loading(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in shapes(blocks=2).items()}, path)
    with pytest.raises(CheckpointError, match="unknown structure: 2 down blocks"):
        load(Model(checkpoint="embedded", motion=str(path)))


def test_an_sdxl_module_is_refused_for_an_sd15_checkpoint(tmp_path):
    path = tmp_path / "xl.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in shapes(blocks=3).items()}, path)
    with pytest.raises(CheckpointError, match=r"xl\.safetensors is an SDXL motion module, the checkpoint is SD 1\.5"):
        load(Model(checkpoint="embedded", motion=str(path)))
