"""The commands about model files: ``lcm-video models …``, ``convert`` and ``doctor``."""

from pathlib import Path
from typing import Annotated

import typer

from lcm_video.cli.commands import Allowed, Board, Json, Overrides, app, reported

models = typer.Typer(no_args_is_help=True, help="Finds, lists and gets model files.", rich_markup_mode=None)
app.add_typer(models, name="models")

Folders = Annotated[
    list[str] | None, typer.Option("--folder", metavar="DIR", help="Also look here; may be given several times.")
]


@models.command("list")
@reported
def list_models(
    folder: Folders = None,
    kind: Annotated[
        str, typer.Option("--kind", metavar="WORD", help="Only kinds with this word, for example LoRA.")
    ] = "",
    json: Json = False,
) -> None:
    """Lists the model files in the model folders, with kind, family and size."""
    from lcm_video.cli.model_listing import show_list

    show_list(folder or [], kind=kind, hashed=False, as_json=json)


@models.command()
@reported
def scan(
    folders: Annotated[list[str] | None, typer.Argument(metavar="[DIR]...", help="Folders to look into, too.")] = None,
    json: Json = False,
) -> None:
    """Lists the model files with their hashes, and remembers these, so that sha256:… finds a file at once."""
    from lcm_video.cli.model_listing import show_list

    show_list(folders or [], kind="", hashed=True, as_json=json)


@models.command("info")
@reported
def info_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A file, or its name in a model folder.")],
    folder: Folders = None,
    verify: Annotated[bool, typer.Option("--verify", help="Also read every weight.")] = False,
    json: Json = False,
) -> None:
    """Shows what a model file is, whom it fits, and its hash."""
    from lcm_video.cli.model_listing import show_info

    show_info(name, folder or [], verify=verify, as_json=json)


@models.command("get")
@reported
def get_model(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A known model, or owner/repo/file of Hugging Face.")],
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Where it goes.")] = None,
    json: Json = False,
) -> None:
    """Downloads a model file. The only command that uses the network."""
    from lcm_video.cli.model_listing import get

    get(name, to, as_json=json)


@models.command()
@reported
def lock(storyboard: Board, overrides: Overrides = None, allow_path: Allowed = None) -> None:
    """Writes the hashes of a storyboard's model files beside it; render then refuses any other files."""
    from lcm_video.cli.locking import write_lock
    from lcm_video.cli.sources import opened

    board, _ = opened(storyboard, overrides or [], allow_path or [])
    typer.echo(write_lock(storyboard, board))


@app.command()
@reported
def convert(
    file: Annotated[Path, typer.Argument(help="A .ckpt, .pt, .pth or .bin file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The .safetensors file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    json: Json = False,
) -> None:
    """Turns a PyTorch file into safetensors, in a process of its own; nothing in it is executed."""
    from lcm_video.cli.converting import convert

    convert(file, output, overwrite=overwrite, as_json=json)


@app.command()
@reported
def doctor(json: Json = False) -> None:
    """Checks this installation, and prints a block to copy into a report."""
    from lcm_video.cli.doctor import examine

    raise typer.Exit(examine(as_json=json))
