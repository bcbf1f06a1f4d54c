"""What the operations do on a database, and the part of Alembic's own work that knows of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations import Operations

from ..._catalog.records import load_embeddings
from ..._connection import load
from ..._sync import RebuiltTable, check_columns
from ...errors import MigrationError
from ...migrations import add_embeddings, drop_embeddings
from ...migrations.generations import change_or_go_back
from ..sqlalchemy.driving import on_driver
from ..sqlalchemy.embedded import mark_declared
from ..sqlalchemy.types import Vector
from .operations import AddEmbeddings, ChangeModel, CreateVssTable, DropEmbeddings, DropVssTable

_T = TypeVar("_T")
_TEMPORARY = "_alembic_tmp_"


class VssSQLiteImpl(SQLiteImpl):
    """Alembic's SQLite, on connections that have vss0, and with triggers that outlive batch mode."""

    __dialect__ = "sqlite"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._rebuilt: dict[str, RebuiltTable] = {}
        self._names: dict[str, dict[str, str]] = {}
        if self.connection is not None and not self.as_sql:
            on_driver(self.connection, load)

    def create_table(self, table: sa.Table, **options: Any) -> None:
        if self._works_on_file(table) and table.name.startswith(_TEMPORARY):
            replaced = table.name.removeprefix(_TEMPORARY)
            columns = [column.name for column in table.columns]
            # Batch mode gives a column that it renames the new name, and leaves it the old key.
            names = {column.key.lower(): column.name for column in table.columns if column.key != column.name}
            self._names[replaced.lower()] = names
            on_driver(self._bound, lambda raw: check_columns(raw, replaced, columns, names))
        super().create_table(table, **options)

    def drop_table(self, table: sa.Table, **options: Any) -> None:
        # Batch mode copies a table, drops it, and renames the copy: this is the moment between.
        if self._works_on_file(table):
            self._rebuilt[table.name.lower()] = on_driver(
                self._bound, lambda raw: RebuiltTable.before(raw, table.name)
            )
        super().drop_table(table, **options)

    def rename_table(self, old_table_name: Any, new_table_name: Any, schema: Any = None) -> None:
        super().rename_table(old_table_name, new_table_name, schema=schema)
        rebuilt = self._rebuilt.pop(str(new_table_name).lower(), None)
        if rebuilt is not None:
            names = self._names.pop(str(new_table_name).lower(), {})
            on_driver(self._bound, lambda raw: rebuilt.put_back(raw, names=names))

    @property
    def _bound(self) -> sa.Connection:
        assert self.connection is not None
        return self.connection

    def _works_on_file(self, table: sa.Table) -> bool:
        return self.connection is not None and not self.as_sql and table.schema is None

    def render_type(self, type_obj: Any, autogen_context: Any) -> Any:
        if isinstance(type_obj, Vector):
            autogen_context.imports.add("from vssnative.integrations.sqlalchemy import Vector")
            return repr(type_obj)
        return super().render_type(type_obj, autogen_context)


@Operations.implementation_for(CreateVssTable)
def _create(operations: Operations, operation: CreateVssTable) -> sa.Table:
    table = operation.to_table()
    operations.get_context().impl.create_table(table)
    return table


@Operations.implementation_for(DropVssTable)
def _drop(operations: Operations, operation: DropVssTable) -> None:
    # By name alone: nothing of the package's own tables may be dropped so.
    if not operations.get_context().as_sql:
        _on_file(operations, lambda raw: _refuse_vectors_of_embeddings(raw, operation.name))
    operations.get_context().impl.drop_table(sa.Table(operation.name, sa.MetaData()))


def _refuse_vectors_of_embeddings(raw: Any, name: str) -> None:
    for embedding in load_embeddings(raw):
        if name.lower() in [str(one.vss_table).lower() for one in embedding.generations]:
            raise MigrationError(
                f"drop_vss_table: {name} holds the vectors of the embeddings {embedding.name};"
                f" op.drop_embeddings({embedding.name!r}) takes them away"
            )


@Operations.implementation_for(AddEmbeddings)
def _add(operations: Operations, operation: AddEmbeddings) -> None:
    options = dict(operation.options)
    declared = options.pop("declared", False)

    def work(raw: Any) -> None:
        embedding = add_embeddings(raw, operation.table, **options)
        if declared:
            mark_declared(raw, embedding)

    _on_file(operations, work)


@Operations.implementation_for(DropEmbeddings)
def _drop_embeddings(operations: Operations, operation: DropEmbeddings) -> None:
    _on_file(operations, lambda raw: drop_embeddings(raw, operation.name))


@Operations.implementation_for(ChangeModel)
def _change(operations: Operations, operation: ChangeModel) -> None:
    _on_file(operations, lambda raw: change_or_go_back(raw, operation.name, operation.options))


def _on_file(operations: Operations, work: Callable[[Any], _T]) -> _T:
    context = operations.get_context()
    if context.as_sql or context.bind is None:
        raise MigrationError(
            "embeddings look at the table before they change it: there is no --sql mode for them"
        )
    return on_driver(context.bind, work)
