"""What is told of a finished render: on the terminal, in its report, and in each frame for other tools."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcm_video.job.files import input_files
from lcm_video.models.digests import digest
from lcm_video.plan import Plan, ShotPlan
from lcm_video.report import parameters, write_report
from lcm_video.seams import Seams, borders, scores
from lcm_video.types import Frame

if TYPE_CHECKING:
    from lcm_video.cli.rendering import Render

REPORT = ".lcm.json"


def report_of(film: Path) -> Path:
    """The report beside a film; the film's whole name is in it, for there may be others that differ in the ending."""
    return film.with_name(film.name + REPORT)


def write_facts(render: "Render", films: Sequence[Path], text: str) -> None:
    """Writes the report, and tells of every file that came out; ``text`` is what the films carry."""
    planned = render.planned
    report = report_of(films[0])
    found = facts(render)
    write_report(report, text, films=films, facts=found)
    about = told(planned)
    if loop := found.get("seams", {}).get("loop"):
        about += f", loop seam {loop:.2f}"
    for film in films:
        render.tell.result(path=str(film), about=about, frames=planned.frames)
    render.tell.result(path=str(report), about="how it was made")


def facts(render: "Render") -> dict[str, Any]:
    """What this one render came to: what the film does not say of itself."""
    planned, tally = render.planned, render.job.tally
    seconds = {name: round(value, 3) for name, value in {**tally.seconds, **render.seconds}.items()}
    drawn = {shot.shot.name or "film": list(shot.course.notes) for shot in planned.shots if shot.course.notes}
    inputs = {field: {"name": path.name, "sha256": digest(path)} for field, path in input_files(planned)}
    optional: Mapping[str, Any] = {
        "drawn": drawn,
        "inputs": inputs,
        "fallbacks": tally.fallbacks,
        "notes": render.notes,
        **{name: value for watch in render.watches for name, value in _facts_of(watch)},
    }
    counts = {"drawn": tally.drawn, "reused": tally.reused, "windows": tally.windows}
    given = {name: value for name, value in optional.items() if value}
    return {"frames": planned.frames, "counts": counts, "seconds": seconds, **given}


def _facts_of(watch: Any) -> Sequence[tuple[str, Any]]:
    """What somebody who watched adds to the report, by ``facts()``."""
    return list(watch.facts().items()) if hasattr(watch, "facts") else []


class SeamsSeen:
    """Watches how a loop closes, and whether windows show where they meet: the facts ``seams`` of a report."""

    def __init__(self, planned: Plan) -> None:
        self.planned = planned
        self.seams = {shot.shot.name: Seams(shot.shot.loop) for shot in planned.shots}

    def frame(self, number: int, frame: Frame) -> None:
        """Looks at the film's next frame."""
        shot, _ = _at(self.planned, number)
        self.seams[shot.shot.name].add(frame)

    def facts(self) -> dict[str, Any]:
        """Both scores, as far as they can be told."""
        across = [
            borders(shot.windows[-1], frames=shot.shot.frames, loop=shot.shot.loop) for shot in self.planned.shots
        ]
        return {"seams": scores(self.seams.values(), across)}


def told(planned: Plan) -> str:
    """A film in one line."""
    video = planned.board.video
    size = f"{video.width}x{video.height}"
    return f"{planned.frames} frames, {planned.seconds:.2f} s at {float(video.fps):g} fps, {size}"


def settings(planned: Plan, number: int) -> str:
    """One frame's prompt and settings, as other tools read them out of PNG files."""
    shot, frame = _at(planned, number)
    return parameters(shot.shot, shot.prompts, planned.board, frame)


def caption(planned: Plan, number: int) -> str:
    """What a frame shows, for a contact sheet."""
    shot, frame = _at(planned, number)
    shares = shot.weights(frame)
    return " + ".join(text if len(shares) == 1 else f"{share:.0%} {text}" for text, share in shares.items())


def _at(planned: Plan, number: int) -> tuple[ShotPlan, int]:
    """The shot that a frame of the film belongs to, and its number there."""
    shot = next(shot for shot in reversed(planned.shots) if shot.shot.first <= number)
    return shot, number - shot.shot.first
