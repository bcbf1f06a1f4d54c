"""Autogenerate: what classes declare, beside what the file has."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import comparators
from alembic.operations import ops

from ..._catalog.records import EmbeddingConfig, load_embeddings, template_columns
from ..._catalog.renames import followed
from ..._connection import execute, load
from ...embedding.chunking import Chunking
from ...embedding.registry import get_embedder
from ..sqlalchemy.driving import on_driver
from ..sqlalchemy.embedded import Embedded, declared_on, is_marked
from ..sqlalchemy.tables import is_vss0
from ..sqlalchemy.types import Vector
from .operations import AddEmbeddings, ChangeModel, CreateVssTable, DropEmbeddings, DropVssTable


@dataclass(frozen=True)
class _File:
    """What the file has of ours.

    Attributes:
        own: names of the package's tables, of the tables behind virtual ones, and of vectors of embeddings; small.
        vss: other vss0 tables, name to columns.
        embeddings: as recorded.
        marked: numbers of those that came from a declaration.
    """

    own: frozenset[str]
    vss: dict[str, list[dict[str, Any]]]
    embeddings: tuple[EmbeddingConfig, ...]
    marked: frozenset[int]


def _hide(context: Any, _operations: Any, _schemas: Any) -> None:
    """Before Alembic looks at tables: ours are none of its business."""
    if context.dialect.name != "sqlite" or context.connection is None:
        return
    file = on_driver(context.connection, _look)
    names = {table.name.lower() for table in context.sorted_tables}

    def is_shown(name: Any, kind: str, _parents: Any) -> bool:
        return kind != "table" or name is None or name.lower() in names or name.lower() not in file.own

    context._name_filters.append(is_shown)


def _compare(context: Any, upgrade_ops: Any, schemas: Any) -> None:
    """After Alembic has looked at tables and columns."""
    if context.dialect.name != "sqlite" or context.connection is None or None not in schemas:
        return
    file = on_driver(context.connection, _look)
    tables = {table.name.lower(): table for table in context.sorted_tables if table.schema is None}
    first, last = _embeddings(context, file, tables)
    upgrade_ops.ops[:] = [
        *first,
        *_without_ours(upgrade_ops.ops, file, tables),
        *_vss_tables(context, file, tables),
        *last,
    ]


def _register() -> None:
    try:
        from alembic.util import DispatchPriority
    except ImportError:  # before Alembic 1.18 the order is that of registration
        comparators.dispatch_for("schema")(_compare)
        comparators.dispatch_for("schema")(_hide)
        registered: Any = comparators
        functions = registered._registry["schema", "default"]
        functions.insert(0, functions.pop())
    else:
        comparators.dispatch_for("schema", priority=DispatchPriority.LAST)(_compare)
        comparators.dispatch_for("schema", priority=DispatchPriority.FIRST)(_hide)


_register()


def _look(raw: Any) -> _File:
    load(raw)
    embeddings = tuple(followed(raw, embedding) for embedding in load_embeddings(raw))
    rows = execute(raw, "select name, sql from main.sqlite_master where type = 'table'")
    virtual = {name: sql for name, sql in rows if (sql or "").lstrip()[:14].lower() == "create virtual"}
    vss = {name for name, sql in virtual.items() if " using vss0" in " ".join(sql.lower().split())[:400]}
    vectors = {str(one.vss_table).lower() for embedding in embeddings for one in embedding.generations}
    words = {embedding.full_text.table.lower() for embedding in embeddings if embedding.full_text}
    own = {name.lower() for name, _ in rows if name.lower().startswith("vssnative_")} | vectors | words
    own |= {
        name.lower()
        for name, _ in rows
        for owner in (*vss, *words)
        if _SHADOW.fullmatch(name[len(owner) :]) and name.lower().startswith(owner.lower())
    }
    described = {
        name.lower(): json.loads(execute(raw, "select vss_describe(?)", (name,))[0][0])["columns"]
        for name in vss
        if name.lower() not in vectors
    }
    return _File(frozenset(own), described, embeddings, is_marked(raw))


# What vss0 and FTS5 put behind the name of a table for their own.
_SHADOW = re.compile(
    r"_(rows|config|(vectors|segments|free|cells|codes)\d+|data|idx|content|docsize)", re.IGNORECASE
)


def _without_ours(operations: Sequence[Any], file: _File, tables: dict[str, sa.Table]) -> list[Any]:
    """What Alembic found, without our tables and columns; vss0 tables are compared below."""
    columns = {
        (embedding.source.lower(), field.blob_column.lower())
        for embedding in file.embeddings
        if embedding.uses_columns
        for field in embedding.active.fields
    }
    kept: list[Any] = []
    for operation in operations:
        lower = str(getattr(operation, "table_name", "")).lower()
        if isinstance(operation, (ops.DropTableOp, ops.CreateTableOp, ops.ModifyTableOps)):
            if lower in file.own and lower not in tables:
                continue
            if lower in file.vss or (lower in tables and is_vss0(tables[lower])):
                continue
        if isinstance(operation, ops.ModifyTableOps):
            there = tables.get(lower)
            declared = set() if there is None else {column.name.lower() for column in there.c}
            operation.ops[:] = [
                one
                for one in operation.ops
                if not (
                    isinstance(one, ops.DropColumnOp)
                    and (lower, one.column_name.lower()) in columns
                    and one.column_name.lower() not in declared
                )
            ]
            if not operation.ops:
                continue
        kept.append(operation)
    return kept


def _vss_tables(context: Any, file: _File, tables: dict[str, sa.Table]) -> list[Any]:
    found: list[Any] = []
    for lower, described in sorted(file.vss.items()):
        table = tables.get(lower)
        columns = tuple(_reflected(context, one) for one in described)
        if table is None:
            reflected = sa.Table(
                lower, sa.MetaData(), *(column._copy() for column in columns), sqlite_vss0=True
            )
            if context.run_name_filters(lower, "table", {"schema_name": None}) and context.run_object_filters(
                reflected, lower, "table", True, None
            ):
                found.append(DropVssTable(lower, columns))
        elif is_vss0(table) and _described(context, table) != _plain(described):
            if context.run_object_filters(table, table.name, "table", False, None):
                found += [DropVssTable(table.name, columns), _created(table)]
    for lower, table in tables.items():
        if is_vss0(table) and lower not in file.vss:
            if context.run_object_filters(table, table.name, "table", False, None):
                found.append(_created(table))
    return found


def _created(table: sa.Table) -> CreateVssTable:
    return CreateVssTable(table.name, tuple(column._copy() for column in table.columns))


def _described(context: Any, table: sa.Table) -> list[tuple[Any, ...]]:
    """A declared table's columns as ``_plain`` has those of the file."""
    columns: list[tuple[Any, ...]] = []
    for column in table.columns:
        if isinstance(column.type, Vector):
            metric = (column.type.metric or "L2").upper()
            columns.append(
                (
                    column.name,
                    "vector",
                    column.type.dim,
                    column.type.element,
                    metric,
                    column.type.index or "cells",
                )
            )
            continue
        declared = context.dialect.type_compiler_instance.process(column.type)
        kind = {"partition": "partition", "auxiliary": "auxiliary"}.get(
            str(column.dialect_kwargs.get("sqlite_vss")), "metadata"
        )
        columns.append((column.name, kind, _affinity(declared)))
    return [
        column if column[0] not in table.primary_key.columns else (column[0], "key", column[2])
        for column in columns
    ]


