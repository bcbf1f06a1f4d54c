"""What gives a table embeddings, changes their model, takes them away."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _display as display
from ..errors import ConfigurationError
from .output import AsJson, ExistingDatabase, TableName, opened, tell, tell_json

if TYPE_CHECKING:
    from ..embedding import Embedder


Precision = Annotated[
    str | None, typer.Option(help="float32, or bfloat16: faster where the processor has it, less exact.")
]


def _model(name: str, precision: str | None) -> str | Embedder:
    from ..embedding import get_embedder

    return name if precision is None else get_embedder(name, precision=precision)


def add_embeddings(
    database: ExistingDatabase,
    table: TableName,
    columns: Annotated[
        list[str] | None, typer.Option("--column", "-c", help="A text column; may be given several times.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help='One text of several columns instead: "{title} {summary}".')
    ] = None,
    model: Annotated[str, typer.Option(help="The embedding model.")] = "minilm",
    precision: Precision = None,
    chunk: Annotated[
        int | None, typer.Option(help="Split long texts into passages of so many tokens.")
    ] = None,
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
                console.print("note:", note, highlight=False, markup=False)
            for statement in planned.statements:
                console.print(f"{statement};", highlight=False, markup=False, soft_wrap=True)
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
        f"{added.name}: embeddings of {', '.join(fields)} by {added.active.model_name}; now: vssnative sync {database}",
        name=added.name,
        fields=fields,
        model=added.active.model_name,
    )


def change_model(
    database: ExistingDatabase,
    table: TableName,
    model: Annotated[str, typer.Argument(help="The new embedding model.", show_default=False)],
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Begin to build vectors by another model; `sync` fills them, and switches searches to them when complete.

    Example: vssnative change-model blog.db posts hf:intfloat/e5-small-v2
    """
    from ..migrations import change_model as change

    with opened(database) as conn:
        changed = change(conn, table, _model(model, precision))
    new, old = changed.live[-1].model_name, changed.active.model_name
    tell(
        as_json,
        f"{changed.name}: changing to {new}, searches use {old} until then; now: vssnative sync {database}",
        name=changed.name,
        changing_to=new,
        model=old,
    )


def drop_embeddings(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Take a table's embeddings away; the table is as it was before them.

    Example: vssnative drop-embeddings blog.db posts
    """
    from ..migrations import drop_embeddings as drop

    with opened(database) as conn:
        drop(conn, table)
    tell(as_json, f"{table}: embeddings dropped", name=table, dropped=True)


def rollback_model(database: ExistingDatabase, table: TableName, as_json: AsJson = False) -> None:
    """Go back to the model before the last change, whose vectors are still there.

    Example: vssnative rollback-model blog.db posts
    """
    from ..migrations import rollback_model as go_back

    with opened(database) as conn:
        changed = go_back(conn, table)
    name = changed.active.model_name
    tell(as_json, f"{table}: searches use {name} again; now: vssnative sync {database}", model=name)
