"""Alembic: embeddings as operations of a revision, and an autogenerate that leaves our tables alone.

In ``env.py``: ``import vssnative.integrations.alembic`` and
``context.configure(..., include_name=vssnative.integrations.alembic.include_name)``. In a revision:

    def upgrade():
        op.add_embeddings("posts", columns=["title", "summary"])

    def downgrade():
        op.drop_embeddings("posts")
"""

from __future__ import annotations

import re
from typing import Any

from alembic.operations import MigrateOperation, Operations

from ..errors import MigrationError
from ..migrations import add_embeddings, change_model, drop_embeddings

# The tables of a vss0 table, and our own.
_OURS = re.compile(r"(vssnative_.*|vss_.*)\Z", re.IGNORECASE)


@Operations.register_operation("add_embeddings")
class AddEmbeddings(MigrateOperation):
    """``op.add_embeddings(table, ...)``, with the arguments of ``vssnative.add_embeddings``."""

    def __init__(self, table: str, options: dict[str, Any]) -> None:
        self.table = table
        self.options = options

    @classmethod
    def add_embeddings(cls, operations: Operations, table: str, **options: Any) -> Any:
        """Give a table embeddings; ``vssnative.sync`` fills them after the migration."""
        return operations.invoke(cls(table, options))

    def reverse(self) -> MigrateOperation:
        return DropEmbeddings(self.options.get("name") or self.table)


@Operations.register_operation("drop_embeddings")
class DropEmbeddings(MigrateOperation):
    """``op.drop_embeddings(name)``."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def drop_embeddings(cls, operations: Operations, name: str) -> Any:
        """Take embeddings away; the table is as it was before."""
        return operations.invoke(cls(name))


@Operations.register_operation("change_model")
class ChangeModel(MigrateOperation):
    """``op.change_model(name, ...)``, with the arguments of ``vssnative.change_model``."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self.options = options

    @classmethod
    def change_model(cls, operations: Operations, name: str, **options: Any) -> Any:
        """Begin to build new vectors beside the old; ``vssnative.sync`` fills and switches them."""
        return operations.invoke(cls(name, options))


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """For ``context.configure(include_name=...)``: autogenerate must not take our tables for leftovers."""
    del parent_names
    return not (type_ == "table" and name is not None and _OURS.match(name))


@Operations.implementation_for(AddEmbeddings)
def _add(operations: Operations, operation: AddEmbeddings) -> None:
    add_embeddings(_connection(operations), operation.table, **operation.options)


@Operations.implementation_for(DropEmbeddings)
def _drop(operations: Operations, operation: DropEmbeddings) -> None:
    drop_embeddings(_connection(operations), operation.name)


@Operations.implementation_for(ChangeModel)
def _change(operations: Operations, operation: ChangeModel) -> None:
    change_model(_connection(operations), operation.name, **operation.options)


def _connection(operations: Operations) -> Any:
    context = operations.get_context()
    if context.as_sql or context.bind is None:
        raise MigrationError(
            "embeddings look at the table before they change it: there is no --sql mode for them"
        )
    return context.bind.connection.driver_connection