def _plain(described: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (one["name"], "vector", one["dim"], one["type"], one["metric"].upper(), one["index"])
        if one["kind"] == "vector"
        else (
            one["name"],
            "key" if one["kind"] in ("rowid", "key") else one["kind"],
            _affinity(one["declared"]),
        )
        for one in described
    ]


def _affinity(declared: str) -> str:
    """By SQLite's rules."""
    upper = declared.upper()
    for affinity, parts in (
        ("INTEGER", ("INT",)),
        ("TEXT", ("CHAR", "CLOB", "TEXT")),
        ("BLOB", ("BLOB",)),
        ("REAL", ("REAL", "FLOA", "DOUB")),
    ):
        if any(part in upper for part in parts):
            return affinity
    return "NUMERIC" if upper.strip() else "BLOB"


_TYPES: dict[str, Any] = {
    "INTEGER": sa.Integer,
    "TEXT": sa.Text,
    "BLOB": sa.LargeBinary,
    "REAL": sa.Float,
    "NUMERIC": sa.Numeric,
}


def _reflected(context: Any, one: dict[str, Any]) -> sa.Column[Any]:
    if one["kind"] == "vector":
        metric = None if one["metric"].upper() == "L2" else one["metric"].lower()
        index = None if one["index"] == "cells" else one["index"]
        return sa.Column(one["name"], Vector(one["dim"], metric, one["type"], one.get("scale"), index))
    kind = _TYPES[_affinity(one["declared"])]()
    if one["kind"] in ("rowid", "key"):
        return sa.Column(one["name"], kind, primary_key=True)
    vss = one["kind"] if one["kind"] in ("partition", "auxiliary") else None
    return sa.Column(one["name"], kind, sqlite_vss=vss)


