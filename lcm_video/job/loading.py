"""Loaded models, kept for the next film that needs the same."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lcm_video.models import Model, Runtime
from lcm_video.storyboard import Storyboard
from lcm_video.work import Sources

if TYPE_CHECKING:
    from lcm_video.pipeline import Pipeline


class Pipelines:
    """Loads pipelines, and keeps the last one: films of one model need it loaded once."""

    def __init__(self) -> None:
        self._wanted: tuple[Model, Runtime, object] | None = None
        self._loaded: Pipeline | None = None

    def __call__(self, board: Storyboard, sources: Iterable[Sources]) -> "Pipeline":
        """The pipeline that ``board`` names, loaded anew if it is another, or if one of its files has changed."""
        from lcm_video.pipeline import Pipeline

        model, runtime = board.model, board.runtime
        weights = {
            path: one.identities[role]
            for one in sources
            for role, path in one.paths.items()
            if role.startswith("model.")
        }
        if self._loaded is None or self._wanted != (model, runtime, weights):
            self._loaded = self._wanted = None  # before the next one takes its memory
            self._loaded = Pipeline.load(model, runtime)
            self._wanted = model, runtime, weights
        return self._loaded
