"""Rows as CSV and back, value for value, which Python's ``csv`` cannot: it does not tell ``""`` from nothing.

As PostgreSQL has it, quotes say text: nothing between two commas is NULL, ``""`` the empty text, ``"12"`` a text, ``12`` a
number. Blobs are ``X'00FF'``, as in SQL. What other programs wrote is read by the same rule, except that where every value of a
file has quotes (and its names too) they say nothing; and a column with something unquoted that is no number holds texts alone.
Such files may have semicolons (Excel in much of Europe) or tabs between values; written are commas.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from ._advice import Advice
from .errors import ConfigurationError

_DELIMITERS = (",", ";", "\t")
_NAMED = {",": "commas", ";": "semicolons", "\t": "tabs"}
_CHOOSE = Advice("delimiter= says which", "--delimiter says which: ',', ';' or tab")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?\Z")
_LONG = re.compile(r"-?[0-9]{19,}\Z")
_BLOB = re.compile(r"[xX]'((?:[0-9a-fA-F]{2})*)'\Z")
_SPECIAL = re.compile(r'[",\r\n]')
_SPECIAL_NAME = re.compile(
    r'[",;\t\r\n]'
)  # a first line with commas alone says that they stand between values


class _Cell(NamedTuple):
    text: str
    quoted: bool


def read_csv(
    stream: TextIO, file: str, texts: Container[str] = (), delimiter: str | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a file, by the names in its first line: texts, integers, floats, bytes, None.

    Args:
        texts: names, in small letters, of columns that hold no numbers: ``1.10`` is a text there.
        delimiter: the character between values; None: a comma, semicolon or tab, as the first line has it.

    Raises:
        ConfigurationError: what is no such file, or may have one or another delimiter; the message names the row.
        UnicodeDecodeError: it is not in the stream's encoding.
    """
    text = stream.read().removeprefix("\ufeff")  # of standard input nobody takes the mark away
    delimiter = delimiter or _delimiter_of(text, file)
    lines = _lines(text, file, delimiter)
    header = next(lines, [])
    names: set[str] = set()
    for name, _ in header:
        if name.lower() in names:
            raise ConfigurationError(f"{file}: column {name!r} is twice in the first line")
        names.add(name.lower())
    rows = []
    for number, cells in enumerate(lines, 1):
        if len(cells) != len(header):
            between = _NAMED.get(delimiter, repr(delimiter))
            raise ConfigurationError(
                f"{file}, row {number}: expected {len(header)} values with {between} between, as in the first line, got"
                f" {len(cells)}; where they are a part of a value, it needs quotes"
            )
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
    header = [_quoted(name) if not name or _SPECIAL_NAME.search(name) else name for name in columns]
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


def _delimiter_of(text: str, file: str) -> str:
    """The delimiter by which the first line has several names, and every other line as many values.

    Raises:
        ConfigurationError: there are two such.
    """
    several = [one for one in _DELIMITERS if _names_by(text, file, one) > 1]
    if len(several) == 1 and several[0] != "," and not _is_ever_between(text, file, several[0]):
        return ","  # one column, whose name has a semicolon
    if len(several) < 2:
        return several[0] if several else ","
    fitting = [one for one in several if _is_regular(text, file, one)]
    if len(fitting) > 1:
        words = " or ".join(_NAMED[one] for one in fitting)
        raise ConfigurationError(f"{file}: between its values may be {words}", advice=_CHOOSE)
    return (fitting or several)[0]


def _names_by(text: str, file: str, delimiter: str) -> int:
    """How many names the first line has; 1 where quotes are not round whole names, so that they are none."""
    try:
        header = next(_lines(text, file, delimiter), [])
    except ConfigurationError:
        return 1
    return 1 if any('"' in cell.text and not cell.quoted for cell in header) else len(header)


def _is_ever_between(text: str, file: str, delimiter: str) -> bool:
    """Whether any line after the first has it between values; so too where there is no such line."""
    try:
        others = [len(cells) for cells in _lines(text, file, delimiter)][1:]
    except ConfigurationError:
        return True
    return not others or max(others) > 1


def _is_regular(text: str, file: str, delimiter: str) -> bool:
    try:
        return len({len(cells) for cells in _lines(text, file, delimiter)}) == 1
    except ConfigurationError:
        return False


@functools.cache
def _value_before(delimiter: str) -> re.Pattern[str]:
    """A value (in quotes, and what follows them; or without) and what ends it."""
    end = re.escape(delimiter)
    return re.compile(rf'(?:"([^"]*(?:""[^"]*)*)")?([^{end}\r\n]*)({end}|\r\n|\n|\r|\Z)')


def _lines(text: str, file: str, delimiter: str) -> Iterator[list[_Cell]]:
    """The values of each line that is not empty."""
    value = _value_before(delimiter)
    at, number, cells = 0, 0, []  # type: int, int, list[_Cell]
    while at < len(text) or cells:
        found = value.match(text, at)
        if found is None or (found[1] is None and found[2].startswith('"')):
            raise ConfigurationError(
                f"{file}, row {number}: a value begins with a quote, and no quote ends it"
            )
        inner, rest, end = found.groups()
        cells.append(
            _Cell(rest, False) if inner is None else _Cell(inner.replace('""', '"') + rest, quoted=True)
        )
        at = found.end()
        if end != delimiter:
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
