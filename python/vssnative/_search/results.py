"""What a search returns: rows, and tables of rows for those who want one."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from .._words import counted
from ..errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_WIDTH = 60
_OWN = ("rank", "distance", "score", "stale")


class Result(Mapping[str, Any]):
    """A row that was found. As a mapping it is one flat record: rank, distance, score, stale and the row's columns.

    Attributes:
        rank: 1 for the best.
        key: the row's own primary key: a value, or a tuple where it has several columns.
        rowid: SQLite's rowid; None in a table without.
        distance: by the model's metric, smaller is nearer: 1 - cosine, minus the inner product, or the squared
            Euclidean distance. Infinite where the row was found by its words alone.
        score: larger is better, for sorting together and for thresholds: the similarity (cosine, inner product,
            1 / (1 + distance)) by vectors, FTS5's BM25 by words, the sum of reciprocal ranks by both.
        column: the field whose vector was nearest; None where no vector was.
        row: the row as it is now, column name to value.
        passage: the part of the text that was nearest, for chunked embeddings; None otherwise.
        stale: the row is new or changed since its vectors were made, and is waiting for sync.
        text_rank: its place in the full-text ranking, where there is one and the row is among its first.
    """

    __slots__ = (
        "_names",
        "column",
        "distance",
        "key",
        "passage",
        "rank",
        "row",
        "rowid",
        "score",
        "stale",
        "text_rank",
    )

    def __init__(
        self,
        rank: int,
        key: Any,
        rowid: int | None,
        distance: float,
        score: float,
        column: str | None,
        row: Mapping[str, Any],
        passage: str | None = None,
        stale: bool = False,
        text_rank: int | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.rank = rank
        self.key = key
        self.rowid = rowid
        self.distance = distance
        self.score = score
        self.column = column
        self.row = row
        self.passage = passage
        self.stale = stale
        self.text_rank = text_rank
        self._names = {name: name for name in row} if names is None else names

    def __getitem__(self, name: str) -> Any:
        if name in self._names:
            return self.row[self._names[name]]
        if name == "distance":
            return None if math.isinf(self.distance) else self.distance
        if name in _OWN or (name == "passage" and self.passage is not None):
            return getattr(self, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from _OWN
        yield from self._names
        if self.passage is not None and "passage" not in self._names:
            yield "passage"

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={_cut(value)!r}" for name, value in self.row.items())
        stale = "stale=True, " if self.stale else ""
        return f"Result(rank={self.rank}, key={self.key!r}, distance={self.distance:.4f}, {stale}{values})"


def record_names(table: str, columns: Sequence[str]) -> dict[str, str]:
    """Name in a flat record to column: a column called as one of ours appears as ``table.column``."""
    names: dict[str, str] = {}
    for column in columns:
        name = column
        while name.lower() in (*_OWN, "passage") or name in names or (name != column and name in columns):
            name = f"{table}.{name}"
        names[name] = column
    return names


@dataclass(frozen=True, repr=False)
class Results(Sequence[Result]):
    """The rows found, best first; a sequence of ``Result``, and a table for those who want one.

    Attributes:
        items: the results.
        columns: names of the table's columns that were selected.
        key_columns: names of the primary key's columns.
        pending: rows of the table that are waiting for sync, counted up to 10,000: new ones have no vectors yet.
        next_page: hand it to ``search(..., page=)`` for the rows that follow; None where there are no more.
    """

    items: tuple[Result, ...] = ()
    columns: tuple[str, ...] = field(default=())
    key_columns: tuple[str, ...] = ()
    pending: int = 0
    next_page: str | None = None

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Result | Results:
        if isinstance(index, slice):
            return Results(self.items[index], self.columns, self.key_columns, self.pending)
        return self.items[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.items)

    def to_dicts(self) -> list[dict[str, Any]]:
        """One flat dictionary per row: rank, distance, score, stale and the table's columns (and the passage, where
        texts are split). A column of the table that is called as one of these appears as ``table.column``."""
        return [dict(result) for result in self.items]

    records = to_dicts

    def to_pandas(self) -> pandas.DataFrame:
        """``to_dicts`` as a pandas DataFrame.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingDependencyError("to_pandas needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.to_dicts(), columns=self._names())

    def to_polars(self) -> polars.DataFrame:
        """``to_dicts`` as a polars DataFrame.

        Raises:
            MissingDependencyError: polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise MissingDependencyError("to_polars needs polars: pip install polars") from None
        records = self.to_dicts()
        data = {name: [record.get(name) for record in records] for name in self._names()}
        return polars.DataFrame(data, strict=False)

    def to_arrow(self) -> pyarrow.Table:
        """``to_dicts`` as a pyarrow Table.

        Raises:
            MissingDependencyError: pyarrow is not installed.
        """
        try:
            import pyarrow
        except ImportError:
            raise MissingDependencyError("to_arrow needs pyarrow: pip install pyarrow") from None
        records = self.to_dicts()
        return pyarrow.table({name: [record.get(name) for record in records] for name in self._names()})

    def _names(self) -> list[str]:
        if not self.items:
            return [*_OWN, *self.columns]
        return list(dict.fromkeys(name for result in self.items for name in result))

    def __str__(self) -> str:
        """An aligned table, long values cut; with a column ``stale`` where a row is."""
        lines = self._cells()
        widths = [max(len(line[number]) for line in lines) for number in range(len(lines[0]))]
        return "\n".join(
            "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def __repr__(self) -> str:
        waiting = f", {self.pending:,} waiting for sync" if self.pending else ""
        return f"<Results: {counted(len(self.items), 'row')}{waiting}>" + (f"\n{self}" if self.items else "")

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        head, *body = self._cells()
        rows = ["<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in head) + "</tr>"]
        rows += [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in body
        ]
        return f"<table>{''.join(rows)}</table>"

    def _cells(self) -> list[list[str]]:
        stale = any(result.stale for result in self.items)
        lines = [["rank", "distance", *(["stale"] if stale else []), *self.columns]]
        for result in self.items:
            values = [_cut(result.row[column]) for column in self.columns]
            distance = "-" if math.isinf(result.distance) else f"{result.distance:.4f}"
            marked = ["yes" if result.stale else ""] if stale else []
            lines.append([str(result.rank), distance, *marked, *values])
        return lines


def _cut(value: object) -> str:
    text = "" if value is None else str(value).replace("\n", " ")
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."
