"""Model options to parts: every file found, checked against its slot, read, and put together.

The order is that of the weights: the checkpoint, a VAE in place of its own, the motion module, LoRAs into the weights
of all of these, and textual inversions.
"""

from collections.abc import Sequence
from pathlib import Path

from lcm_video.errors import CheckpointError
from lcm_video.models import Lora, Model, Runtime, beside, inversions, lora, motion
from lcm_video.models.architecture import FAMILIES
from lcm_video.models.cards import Card, Schedule, as_configured, check_motion, located, recognise, structure
from lcm_video.models.files import read
from lcm_video.models.folders import find
from lcm_video.models.image import Base, load_base, naming
from lcm_video.models.kinds import a, expect
from lcm_video.models.parts import ModelFile, Parts
from lcm_video.models.placing import Place, fitting, place_for
from lcm_video.models.unet import Unet
from lcm_video.models.vae import Vae
from lcm_video.prompts.chunks import LENGTH, Vocabulary
from lcm_video.prompts.text import Encoder, Text, grow
from lcm_video.prompts.tokenizer import tokenizer


def load(model: Model, runtime: Runtime) -> Parts:
    """The parts of a film's model. Raises CheckpointError for a file that cannot be used."""
    files: list[ModelFile] = []
    if not model.checkpoint:
        raise CheckpointError("no checkpoint is named", remedy="set model.checkpoint, or extend a preset: embedded")
    place = place_for(runtime)
    with fitting(place, files):
        return put_together(model, runtime, place, files)


def put_together(model: Model, runtime: Runtime, place: Place, files: list[ModelFile]) -> Parts:
    """The parts of a film's model in their place; each of the ``files`` is noted as soon as it is found."""
    base = load_base(model.checkpoint, model.vae, place=place, folders=runtime.folders, files=files)
    if base.family != "sdxl" and any(model.size.given()):
        message = f"{model.checkpoint} is {a(FAMILIES[base.family])} checkpoint, which knows no size of pictures"
        raise CheckpointError(message, remedy="remove model.size, or use an SDXL checkpoint")
    card = add_motion(model.motion, base, runtime.folders, files) if model.motion else None
    acting: set[str] = set()
    for name, option in model.loras.items():
        files.append(apply_lora(name, option, base, runtime.folders, acting))
    vocabulary = learn(model, base, runtime.folders, files)
    return Parts(
        text=text_of(base, vocabulary, model, acting),
        unet=Unet(base.unet, kernels=runtime.kernels, compile=runtime.compile, strict=runtime.strict),
        vae=Vae(base.vae, kernels=runtime.kernels, strict=runtime.strict),
        betas=card.betas if card else Schedule(),
        card=card,
        files=tuple(files),
        notes=(*filter(None, [base.note]), *(f"{file.name}: {note}" for file in files for note in file.notes)),
    )


def text_of(base: Base, vocabulary: Vocabulary, model: Model, acting: set[str]) -> Text:
    """The text encoders, read where the family reads them unless ``clip_skip`` says otherwise: SDXL before the last.

    ``acting`` are the LoRAs that act beside them, as strongly as prompts say.
    """
    skip = model.clip_skip or (2 if base.family == "sdxl" else 1)
    if skip > (layers := min(encoder.config.num_hidden_layers for encoder in base.texts.values())):
        message = f"clip_skip is {skip}, the text encoder has {layers} layers"
        raise CheckpointError(message, remedy="leave model.clip_skip out, or set it to what the checkpoint's page says")
    encoders = tuple(Encoder(encoder, skip, base.family != "sdxl") for encoder in base.texts.values())
    return Text(vocabulary, encoders, model.emphasis, frozenset(acting), beside.acting)


def apply_lora(name: str, option: Lora, base: Base, folders: Sequence[str], acting: set[str]) -> ModelFile:
    """Merges a LoRA of constant strength; lets one whose strength varies act beside the weights.

    The names of those that act beside the text encoders' weights are added to ``acting``.
    """
    path = find(option.path, kind="LoRA", folders=folders)
    tensors, metadata = read(path)
    expect(("LoRA", "SDXL LoRA", "motion LoRA"), tensors, name=path.name)
    with naming(path.name):
        changes = lora.read(tensors, lora.configuration(path, metadata))
        lora.check_family(changes, base.family)
        models = {lora.UNET: base.unet, **base.texts}
        changed = {target: change for target, change in changes.items() if change}
        total = sum(map(len, changed.values()))
        if option.varies:
            for target, change in changed.items():
                beside.attach(models[target], change, name=name)
            acting.update([name] if changed.keys() - {lora.UNET} else [])
            done = f"{total} of {total} modules act beside the weights, their strength varies"
            return noted(f"lora:{name}", path, done)
        assert isinstance(option.scale, float), "what varies acts beside"
        applied = sum(lora.merge(models[target], change, scale=option.scale) for target, change in changed.items())
    return noted(f"lora:{name}", path, f"{applied} of {total} modules applied, at {option.scale:g}")


def learn(model: Model, base: Base, folders: Sequence[str], files: list[ModelFile]) -> Vocabulary:
    """The vocabulary of prompts: CLIP's, and the textual inversions, whose vectors the text encoders get."""
    names: dict[str, tuple[int, ...]] = {}
    encoders = [*base.texts.values()]
    for name in model.embeddings:
        path = find(name, kind="textual inversion", folders=folders)
        tensors = read(path).tensors
        expect(("textual inversion", "SDXL textual inversion"), tensors, name=path.name)
        found = inversions.vectors(tensors, path.name, widths=[encoder.config.hidden_size for encoder in encoders])
        if (count := len(found[0])) > LENGTH:
            message = f"{path.name} has {count} vectors, a prompt's chunk holds {LENGTH}"
            raise CheckpointError(message, remedy="use a smaller embedding")
        # Every text encoder gives its new words the same ids: all know CLIP's vocabulary, and as many words more.
        names[path.stem], *_ = [grow(encoder, rows) for encoder, rows in zip(encoders, found, strict=True)]
        files.append(noted(f"embedding:{path.stem}", path, f"{count} vectors"))
    return Vocabulary(tokenizer(model.tokenizer), names)


def add_motion(option: str, base: Base, folders: Sequence[str], files: list[ModelFile]) -> Card:
    """Injects a motion module, named by its card, its file or diffusers' folder; gives what is known about it."""
    path, named = located(option, folders=folders)
    tensors, metadata = read(path)
    expect(("motion module", "SDXL motion module"), tensors, name=path.name)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items() if hasattr(tensor, "shape")}
    card = named or recognise(shapes, metadata, file=path.name, folders=folders)
    if card is None:
        message = f"{path.name} is a motion module of unknown structure: {structure(shapes).blocks} down blocks"
        raise CheckpointError(message, remedy="write a card for it, as those in motion_modules/")
    card = as_configured(card, path)
    check_motion(card, structure(shapes), base.family, path.name)
    with naming(path.name):
        layers = motion.read(tensors, card)
        motion.inject(base.unet, layers, shared_norm=card.shared_norm)
    files.append(noted("motion", path, f"{len(layers)} temporal layers, card {card.name}", *motion.unused(tensors)))
    return card


def noted(role: str, path: Path, *notes: str) -> ModelFile:
    """What is written down about a file that took part."""
    return ModelFile(role, path, notes)
