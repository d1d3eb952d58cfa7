"""``lcm-video init``: storyboards to start from."""

from pathlib import Path

from lcm_video.errors import StoryboardError, did_you_mean
from lcm_video.resources import shipped


def templates() -> dict[str, Path]:
    """The shipped templates by name."""
    return {path.stem: path for path in sorted((shipped("configs") / "templates").glob("*.yaml"))}


def write_template(path: Path, name: str, *, overwrite: bool) -> None:
    """Writes template ``name`` to ``path``. Raises StoryboardError if there is none, or ``path`` exists."""
    known = templates()
    if name not in known:
        raise StoryboardError(f"there is no template {name!r}", remedy=did_you_mean(name, known))
    if path.exists() and not overwrite:
        raise StoryboardError(f"{path} exists", remedy="add --overwrite, or give another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(known[name].read_text(encoding="utf-8"), encoding="utf-8")
    print(f"{path}\n  → edit it, then: lcm-video plan {path}; lcm-video render {path}")
