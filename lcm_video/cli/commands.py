"""The commands and their options; each command's work is in a module of its own, loaded when it runs."""

import functools
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from lcm_video.cli.streams import silence
from lcm_video.errors import Interrupted, LcmVideoError, ResourceError

app = typer.Typer(
    name="lcm-video",
    help="Turns a written storyboard into an animated film: AnimateDiff prompt travel with LCM-LoRA.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Board = Annotated[str, typer.Argument(metavar="STORYBOARD", help="A YAML file, a preset, a film, another tool's file.")]
Boards = Annotated[
    list[str],
    typer.Argument(
        metavar="STORYBOARD... [KEY=VALUE]...",
        help="Storyboards, folders of them, presets, films, other tools' files; and changes that hold for all.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, for example video.fps=12")
]
Allowed = Annotated[
    list[Path] | None, typer.Option("--allow-path", metavar="DIR", help="A folder that the storyboard may write to.")
]
Sweep = Annotated[
    list[str] | None,
    typer.Option("--sweep", metavar="FIELD=A,B", help="A film for each value; given again, for each combination."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for machines.")]


def main() -> None:
    """Runs the command line. Exit codes: 0 done, 1 bug, 2 usage, and those of `errors`; 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no arrows or quotes must not stop a render.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    # Loading makes many objects and no garbage: looking for it every 700 objects takes 0.2 s until the first step.
    gc.set_threshold(50_000)
    try:
        app(prog_name="lcm-video")
    finally:
        _let_go()


def _let_go() -> None:
    """What could not be written until now, to a full disk, goes nowhere: Python would end with code 120 for it."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with what it raises turned into a message and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except LcmVideoError as error:
            _complain(error, as_json=options.get("json", False))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # Whoever read our output has gone; there is nobody to tell.
            sys.stdout = None
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            # By name: torch's class of the same name need not be loaded to say help.
            if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):
                _complain(_out_of_memory(), as_json=options.get("json", False))
                raise typer.Exit(ResourceError.exit_code) from None
            if options.get("verbose"):
                raise
            typer.echo(f"error: {type(error).__name__}: {error}\n  → a bug: run again with -v and report it", err=True)
            raise typer.Exit(1) from None

    return run


def _out_of_memory() -> ResourceError:
    settings = "a smaller windows.length, runtime.window_batch or runtime.decode_batch"
    return ResourceError("memory ran out", remedy=f"choose {settings}, smaller frames, or runtime.device=cpu")


def _complain(error: LcmVideoError, *, as_json: bool) -> None:
    if as_json:
        from lcm_video.cli.events import as_event

        with suppress(OSError):  # whoever read our output may have gone
            typer.echo(as_event("error", message=error.message, remedy=error.remedy, exit_code=error.exit_code))
    with suppress(OSError):
        typer.echo(f"{'' if isinstance(error, Interrupted) else 'error: '}{error}", err=True)


@app.command()
@reported
def render(
    storyboards: Boards,
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FILE", help="Where the film goes, by format; a folder for several."),
    ] = "",
    sweep: Sweep = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="Also write a contact sheet beside the film.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a film that exists.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Draw every frame anew, whatever is stored.")] = False,
    keep_work: Annotated[bool, typer.Option("--keep-work", help="Never clear the stored frames away.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where memory runs out or a frame is blank, rather than go on.")
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Show the film as it is drawn: NAME.preview.png.")] = False,
    preview_to: Annotated[
        str, typer.Option("--preview-to", metavar="FILE", help="The same, in this file: .png, or .mp4, .gif, .webp.")
    ] = "",
    allow_path: Allowed = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show where an unexpected error came from.")] = False,
) -> None:
    """Renders storyboards to films. Stopped in whatever way, the same command goes on where it was."""
    from lcm_video.cli.stopping import stopping

    with stopping() as stop:  # before all that takes time
        from lcm_video.cli.queueing import BESIDE, Asked, render_all
        from lcm_video.cli.rendering import Wishes

        asked = Asked(
            arguments=[*storyboards, *(["runtime.strict=true"] if strict else [])],
            sweep=sweep or [],
            output=output,
            allow_paths=allow_path or [],
            preview=preview_to or (BESIDE if preview else ""),
            style="json" if json else "quiet" if quiet else "",
        )
        wishes = Wishes(sheet=sheet, overwrite=overwrite, fresh=fresh, keep_work=keep_work)
        code = render_all(asked, wishes, stop=stop)
    if code:
        raise typer.Exit(code)


@app.command()
@reported
def plan(
    storyboard: Board,
    overrides: Overrides = None,
    json: Json = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the timeline as .svg or .png.")
    ] = None,
    frames: Annotated[bool, typer.Option("--all", help="List every frame, however long the film.")] = False,
    sweep: Sweep = None,
    allow_path: Allowed = None,
) -> None:
    """Shows what render would do, without loading any weights."""
    from lcm_video.cli.planning import show_plan, show_sweep
    from lcm_video.cli.sources import opened_films

    films = opened_films(storyboard, overrides or [], sweep=sweep or [], allow_paths=allow_path or [])
    if films[0].settings:
        show_sweep(films, as_json=json, plot=plot)
    else:
        show_plan(films[0].board, as_json=json, plot=plot, every_frame=frames)


@app.command()
@reported
def check(
    storyboard: Board,
    overrides: Overrides = None,
    json: Json = False,
    sweep: Sweep = None,
    allow_path: Allowed = None,
) -> None:
    """Finds everything that is wrong with a storyboard, and with every film of its sweep."""
    from lcm_video.cli.planning import check

    raise typer.Exit(check(storyboard, overrides or [], allow_path or [], as_json=json, sweep=sweep or []))


@app.command()
@reported
def info(
    file: Annotated[Path, typer.Argument(help="A film, a picture, a sound or a model file.")],
    json: Json = False,
    extract: Annotated[bool, typer.Option("--extract", help="Write the film's storyboard and nothing else.")] = False,
) -> None:
    """Shows what is in a film or a model file."""
    from lcm_video.cli.inspecting import show_info

    show_info(file, as_json=json, extract=extract)


@app.command()
@reported
def init(
    path: Annotated[Path, typer.Argument(help="The storyboard to write.")] = Path("storyboard.yaml"),
    template: Annotated[str, typer.Option("--template", "-t", help="minimal, story, shots, loop or music.")] = "story",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Writes a storyboard to start from."""
    from lcm_video.cli.templates import write_template

    write_template(path, template, overwrite=overwrite)


@app.command()
@reported
def schema() -> None:
    """Prints the JSON Schema of storyboards, for editors."""
    import json

    from lcm_video.reader import schema

    typer.echo(json.dumps(schema(), indent=2))


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Turns a written storyboard into an animated film: AnimateDiff prompt travel with LCM-LoRA."""
    if show:
        from importlib.metadata import version

        typer.echo(f"lcm-video {version('lcm-video')}")
        raise typer.Exit
