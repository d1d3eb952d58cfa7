"""``lcm-video info``: what is in a film, a picture, a sound or a model file."""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from lcm_video.cli.sources import is_film, origin_of
from lcm_video.errors import InputError
from lcm_video.models.folders import ENDINGS
from lcm_video.storyboard import shots


def show_info(path: Path, *, as_json: bool, extract: bool) -> None:
    """Prints the facts about ``path``; with ``extract`` only the storyboard that it carries."""
    if not path.exists():
        raise InputError(f"{path} does not exist", remedy="give a film or a model file")
    if extract:
        print(origin_of(path).storyboard, end="")
        return
    found = _model(path) if path.suffix in ENDINGS and path.is_file() else _media(path)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _media(path: Path) -> dict[str, Any]:
    from lcm_video.media import facts

    found = asdict(facts(path))
    has_about = found.pop("has_about")
    shown = {name: _plain(value) for name, value in found.items() if value not in ("", None)}
    if not (has_about and is_film(path)):
        return {"file": path.name, **shown}
    try:
        origin = origin_of(path)
    except InputError:
        return {"file": path.name, **shown}
    board = origin.board(name=str(path))
    prompts = [key.text for shot in shots(board) for key in shot.prompts.values()]
    models = {role: file.get("name", "") for role, file in origin.models.items()}
    return {"file": path.name, **shown, "prompts": prompts, "models": models, "versions": origin.versions}


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else round(float(value), 6)
    return value


def _model(path: Path) -> dict[str, Any]:
    from lcm_video.models.describing import describe

    return {"file": path.name, **describe(path)}
