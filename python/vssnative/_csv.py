"""Rows as CSV and back, value for value, which Python's ``csv`` cannot: it does not tell ``""`` from nothing.

As PostgreSQL has it, quotes say text: nothing between two commas is NULL, ``""`` the empty text, ``"12"`` a text, ``12`` a
number. Blobs are ``X'00FF'``, as in SQL. What other programs wrote is read by the same rule, except that where every value of a
file has quotes (and its names too) they say nothing; and a column with something unquoted that is no number holds texts alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from .errors import ConfigurationError

_VALUE = re.compile(r'(?:"([^"]*(?:""[^"]*)*)")?([^,\r\n]*)(,|\r\n|\n|\r|\Z)')
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?\Z")
_LONG = re.compile(r"-?[0-9]{19,}\Z")
_BLOB = re.compile(r"[xX]'((?:[0-9a-fA-F]{2})*)'\Z")
_SPECIAL = re.compile(r'[",\r\n]')


class _Cell(NamedTuple):
    text: str
    quoted: bool


def read_csv(stream: TextIO, file: str, texts: Container[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of a file, by the names in its first line: texts, integers, floats, bytes, None.

    Args:
        texts: names, in small letters, of columns that hold no numbers: ``1.10`` is a text there.

    Raises:
        ConfigurationError: what is no such file; the message names the row.
        UnicodeDecodeError: it is not in the stream's encoding.
    """
    lines = _lines(stream.read().removeprefix("\ufeff"), file)  # of standard input nobody takes the mark away
    header = next(lines, [])
    names: set[str] = set()
    for name, _ in header:
        if name.lower() in names:
            raise ConfigurationError(f"{file}: column {name!r} is twice in the first line")
        names.add(name.lower())
    rows = []
    for number, cells in enumerate(lines, 1):
        if len(cells) != len(header):
            raise ConfigurationError(f"{file}, row {number}: it has not as many values as the first line")
        rows.append(cells)
    columns = list(zip(*rows, strict=True))
    quotes_say = any(cell.text and not cell.quoted for column in (header, *columns) for cell in column)
    values = [
        _values(column, quotes_say, name.lower() in texts)
        for (name, _), column in zip(header, columns, strict=bool(rows))
    ]
    for row in zip(*values, strict=True):
        yield {name: value for (name, _), value in zip(header, row, strict=True)}


def write_csv(stream: TextIO, columns: Sequence[str], rows: Sequence[Sequence[Any]], file: str) -> None:
    """Rows of SQLite's values, so that ``read_csv`` gives back the same.

    Raises:
        ConfigurationError: rows that have no such form; nothing is written then.
    """
    header = [_quoted(name) if not name or _SPECIAL.search(name) else name for name in columns]
    written = [_written([row[at] for row in rows]) for at in range(len(columns))]
    if len(columns) == 1 and "" in written[0]:
        raise ConfigurationError(
            f"{file}: a CSV file of one column cannot hold NULL, which is an empty line; export to .jsonl"
        )
    all_quoted = all(cell.startswith('"') or not cell for column in (header, *written) for cell in column)
    if all_quoted and any(_number(text) is not None for row in rows for text in row if isinstance(text, str)):
        raise ConfigurationError(
            f"{file}: in a CSV file in which every value has quotes, texts that are digits would be numbers; export to .jsonl"
        )
    stream.write(",".join(header) + "\r\n")
    for row in zip(*written, strict=True):
        stream.write(",".join(row) + "\r\n")


def _lines(text: str, file: str) -> Iterator[list[_Cell]]:
    """The values of each line that is not empty."""
    at, number, cells = 0, 0, []  # type: int, int, list[_Cell]
    while at < len(text) or cells:
        found = _VALUE.match(text, at)
        if found is None or (found[1] is None and found[2].startswith('"')):
            raise ConfigurationError(
                f"{file}, row {number}: a value begins with a quote, and no quote ends it"
            )
        inner, rest, end = found.groups()
        cells.append(
            _Cell(rest, False) if inner is None else _Cell(inner.replace('""', '"') + rest, quoted=True)
        )
        at = found.end()
        if end != ",":
            if len(cells) > 1 or cells[0] != ("", False):
                number += 1
                yield cells
            cells = []
            if not end:
                return


def _values(column: Sequence[_Cell], quotes_say: bool, is_text: bool) -> list[Any]:
    bare = [cell.text for cell in column if cell.text and not (cell.quoted and quotes_say)]
    known: list[int | float | bytes | str | None] = [_number(text) for text in bare]
    if is_text:
        known = [value if isinstance(value, bytes) else text for text, value in zip(bare, known, strict=True)]
    # A word "nan" among numbers is none of them, and NULL in SQLite; by itself it is a word.
    if any(value is None for value in known) or (known and all(value != value for value in known)):
        return [None if _is_null(cell) else cell.text for cell in column]
    numbers = dict(zip(bare, known, strict=True))
    if not quotes_say:
        if not numbers:
            return [None if _is_null(cell) else cell.text for cell in column]
        return [numbers.get(cell.text) for cell in column]
    return [cell.text if cell.quoted else None if not cell.text else numbers[cell.text] for cell in column]


def _is_null(cell: _Cell) -> bool:
    return not cell.text and not cell.quoted


def _number(text: str) -> int | float | bytes | None:
    """What an unquoted value stands for; None: for itself. Codes such as 007 do, and integers of more than 64 bits."""
    if _LONG.match(text) and (len(text) > 20 or not -(2**63) <= int(text) < 2**63):
        return None
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        if isinstance(number, int) and not -(2**63) <= number < 2**63:
            return None  # as a float it would lose digits
        if str(number) == text or (
            kind is float and math.isfinite(number) and _PLAIN_NUMBER.match(text) is not None
        ):
            return number
    blob = _BLOB.match(text)
    return None if blob is None else bytes.fromhex(blob[1])


def _written(values: Sequence[Any]) -> list[str]:
    plain = all(value is None or isinstance(value, str) for value in values)
    return [
        _text(value, plain)
        if isinstance(value, str)
        else ""
        if value is None
        else f"X'{value.hex().upper()}'"
        if isinstance(value, bytes)
        else repr(value)
        for value in values
    ]


def _text(text: str, plain: bool) -> str:
    """With quotes where it needs them: beside numbers, or where it looks like one."""
    if plain and text and not _SPECIAL.search(text) and _number(text) is None:
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
