"""What prompts call becomes part of the model: a film's LoRAs and embeddings, wherever they are named."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from lcm_video.models import Lora, Model
from lcm_video.models.folders import ENDINGS
from lcm_video.prompts.chunks import called_embeddings
from lcm_video.prompts.directives import names

if TYPE_CHECKING:
    from lcm_video.storyboard.board import Storyboard


class Prompt(NamedTuple):
    """A prompt as it is written: its path in the storyboard, and whether it says what not to show."""

    path: str
    text: str
    negative: bool


def prompt_texts(board: "Storyboard") -> Iterator[Prompt]:
    """Yields every prompt of the film and of its shots."""
    places: list[tuple[str, Any, bool]] = [("prompts", board.prompts, False), ("negative", board.negative, True)]
    for name, shot in board.shots.items():
        places += [(f"shots.{name}.prompts", shot.prompts, False), (f"shots.{name}.negative", shot.negative, True)]
    for path, value, negative in places:
        if isinstance(value, str):
            yield Prompt(path, value, negative)
        for at, key in value.items() if isinstance(value, dict) else ():
            yield Prompt(f"{path}.{at}.text", key.text, negative)


def with_called(board: "Storyboard") -> Model:
    """The model with all that prompts call: a LoRA that is not named there is a file of that name."""
    model = board.model
    lines = [line for wildcard in board.wildcards.values() for line in wildcard]
    for text in [*lines, *(prompt.text for prompt in prompt_texts(board))]:
        for name, _ in names(text):
            key = called_name(model, name)
            lora = replace(model.loras.get(key) or Lora(name), called=True)
            model = replace(model, loras={**model.loras, key: lora})
        for name, _ in called_embeddings(text):
            if name.lower() not in map(stem, model.embeddings):
                model = replace(model, embeddings=(*model.embeddings, name))
    return model


def called_name(model: Model, called: str) -> str:
    """The name in the model of a LoRA that a prompt calls, in any case: its name there, its file's, or a new one."""
    files = {stem(lora.path): name for name, lora in model.loras.items()}
    own = {name.lower(): name for name in model.loras}
    return own.get(called.lower()) or files.get(stem(called)) or called


def stem(path: str) -> str:
    """A file's name in small letters, without folders and without a model file's ending."""
    name = PurePath(path.replace("\\", "/")).name.lower()
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)
