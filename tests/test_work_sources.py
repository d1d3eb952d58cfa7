"""The files that a shot is drawn from, and what else can change a bit of it."""

import os
from pathlib import Path

import pytest
from PIL import Image

from lcm_video.errors import CheckpointError, InputError
from lcm_video.models.digests import digest, identity
from lcm_video.reader import load_text
from lcm_video.storyboard import shots
from lcm_video.work import facts, facts_of, sources_of

BOARD = "prompts: a fox\nvideo: {frames: 8, width: 64, height: 64}\n"


def found(text, *overrides):
    board = load_text(BOARD + text, name="film", overrides=overrides)
    return sources_of(board, shots(board)[0])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def test_every_file_of_the_embedded_model_is_there():
    roles = ["model.checkpoint", "model.embeddings.0", "model.loras.lcm", "model.motion", "model.tokenizer"]
    sources = found("extends: embedded")
    assert sorted(sources.paths) == roles
    assert sources.hashes == {role: digest(path) for role, path in sources.paths.items()}
    assert len({*sources.hashes.values()}) == len(roles)
    sources.check()


def test_a_folder_s_files_are_all_there(tmp_path):
    for name in ("model_index.json", "unet/config.json", "unet/model.safetensors", "unet/picture.png", "vae/model.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    roles = [role for role in found(f"model: {{checkpoint: {tmp_path}}}").paths if role != "model.tokenizer"]
    assert roles == [f"model.checkpoint/{name}" for name in
                     ("model_index.json", "unet/config.json", "unet/model.safetensors", "vae/model.bin")]  # fmt: skip


def test_what_lies_beside_weights_and_is_read_with_them_is_there(tmp_path, model):
    (tmp_path / "adapter_config.json").write_text("{}")
    for half in ("encoder", "decoder"):
        (tmp_path / f"taesd_{half}.safetensors").write_text(half)
    sources = found(f"model: {{checkpoint: {model}, vae: {tmp_path}/taesd_decoder.safetensors}}")
    assert sources.paths["model.checkpoint adapter_config.json"] == tmp_path / "adapter_config.json"
    assert sources.paths["model.vae taesd_encoder.safetensors"].name == "taesd_encoder.safetensors"


def test_a_tokenizer_s_folder_counts_with_its_files(tmp_path, model):
    (tmp_path / "vocabulary").mkdir()
    (tmp_path / "vocabulary" / "merges.txt").write_text("a b")
    sources = found(f"model: {{checkpoint: {model}, tokenizer: {tmp_path}/vocabulary}}")
    assert [*sources.paths] == ["model.checkpoint", "model.tokenizer/merges.txt"]


def written(path):
    path.write_bytes(b"heavier")


def replaced(path):
    other = path.with_name("other")
    other.write_bytes(b"Weights")
    os.utime(other, ns=(identity(path).mtime_ns, identity(path).mtime_ns))
    other.replace(path)


def written_in_secret(path):
    before = identity(path)
    path.write_bytes(b"Weights")
    os.utime(path, ns=(before.mtime_ns, before.mtime_ns))


CHANGES = [written, replaced, written_in_secret, Path.unlink]


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_changes_while_a_film_is_rendered_is_noticed(model, change):
    """Fault 28 of reliability.md C6: never frames of two models in one film."""
    sources = found(f"model: {{checkpoint: {model}}}")
    sources.check()
    change(model)
    with pytest.raises(CheckpointError, match=r"model\.checkpoint: model\.safetensors") as caught:
        sources.check()
    assert caught.value.exit_code == 4
    assert caught.value.remedy


@pytest.mark.parametrize("change", CHANGES[:3])
def test_a_file_with_another_content_has_another_hash(model, change):
    before = digest(model)
    change(model)
    assert digest(model) != before


def test_a_file_that_is_written_to_while_it_is_hashed_is_hashed_again(model, monkeypatch):
    from lcm_video.models import digests

    hashing = digests.hashlib.file_digest
    before = identity(model)

    def meanwhile(file, name):
        found = hashing(file, name)
        model.write_bytes(b"Weights")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(digests.hashlib, "file_digest", meanwhile)
        old = digest(model)
    # Even if the file looks as it did before, what was found while it changed is not remembered.
    monkeypatch.setattr(digests, "identity", lambda path: before)
    assert digest(model) != old


def test_a_start_image_is_one_of_the_files(tmp_path, model):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 64)).save(picture)
    sources = found(f"model: {{checkpoint: {model}}}\nstart: {{source: {picture}}}")
    assert sources.hashes["start.source"] == digest(picture)
    picture.unlink()
    with pytest.raises(InputError, match=r"start\.source: picture\.png cannot be read"):
        sources.check()
    with pytest.raises(InputError, match="put the file back"):
        found(f"model: {{checkpoint: {model}}}\nstart: {{source: {picture}}}")


def test_a_missing_model_is_told():
    with pytest.raises(CheckpointError, match="was not found"):
        found("model: {checkpoint: nowhere}")


# --- facts


def told(*overrides):
    board = load_text(f"extends: embedded\n{BOARD}", name="film", overrides=overrides)
    return facts_of(board, shots(board)[0])


def test_facts_are_the_same_every_time():
    assert told() == told()


def test_another_motion_module_s_card_is_another_fact():
    assert told()["card"] != told("model.motion=")["card"]


def test_another_library_processor_or_setting_is_another_fact(monkeypatch):
    before = told()
    changes = {
        "_version": lambda name: "9",
        "_processor": lambda: ["another"],
        "_graphics": lambda: ["another"],
        "code": lambda: "another",
    }
    for name, changed in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(facts, name, changed)
            assert told() != before
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert told() != before


def test_libraries_that_read_media_count_where_media_are_read(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    assert {*told()["versions"]} == {*facts.LIBRARIES}
    with_picture = told(f"start.source={tmp_path}/picture.png")
    assert {*with_picture["versions"]} == {*facts.LIBRARIES, *facts.READERS}


def test_code_that_draws_counts_and_code_that_talks_does_not(tmp_path, monkeypatch):
    (tmp_path / "cli").mkdir()
    monkeypatch.setattr(facts, "PACKAGE", tmp_path)
    hashes = []
    for name in ("noise.py", "cli/commands.py", "noise.py", "more.py"):
        (tmp_path / name).write_text(f"{len(hashes)}")
        facts.code.cache_clear()
        hashes.append(facts.code())
    facts.code.cache_clear()
    assert hashes[0] == hashes[1]
    assert len({*hashes}) == 3