def _embeddings(context: Any, file: _File, tables: dict[str, sa.Table]) -> tuple[list[Any], list[Any]]:
    """Operations that go before those of tables and columns, and those that go behind."""
    wanted = {one.embeddings_name.lower(): one for table in tables.values() for one in declared_on(table)}
    there = {embedding.name.lower(): embedding for embedding in file.embeddings}
    first: list[Any] = []
    last: list[Any] = []
    for lower, embedding in there.items():
        one = wanted.get(lower)
        # What was added by hand, and not by a declaration, is nobody's business here while its table is there.
        ours = embedding.id in file.marked or embedding.source.lower() not in tables
        if one is None and ours and _included(context, embedding.name, True):
            first.append(
                DropEmbeddings(
                    embedding.name, embedding.source, _recorded(embedding, embedding.id in file.marked)
                )
            )
    for lower, one in wanted.items():
        assert one.table is not None
        if not _included(context, one.embeddings_name, False):
            continue
        asked = {**one.arguments(), "declared": True}
        known = there.get(lower)
        if known is None:
            last.append(AddEmbeddings(one.table.name, asked))
        elif (
            known.source.lower() != one.table.name.lower()
            or known.store != one.store
            or not _words_are_as_declared(known, one)
            or _loses_columns(known, one)
        ):
            first.append(DropEmbeddings(known.name, known.source, _recorded(known, known.id in file.marked)))
            last.append(AddEmbeddings(one.table.name, asked))
        elif not _is_as_declared(known, one):
            now, before = _change(asked), _change(_recorded(known, False))
            last.append(ChangeModel(known.name, now, before))
    return first, last


def _loses_columns(known: EmbeddingConfig, one: Embedded) -> bool:
    """Whether a column that is embedded now goes: a change of model needs it until ``sync`` has finished."""
    assert one.table is not None
    there = {column.name.lower() for column in one.table.c}
    return not there.issuperset(column.lower() for column in known.watched)


def _words_are_as_declared(known: EmbeddingConfig, one: Embedded) -> bool:
    if known.full_text is None or not one.full_text:
        return known.full_text is None and not one.full_text
    return known.full_text.tokenizer == (None if one.full_text is True else one.full_text)


def _included(context: Any, name: str, reflected: bool) -> bool:
    return bool(context.run_object_filters(None, name, "embeddings", reflected, None))


def _change(options: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: value for name, value in options.items() if name in ("columns", "template", "model", "chunk")
    }
    return {"model": "minilm", **kept}


def _recorded(embedding: EmbeddingConfig, declared: bool) -> dict[str, Any]:
    """Arguments of ``add_embeddings`` that lead to what is recorded."""
    newest = embedding.live[-1]
    options: dict[str, Any] = {}
    if newest.fields[0].template is not None:
        options["template"] = newest.fields[0].template
    else:
        options["columns"] = [field.name for field in newest.fields]
    if newest.model_name != "minilm":
        options["model"] = newest.model_name
    if embedding.store != "vss":
        options["store"] = embedding.store
    if newest.chunk is not None:
        options["chunk"] = (newest.chunk.tokens, newest.chunk.overlap)
    if embedding.full_text is not None:
        options["full_text"] = embedding.full_text.tokenizer or True
    if embedding.name.lower() != embedding.source.lower():
        options["name"] = embedding.name
    if declared:
        options["declared"] = True
    return options


def _is_as_declared(embedding: EmbeddingConfig, one: Embedded) -> bool:
    newest = embedding.live[-1]
    asked = one.arguments()
    if "template" in asked:
        fields = [(template_columns(asked["template"]), asked["template"])]
    else:
        fields = [((column,), None) for column in asked["columns"]]
    if fields != [(field.columns, field.template) for field in newest.fields]:
        return False
    if Chunking.of(one.chunk) != newest.chunk:
        return False
    # The name first: the model need not be on the machine that writes revisions.
    return one.model == newest.model_name or get_embedder(one.model).digest == newest.model_digest
