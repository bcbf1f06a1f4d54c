"""vss0 tables as ``Table`` and as mapped classes.

class Doc(Base):
    __tablename__ = "docs"
    __table_args__ = {"sqlite_vss0": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    title = mapped_column(Vector(384, metric="cosine"))
    company: Mapped[str | None] = mapped_column(sqlite_vss="indexed")

select(Doc, distance(Doc)).where(nearest(Doc.title, vector, k=10), Doc.company == "acme").order_by(distance(Doc))
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from ..._connection import load
from ...errors import ConfigurationError, QueryError
from .driving import is_connected, on_driver
from .types import Vector

_KINDS = {"indexed": " indexed", "partition": " partition key", "auxiliary": ""}

sa.Table.argument_for("sqlite", "vss0", False)
sa.Column.argument_for("sqlite", "vss", None)


def is_vss0(table: Any) -> bool:
    """Whether a ``Table`` is declared as a vss0 table."""
    return bool(table.dialect_kwargs.get("sqlite_vss0"))


def nearest(
    column: Any,
    vector: Any,
    k: int | None = None,
    *,
    recall: float | None = None,
    max_distance: float | None = None,
) -> sa.ColumnElement[bool]:
    """The condition of a search, for the ``where`` of a select over a vss0 table.

    Args:
        column: a ``Vector`` column of the vss0 table.
        vector: (dim,) numbers.
        k: how many rows, under the other conditions of the ``where``. None where the select has
            ``order_by(distance(...)).limit(...)``, which takes conditions of any kind, or where `max_distance` is given:
            all rows within it.
        recall: share of the true neighbours wanted, 1.0 for exact; None for the table's default.
        max_distance: leave out what is farther.

    Raises:
        QueryError: k is no number of rows, or the column is none of a vss0 table.
    """
    element: Any = sa.inspect(column, raiseerr=False)
    element = getattr(element, "expression", column)
    if not isinstance(getattr(element, "type", None), Vector) or getattr(element, "table", None) is None:
        raise QueryError(f"nearest: expected a Vector column of a vss0 table, got {column!r}")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise QueryError(f"nearest: k must be a number of rows, 1 or more, not {k!r}")
    conditions = [
        element.op("MATCH", is_comparison=True)(sa.bindparam(None, vector, type_=element.type, unique=True))
    ]
    if k is not None:
        conditions.append(_hidden(element.table, "k", sa.Integer()) == k)
    if recall is not None:
        conditions.append(_hidden(element.table, "recall", sa.Float()) == float(recall))
    if max_distance is not None:
        conditions.append(distance(element.table) <= float(max_distance))
    condition: sa.ColumnElement[bool] = sa.and_(*conditions)
    return condition


def distance(table: Any) -> sa.ColumnElement[float]:
    """The distance of a row that a search found, by the column's metric; smaller is nearer.

    Args:
        table: a mapped class, an alias of one, or a ``Table``.
    """
    inspected: Any = sa.inspect(table, raiseerr=False)
    return _hidden(getattr(inspected, "selectable", table), "distance", sa.Float())


def _hidden(table: Any, name: str, kind: Any) -> sa.ColumnElement[Any]:
    column: Any = sa.column(name, kind)
    column.table = table
    hidden: sa.ColumnElement[Any] = column
    return hidden


@compiles(CreateTable, "sqlite")
def _create(element: CreateTable, compiler: Any, **options: Any) -> str:
    if is_vss0(element.element):
        return create_statement(element.element, compiler, if_not_exists=element.if_not_exists)
    return str(compiler.visit_create_table(element, **options))


def create_statement(table: sa.Table, compiler: Any, *, if_not_exists: bool = False) -> str:
    """``CREATE VIRTUAL TABLE ... USING vss0`` for a table.

    Raises:
        ConfigurationError: it has what a vss0 table cannot have.
    """
    for constraint in table.constraints:
        if isinstance(constraint, (sa.ForeignKeyConstraint, sa.CheckConstraint)):
            raise ConfigurationError(
                f"{table.name}: a vss0 table has no {type(constraint).__name__}; keep it on an ordinary table of the same ids"
            )
        if isinstance(constraint, sa.UniqueConstraint) and len(constraint.columns) > 1:
            raise ConfigurationError(f"{table.name}: a vss0 table has no UniqueConstraint of several columns")
    if len(table.primary_key.columns) > 1:
        names = ", ".join(column.name for column in table.primary_key.columns)
        raise ConfigurationError(
            f"{table.name}: a vss0 table has a primary key of one column, not of {names}"
        )
    if table.indexes:
        raise ConfigurationError(
            f"{table.name}: a vss0 table has no Index; write mapped_column(..., sqlite_vss='indexed')"
        )
    columns = ", ".join(_column(table, column, compiler) for column in table.columns)
    exists = "IF NOT EXISTS " if if_not_exists else ""
    return f"CREATE VIRTUAL TABLE {exists}{compiler.preparer.format_table(table)} USING vss0({columns})"


def _column(table: sa.Table, column: sa.Column[Any], compiler: Any) -> str:
    name = compiler.preparer.format_column(column)
    kind = column.dialect_kwargs.get("sqlite_vss")
    if kind is not None and kind not in _KINDS:
        raise ConfigurationError(
            f"{table.name}.{column.name}: sqlite_vss must be one of {', '.join(_KINDS)}, not {kind!r}"
        )
    if column.server_default is not None or column.computed is not None:
        raise ConfigurationError(
            f"{table.name}.{column.name}: a vss0 table keeps no default or generated value of SQL's; use default="
        )
    if isinstance(column.type, Vector):
        return f"{name}({column.type.dim}){column.type.vss_options()}"
    declared = compiler.dialect.type_compiler_instance.process(column.type)
    if column.primary_key:
        return f"{name} {declared} primary key"
    required = "" if column.nullable else " not null"
    unique = " unique" if _is_unique(table, column) else ""
    plus = "+" if kind == "auxiliary" else ""
    return f"{plus}{name} {declared}{required}{unique}{'' if kind is None else _KINDS[kind]}"


def _is_unique(table: sa.Table, column: sa.Column[Any]) -> bool:
    return bool(column.unique) or any(
        isinstance(constraint, sa.UniqueConstraint)
        and [one.name for one in constraint.columns] == [column.name]
        for constraint in table.constraints
    )


@sa.event.listens_for(sa.Table, "after_parent_attach")
def _on_table(table: sa.Table, _parent: Any) -> None:
    if is_vss0(table):
        # SQLite answers RETURNING over a virtual table with NULL.
        table.implicit_returning = False
        sa.event.listen(table, "before_create", _load)
        sa.event.listen(table, "before_drop", _load)


def _load(_table: Any, connection: Any, **_: Any) -> None:
    if is_connected(connection):
        on_driver(connection, load)
