"""What a source of rows is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .._sql import quote_identifier

TAKEN = {"distance", "k", "recall", "operation", "rowid", "_rowid", "oid"}
"""Names that a vss0 table has for itself."""


@dataclass(frozen=True)
class Column:
    """A column of the new table.

    Attributes:
        name: its name.
        declared: what follows the name in ``create virtual table``, for example ``(384) metric_type=COSINE`` or ``text``.
        is_vector: whether it holds vectors.
        is_auxiliary: stored, never filtered.
    """

    name: str
    declared: str
    is_vector: bool = False
    is_auxiliary: bool = False

    @property
    def declaration(self) -> str:
        """As it stands in ``create virtual table t using vss0(...)``."""
        space = "" if self.declared.startswith("(") else " "
        return f"{'+' if self.is_auxiliary else ''}{quote_identifier(self.name)}{space}{self.declared}"


@dataclass(frozen=True)
class Source:
    """Rows to import.

    Attributes:
        words: what it is, for messages: ``v (sqlite-vec)``.
        columns: the new table's columns, in the order of the values.
        has_rowid: the first value of a row is its rowid, and no column.
        rows: makes the rows, as values in that order; may be called once.
        count: how many there are.
        vectors: how many vectors each vector column has, by name.
    """

    words: str
    columns: list[Column]
    has_rowid: bool
    rows: Callable[[], Iterator[tuple[Any, ...]]]
    count: int
    vectors: dict[str, int]


def free_names(names: list[str]) -> list[str]:
    """The names, with ``_`` behind those that vss0 has for itself or that differ only in upper and lower case."""
    seen: set[str] = set()
    out = []
    for name in names:
        while name.lower() in TAKEN or name.lower() in seen or re.match(r"_slot\d+\Z", name.lower()):
            name += "_"
        seen.add(name.lower())
        out.append(name)
    return out
