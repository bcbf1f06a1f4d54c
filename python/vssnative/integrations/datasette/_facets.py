"""Facets beside the results: columns of few values, with the rows that have each; a click filters by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasette.database import QueryInterrupted
from datasette.utils import path_with_added_args, path_with_removed_args

from ..._catalog.records import EmbeddingConfig
from ..._sql import quote_identifier

_SAMPLE = 1000
_FEWEST, _MOST = 2, 20
_SUGGESTED = 4
_LONGEST = 40


@dataclass(frozen=True)
class Value:
    """One value of a facet."""

    value: Any
    label: str
    count: int
    selected: bool
    toggle_url: str


@dataclass(frozen=True)
class Facet:
    """A column, its most frequent values, and whether there are more."""

    name: str
    values: tuple[Value, ...]
    truncated: bool


async def facets_of(
    datasette: Any,
    db: Any,
    embedding: EmbeddingConfig,
    asked: Sequence[str],
    where: str | None,
    params: dict[str, Any],
    request: Any,
) -> list[Facet]:
    """The columns that were asked for or that the metadata name, else those that a sample suggests.

    What takes longer than Datasette allows a facet is left out.
    """
    if not datasette.setting("allow_facet"):
        asked = ()
    table = embedding.source
    info = (await db.execute(f"pragma table_xinfo({quote_identifier(table)})")).rows
    columns = [row["name"] for row in info if row["hidden"] != 1]
    named = [*asked, *(datasette.table_metadata(db.name, table).get("facets") or [])]
    chosen = [name for name in dict.fromkeys(one for one in named if isinstance(one, str)) if name in columns]
    if not chosen:
        left_out = {*embedding.key_columns, *embedding.watched, *_filtered(request, columns)}
        plain = [
            row["name"] for row in info if row["name"] in columns and "BLOB" not in str(row["type"]).upper()
        ]
        chosen = _filtered(request, columns)
        for name in plain:
            if len(chosen) >= _SUGGESTED:
                break
            if name not in left_out and await _is_facet(datasette, db, table, name):
                chosen.append(name)
    facets = []
    for name in chosen:
        facet = await _counted(datasette, db, table, name, where, params, request)
        if facet is not None and facet.values:
            facets.append(facet)
    return facets


def _filtered(request: Any, columns: Sequence[str]) -> list[str]:
    """Columns that are filtered by a value: they must show, so that the filter can be taken away."""
    return [name for name in columns if any(_argument(name, kind) in request.args for kind in ("", "exact"))]


def _argument(name: str, kind: str) -> str:
    return f"{name}__{kind}" if kind else name


async def _is_facet(datasette: Any, db: Any, table: str, name: str) -> bool:
    column = quote_identifier(name)
    sql = (
        f"select count(*) as n, count(distinct {column}) as d, max(length({column})) as l, max({column} glob '*[0-9]:[0-9][0-9]*') as t"
        f" from (select {column} from {quote_identifier(table)} limit {_SAMPLE})"
    )
    try:
        row = (
            await db.execute(sql, custom_time_limit=datasette.setting("facet_suggest_time_limit_ms"))
        ).first()
    except QueryInterrupted:
        return False
    # Times of day are hardly ever what somebody wants to choose from.
    few = _FEWEST <= row["d"] <= _MOST and row["d"] < row["n"]
    return few and (row["l"] or 0) <= _LONGEST and not row["t"]


async def _counted(
    datasette: Any, db: Any, table: str, name: str, where: str | None, params: dict[str, Any], request: Any
) -> Facet | None:
    column = quote_identifier(name)
    size = int(datasette.setting("default_facet_size"))
    sql = (
        f"select {column} as value, count(*) as n from {quote_identifier(table)}"
        f" where {where or '1'} group by 1 order by 2 desc, 1 limit {size + 1}"
    )
    try:
        rows = (
            await db.execute(
                sql, params, custom_time_limit=datasette.setting("facet_time_limit_ms"), log_sql_errors=False
            )
        ).rows
    except Exception as error:
        if isinstance(error, QueryInterrupted) or type(error).__name__ == "OperationalError":
            return None
        raise
    values = tuple(_value(name, row["value"], row["n"], request) for row in rows[:size])
    return Facet(name, values, len(rows) > size)


def _value(name: str, value: Any, count: int, request: Any) -> Value:
    argument = f"{name}__isnull" if value is None else f"{name}__exact" if name.startswith("_") else name
    text = "1" if value is None else str(value)
    selected = text in request.args.getlist(argument)
    # Another filter begins with the first page.
    url = (
        path_with_removed_args(request, {argument: text, "_next": request.args.get("_next")})
        if selected
        else path_with_added_args(request, {argument: text, "_next": None})
    )
    return Value(value, "-" if value is None or text == "" else text, count, selected, url)
