"""``vssnative model``: models at hand, fetched, imported, removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import display

app = typer.Typer(help="Embedding models: what is here, fetch, import, remove.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(help="minilm, hf:owner/name or hf:owner/name@revision.", show_default=False)
]


@app.command("list")
def list_command() -> None:
    """List the models that are on this machine."""
    from .embedding.manage import list_models

    models = list_models()
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
def pull(name: Name = "minilm") -> None:
    """Fetch a model of the hub, so that it is at hand without a network. It is checked by its digest."""
    from .embedding.manage import pull as fetch

    model = fetch(name)
    display.console().print(
        f"{model.name}: {model.directory}, digest {model.digest[:12]}", highlight=False, soft_wrap=True
    )


@app.command("import")
def import_command(
    directory: Annotated[
        Path, typer.Argument(help="A model as sentence-transformers lays it out.", show_default=False)
    ],
    name: Annotated[
        str | None,
        typer.Option(help="minilm, hf:owner/name, or any word: local:word. By default what the files are."),
    ] = None,
) -> None:
    """Take a model from a directory of its files, where there is no network."""
    from .embedding.manage import import_directory

    model = import_directory(directory, name)
    display.console().print(
        f"{model.name}: imported, digest {model.digest[:12]}", highlight=False, soft_wrap=True
    )


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `list` shows it.", show_default=False)],
) -> None:
    """Delete a model's files. Tables that use it cannot be searched until it is here again."""
    from .embedding.manage import remove as delete

    model = delete(name)
    display.console().print(f"{model.name}: removed", highlight=False)
