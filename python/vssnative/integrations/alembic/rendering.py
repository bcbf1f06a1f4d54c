"""Operations as text of a revision."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import renderers
from alembic.autogenerate.render import _repr_type

from ...errors import ConfigurationError
from .operations import AddEmbeddings, ChangeModel, CreateVssTable, DropEmbeddings, DropVssTable


@renderers.dispatch_for(CreateVssTable)
def _create(context: Any, operation: CreateVssTable) -> str:
    columns = "".join(f",\n    {_column(context, column)}" for column in operation.to_table().columns)
    return f"op.create_vss_table({operation.name!r}{columns},\n)"


@renderers.dispatch_for(DropVssTable)
def _drop(context: Any, operation: DropVssTable) -> list[str]:
    return [f"# This drops the vectors of {operation.name} too.", f"op.drop_vss_table({operation.name!r})"]


@renderers.dispatch_for(AddEmbeddings)
def _add(context: Any, operation: AddEmbeddings) -> str:
    return f"op.add_embeddings({operation.table!r}{_options(operation.table, operation.options)})"


@renderers.dispatch_for(DropEmbeddings)
def _drop_embeddings(context: Any, operation: DropEmbeddings) -> str:
    return f"op.drop_embeddings({operation.name!r})"


@renderers.dispatch_for(ChangeModel)
def _change(context: Any, operation: ChangeModel) -> str:
    return f"op.change_model({operation.name!r}{_options(operation.name, operation.options)})"


def _options(table: str, options: dict[str, Any]) -> str:
    model = options.get("model", "minilm")
    if not isinstance(model, str):
        raise ConfigurationError(
            f"the embeddings of {table} have the model {model!r}, which cannot be written into a revision; give it by name,"
            ' model="module:attribute"'
        )
    return "".join(f", {name}={value!r}" for name, value in options.items())


def _column(context: Any, column: sa.Column[Any]) -> str:
    prefix = context.opts["sqlalchemy_module_prefix"] or ""
    parts = [repr(str(column.name)), _repr_type(column.type, context)]
    if column.primary_key:
        parts.append("primary_key=True")
    elif not column.nullable:
        parts.append("nullable=False")
    if column.unique:
        parts.append("unique=True")
    kind = column.dialect_kwargs.get("sqlite_vss")
    if kind is not None:
        parts.append(f"sqlite_vss={kind!r}")
    return f"{prefix}Column({', '.join(parts)})"
