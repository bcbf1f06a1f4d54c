"""What gives a table embeddings, changes their model and the like, takes them away."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _display as display
from .._advice import command
from ..errors import ConfigurationError
from .output import AsJson, ExistingDatabase, TableName, opened, tell, tell_json

if TYPE_CHECKING:
    from ..embedding import Embedder


Precision = Annotated[
    str | None, typer.Option(help="float32, or bfloat16: faster where the processor has it, less exact.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", "-c", help="A text column; may be given several times.")
]
Template = Annotated[
    str | None, typer.Option(help='One text of several columns instead: "{title} {summary}".')
]
Chunk = Annotated[int | None, typer.Option(help="Split long texts into passages of so many tokens.")]


def _model(name: str, precision: str | None) -> str | Embedder:
    from ..embedding import get_embedder

    return name if precision is None else get_embedder(name, precision=precision)


def add_embeddings(
    database: ExistingDatabase,
    table: TableName,
    columns: Columns = None,
    template: Template = None,
    model: Annotated[str, typer.Option(help="The embedding model.")] = "minilm",
    precision: Precision = None,
    chunk: Chunk = None,
    name: Annotated[str | None, typer.Option(help="A name, where a table gets several embeddings.")] = None,
    full_text: Annotated[
        bool, typer.Option("--full-text", help="Keep a full-text index too: searches go by words as well.")
    ] = False,
    price: Annotated[float | None, typer.Option(help="Money per million tokens, for the plan.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done, and its cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give a table embeddings; its rows stay as they are. `sync` then fills them.

    Example: vssnative add-embeddings blog.db posts -c title -c body --full-text
    """
    from ..migrations import add_embeddings as add
    from ..migrations import plan_embeddings

    console = display.console()
    if not columns and template is None:
        raise ConfigurationError(
            "say which columns hold the texts: -c title -c summary (or one text of several: --template)"
        )
    with opened(database, write=not plan) as conn:
        if plan:
            planned = plan_embeddings(
                conn,
                table,
                columns,
                template,
                _model(model, precision),
                chunk=chunk,
                name=name,
                full_text=full_text,
                price=price,
            )
            if as_json:
                tell_json(dataclasses.asdict(planned))
                return
            console.print(display.pairs_table("the backfill", dataclasses.asdict(planned.estimate)))
            for note in planned.notes:
                tell(False, f"note: {note}")
            for statement in planned.statements:
                tell(False, f"{statement};")
            return
        added = add(
            conn,
            table,
            columns,
            template,
            _model(model, precision),
            chunk=chunk,
            name=name,
            full_text=full_text,
        )
    fields = [field.name for field in added.active.fields]
    tell(
        as_json,
        f"{added.name}: embeddings of {', '.join(fields)} by {added.active.model_name}; now: {command('sync', file=database)}",
        name=added.name,
        fields=fields,
        model=added.active.model_name,
    )


def change_model(
    database: ExistingDatabase,
    table: TableName,
    model: Annotated[
        str | None,
        typer.Argument(
            help="The new embedding model; the one there is if left out.", show_default=False, metavar="MODEL"
        ),
    ] = None,
    columns: Columns = None,
    template: Template = None,
    chunk: Chunk = None,
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Begin to build other vectors beside the old; `sync` fills them, and switches searches to them when complete.

    By another model, of other columns, or of other passages. Columns stay as they are if not given, passages do not.

    Example: vssnative change-model blog.db posts hf:intfloat/e5-small-v2
    """
    from ..migrations import change_model as change

    if model is None and columns is None and template is None and chunk is None:
        raise ConfigurationError("say what changes: MODEL, -c COLUMN, --template or --chunk")
    if model is None and precision is not None:
        raise ConfigurationError("--precision is a model's: say which MODEL")
    with opened(database) as conn:
        new_model = None if model is None else _model(model, precision)
        changed = change(conn, table, new_model, columns=columns, template=template, chunk=chunk)
    new, old = changed.live[-1].model_name, changed.active.model_name
    tell(
        as_json,
        f"{changed.name}: changing to {new}, searches use {old} until then; now: {command('sync', file=database)}",
        name=changed.name,
        changing_to=new,
        model=old,
    )


def cancel_change(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Give up a change of model that is under way; the vectors built for it are dropped.

    Example: vssnative cancel-change blog.db posts
    """
    from ..migrations import cancel_change as cancel

    with opened(database) as conn:
        changed = cancel(conn, table)
    model = changed.active.model_name
    tell(
        as_json,
        f"{changed.name}: change given up, searches go on with {model}",
        name=changed.name,
        model=model,
    )


def switch(
    database: ExistingDatabase,
    table: TableName,
    force: Annotated[
        bool, typer.Option("--force", help="Also where rows have no new vectors yet, or were given up.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let searches use the vectors of a change that is under way now; `sync` does so by itself when it is complete.

    Example: vssnative switch blog.db posts --force
    """
    from ..migrations import switch as go_over

    with opened(database) as conn:
        changed = go_over(conn, table, force=force)
    model = changed.active.model_name
    tell(as_json, f"{changed.name}: searches use {model}", name=changed.name, model=model)


def rollback_model(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Go back to the model before the last change, whose vectors are still there.

    Example: vssnative rollback-model blog.db posts
    """
    from ..migrations import rollback_model as go_back

    with opened(database) as conn:
        changed = go_back(conn, table)
    model = changed.active.model_name
    tell(
        as_json,
        f"{changed.name}: searches use {model} again; now: {command('sync', file=database)}",
        name=changed.name,
        model=model,
    )


def drop_retired(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Drop the vectors of earlier models, which are kept for `rollback-model`.

    Example: vssnative drop-retired blog.db posts
    """
    from ..migrations import drop_retired as drop
    from ..migrations import load_embedding

    with opened(database) as conn:
        before = load_embedding(conn, table)
        drop(conn, before.name)
    models = [one.model_name for one in before.generations if one.state == "retired"]
    words = (
        f"vectors of {', '.join(models)} dropped" if models else "there were no vectors of an earlier model"
    )
    tell(as_json, f"{before.name}: {words}", name=before.name, dropped=models)


def change_server(
    database: ExistingDatabase,
    table: TableName,
    url: Annotated[str, typer.Argument(help="The server's new address.", show_default=False, metavar="URL")],
    as_json: AsJson = False,
) -> None:
    """Record another address for a hosted model; it is the same model, so its vectors stay.

    Example: vssnative change-server blog.db posts http://gpu2:8080/v1
    """
    from ..migrations import change_server as move

    with opened(database) as conn:
        moved = move(conn, table, url)
    tell(as_json, f"{moved.name}: {moved.active.model_name} is asked at {url}", name=moved.name, base_url=url)


def drop_embeddings(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Take a table's embeddings away; the table is as it was before them.

    Example: vssnative drop-embeddings blog.db posts
    """
    from ..migrations import drop_embeddings as drop

    with opened(database) as conn:
        drop(conn, table)
    tell(as_json, f"{table}: embeddings dropped", name=table, dropped=True)
