"""What is shown of a row that was found: a heading, a part of its text with the words marked, and its other columns."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from ..._catalog.records import EmbeddingConfig
from ..._connection import execute
from ..._search import Result
from ..._sql import quote_identifier

_LENGTH = 260
_HEADING = 120
_OTHERS = 6
_OTHER_LENGTH = 40


@dataclass(frozen=True)
class Shown:
    """A row as the page shows it."""

    result: Result
    heading: str
    snippet: Markup
    others: tuple[tuple[str, str], ...]
    closeness: str


def shown_of(result: Result, embedding: EmbeddingConfig, label: str | None, query: str) -> Shown:
    """A found row for the page.

    Args:
        label: the column that Datasette takes for the row's name.
        query: its words are marked.
    """
    row = result.row
    texts = _texts(embedding)
    heading_column, heading = heading_of(row, embedding, label)
    text = result.passage
    if text is None:
        # The field that was nearest; its text may be the heading already.
        order = texts
        if result.column is not None:
            near = embedding.active.field(result.column).columns
            order = [*near, *(column for column in texts if column not in near)]
        rest = [
            row[column] for column in order if column != heading_column and isinstance(row.get(column), str)
        ]
        text = next((one for one in rest if one.strip()), "")
    others: list[tuple[str, str]] = []
    for name, value in row.items():
        if name in texts or name == heading_column or name in embedding.key_columns or value in (None, ""):
            continue
        words = "binary" if isinstance(value, bytes) else _one_line(value)
        if len(others) < _OTHERS:
            others.append((name, words if len(words) <= _OTHER_LENGTH else f"{words[:_OTHER_LENGTH]}…"))
    key = result.key if isinstance(result.key, tuple) else (result.key,)
    closeness = "" if math.isinf(result.distance) else f"{result.distance:.3f}"
    return Shown(
        result,
        heading or ", ".join(map(str, key)),
        _marked(_one_line(text), query),
        tuple(others),
        closeness,
    )


def heading_of(
    row: Mapping[str, Any], embedding: EmbeddingConfig, label: str | None
) -> tuple[str | None, str]:
    """The column whose text stands above a row, and that text, shortened; None and nothing where there is no text."""
    column = label if label is not None and row.get(label) else None
    if column is None:
        column = next(
            (one for one in _texts(embedding) if isinstance(row.get(one), str) and row[one].strip()), None
        )
    return column, "" if column is None else _shortened(_one_line(row[column]), _HEADING)


def row_of(conn: Any, embedding: EmbeddingConfig, key: Sequence[Any]) -> dict[str, Any]:
    """A row by its key, without blobs."""
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(embedding.source)})")
    names = [row[1] for row in info if row[6] != 1 and "BLOB" not in str(row[2]).upper()]
    where = " and ".join(f"{quote_identifier(name)} = ?" for name in embedding.key_columns)
    columns = ", ".join(map(quote_identifier, names))
    rows = execute(
        conn, f"select {columns} from main.{quote_identifier(embedding.source)} where {where}", tuple(key)
    )
    return dict(zip(names, rows[0], strict=True)) if rows else {}


def _texts(embedding: EmbeddingConfig) -> list[str]:
    """The embedded columns."""
    return list(dict.fromkeys(column for field in embedding.active.fields for column in field.columns))


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _shortened(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    cut = text[:length].rsplit(" ", 1)[0]
    return f"{cut}…"


def _marked(text: str, query: str) -> Markup:
    """The part of a text where the query's words begin, as HTML with those words marked."""
    words = sorted(
        {word for word in re.findall(r"\w+", query.lower()) if len(word) > 2}, key=len, reverse=True
    )
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")", re.IGNORECASE) if words else None
    first = pattern.search(text) if pattern is not None else None
    start = 0
    if first is not None and first.start() > _LENGTH - 60:
        start = text.rfind(" ", 0, max(first.start() - 80, 0)) + 1
    part = ("…" if start else "") + _shortened(text[start:], _LENGTH)
    if pattern is None:
        return escape(part)
    made, at = Markup(""), 0
    for match in pattern.finditer(part):
        made += (
            escape(part[at : match.start()]) + Markup("<mark>") + escape(match.group()) + Markup("</mark>")
        )
        at = match.end()
    return made + escape(part[at:])
