"""``vssnative model``: models at hand, fetched, imported, removed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .. import _display as display
from ..errors import ModelNotFoundError, UnknownNameError
from .output import AsJson, existing_directory, tell, tell_json

app = typer.Typer(help="Embedding models: what is here, fetch, import, remove.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        help="minilm, hf:owner/name or hf:owner/name@revision.", show_default=False, metavar="NAME"
    ),
]


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the models that are on this machine.

    Example: vssnative model list
    """
    from ..embedding.manage import list_models

    models = list_models()
    if as_json:
        tell_json(*map(dataclasses.asdict, models))
        return
    rows = [
        (m.name, m.digest[:12], f"{m.size / 1e6:,.0f} MB", m.origin, m.revision, m.directory) for m in models
    ]
    if not rows:
        typer.echo("no models are here; vssnative model pull minilm")
        return
    console = display.console()
    console.print(
        display.rows_table("models", ("name", "digest", "size", "from", "revision", "directory"), rows)
    )


@app.command()
def pull(name: Name = "minilm", as_json: AsJson = False) -> None:
    """Fetch a model of the hub, so that it is at hand without a network. It is checked by its digest.

    Example: vssnative model pull hf:intfloat/e5-small-v2
    """
    from ..embedding.manage import pull as fetch

    model = fetch(name)
    words = f"{model.name}: {model.directory}, digest {model.digest[:12]}"
    tell(as_json, words, **dataclasses.asdict(model))


@app.command("import")
def import_command(
    directory: Annotated[
        Path,
        typer.Argument(
            help="A model as sentence-transformers lays it out.",
            show_default=False,
            parser=existing_directory,
            metavar="DIRECTORY",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="minilm, hf:owner/name, or any word: local:word. By default what the files are."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take a model from a directory of its files, where there is no network.

    Example: vssnative model import ./e5-small-v2 --name e5
    """
    from ..embedding.manage import import_directory

    model = import_directory(directory, name)
    tell(as_json, f"{model.name}: imported, digest {model.digest[:12]}", **dataclasses.asdict(model))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `list` shows it.", show_default=False, metavar="NAME")],
    as_json: AsJson = False,
) -> None:
    """Delete a model's files. Tables that use it cannot be searched until it is here again.

    Example: vssnative model remove local:e5
    """
    from ..embedding.manage import list_models
    from ..embedding.manage import remove as delete

    there = [model.name for model in list_models()]
    try:
        model = delete(name)
    except ModelNotFoundError as error:
        if name in there:
            raise
        names = ", ".join(there) or "none"
        raise UnknownNameError(f"there is no model {name!r} here; there are: {names}") from error
    tell(as_json, f"{model.name}: removed", name=model.name, digest=model.digest, removed=True)
