"""The operations, as ``op.name(...)`` in revisions; each knows what takes it back."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic.operations import MigrateOperation, Operations

from ...errors import MigrationError


@Operations.register_operation("create_vss_table")
class CreateVssTable(MigrateOperation):
    """``op.create_vss_table("docs", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("title", Vector(384)))``."""

    def __init__(self, name: str, columns: tuple[sa.Column[Any], ...]) -> None:
        self.name = name
        self.columns = columns

    @classmethod
    def create_vss_table(cls, operations: Operations, name: str, *columns: sa.Column[Any]) -> sa.Table:
        """Create a vss0 table.

        Args:
            columns: as of a mapped vss0 table: ``Vector`` columns; others are metadata, with ``sqlite_vss="indexed"``,
                ``"partition"`` or ``"auxiliary"``.
        """
        made: sa.Table = operations.invoke(cls(name, columns))
        return made

    def reverse(self) -> MigrateOperation:
        return DropVssTable(self.name, self.columns)

    def to_table(self) -> sa.Table:
        """The table that it creates."""
        # A column belongs to one table; an operation may run, and be rendered, more than once.
        columns = [column._copy() for column in self.columns]
        return sa.Table(self.name, sa.MetaData(), *columns, sqlite_vss0=True)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("create_vss_table", self.name)


@Operations.register_operation("drop_vss_table")
class DropVssTable(MigrateOperation):
    """``op.drop_vss_table("docs")``."""

    def __init__(self, name: str, columns: tuple[sa.Column[Any], ...] | None = None) -> None:
        self.name = name
        self.columns = columns

    @classmethod
    def drop_vss_table(cls, operations: Operations, name: str) -> None:
        """Drop a vss0 table with its vectors."""
        operations.invoke(cls(name))

    def reverse(self) -> MigrateOperation:
        if self.columns is None:
            raise MigrationError(
                f"drop_vss_table({self.name!r}): its columns are not known, so it has no reverse"
            )
        return CreateVssTable(self.name, self.columns)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("drop_vss_table", self.name)


@Operations.register_operation("add_embeddings")
class AddEmbeddings(MigrateOperation):
    """``op.add_embeddings(table, ...)``, with the arguments of ``vssnative.add_embeddings``."""

    def __init__(self, table: str, options: dict[str, Any]) -> None:
        self.table = table
        self.options = options

    @classmethod
    def add_embeddings(cls, operations: Operations, table: str, **options: Any) -> Any:
        """Give a table embeddings; ``vssnative.sync`` fills them after the migration.

        Args:
            options: those of ``vssnative.add_embeddings``; and ``declared=True``, which autogenerate writes: these come
                from an ``Embedded``, and go when it goes.
        """
        return operations.invoke(cls(table, options))

    def reverse(self) -> MigrateOperation:
        return DropEmbeddings(self.options.get("name") or self.table, self.table, self.options)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("add_embeddings", self.table, self.options)


@Operations.register_operation("drop_embeddings")
class DropEmbeddings(MigrateOperation):
    """``op.drop_embeddings(name)``."""

    def __init__(self, name: str, table: str | None = None, options: dict[str, Any] | None = None) -> None:
        self.name = name
        self.table = table
        self.options = options

    @classmethod
    def drop_embeddings(cls, operations: Operations, name: str) -> Any:
        """Take embeddings away; the table is as it was before."""
        return operations.invoke(cls(name))

    def reverse(self) -> MigrateOperation:
        if self.table is None or self.options is None:
            raise MigrationError(
                f"drop_embeddings({self.name!r}): what they were is not known, so it has no reverse"
            )
        return AddEmbeddings(self.table, self.options)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("drop_embeddings", self.name)


@Operations.register_operation("change_model")
class ChangeModel(MigrateOperation):
    """``op.change_model(name, ...)``, with the arguments of ``vssnative.change_model``."""

    def __init__(self, name: str, options: dict[str, Any], before: dict[str, Any] | None = None) -> None:
        self.name = name
        self.options = options
        self.before = before

    @classmethod
    def change_model(cls, operations: Operations, name: str, **options: Any) -> Any:
        """Begin to build new vectors beside the old; ``vssnative.sync`` fills and switches them.

        In a downgrade, name what was there before: a change that sync has not finished is given up, and vectors of
        before that are still there are used again at once.
        """
        return operations.invoke(cls(name, options))

    def reverse(self) -> MigrateOperation:
        if self.before is None:
            raise MigrationError(
                f"change_model({self.name!r}): what was before is not known, so it has no reverse"
            )
        return ChangeModel(self.name, self.before, self.options)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("change_model", self.name, self.options)
