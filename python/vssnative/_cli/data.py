"""``vssnative import`` and ``vssnative export``: rows from and to csv, jsonl and parquet."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .._connection import execute, transaction
from .._csv import read_csv, write_csv
from .._sql import quote_identifier
from .._words import counted
from ..errors import ConfigurationError, MissingDependencyError
from . import importing
from .failures import USAGE, ContentError, Failure
from .output import (
    AsJson,
    Database,
    ExistingDatabase,
    TableName,
    check_table,
    existing_file_or_directory,
    new_file,
    opened,
    tell,
)

_FORMATS = ("csv", "jsonl", "parquet")
_PIPED = ("csv", "jsonl")

Format = Annotated[
    str | None, typer.Option("--format", help="csv, jsonl or parquet; by the file's name if left out.")
]


def _delimiter(text: str) -> str:
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigurationError(f"expected one character that is no quote, or tab, got {text!r}")
    return delimiter


def import_command(
    database: Database,
    table: Annotated[
        str,
        typer.Argument(
            help="The table; made, with an id of its own, where it does not exist.",
            show_default=False,
            metavar="TABLE",
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            help="The file to read, - for standard input.",
            show_default=False,
            parser=existing_file_or_directory,
            metavar="SOURCE",
        ),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="csv, jsonl or parquet; sqlite-vec, vec1, sqlite-vector, chroma or faiss, whose vectors make a new vss0 "
            "table. By the file if left out (but for sqlite-vector).",
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="The table or collection in the file, where there are several.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="sqlite-vector: the column of blobs; faiss: the new column's name.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="vec1, sqlite-vector: L2, COSINE, INNER_PRODUCT, ... if not L2.")
    ] = None,
    element: Annotated[
        str, typer.Option("--type", help="sqlite-vector: float32, float16, bfloat16 or int8.")
    ] = "float32",
    delimiter: Annotated[
        str | None,
        typer.Option(
            help="csv: what stands between values, one character or tab. Comma, ; or tab are found out if left out.",
            parser=_delimiter,
            metavar="CHARACTER",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the rows of a file into a table, all or none.

    Tables of vectors of other packages (sqlite-vec, vec1, sqlite-vector, chroma, faiss) become vss0 tables.

    Example: vssnative import blog.db posts posts.csv
    """
    vectors = form if form in importing.FORMATS else importing.form_of(file) if form is None else None
    if vectors is not None:
        choice = importing.Choice(source, column, metric, element)
        importing.import_vectors(database, table, file, vectors, choice, as_json)
        return
    if file.is_dir():
        raise Failure(f"{file} is a directory, expected a file", USAGE)
    if form is None and file.suffix.lower() == ".tsv":
        form, delimiter = "csv", delimiter or "\t"
    kind = _format(file, form, (*_FORMATS, *importing.FORMATS))
    if delimiter is not None and kind != "csv":
        raise ConfigurationError(f"--delimiter is for csv, not for {kind}")
    with opened(database, make=True) as conn, transaction(conn):
        rows = _read(file, kind, _text_columns(conn, table), delimiter)
        columns: list[str] | None = None
        count = 0
        for row in rows:
            if columns is None:
                columns = list(row)
                _make_table(conn, table, columns, row)
            if set(row) - set(columns):
                extra = sorted(set(row) - set(columns))[0]
                raise ContentError(f"{file}, row {count + 1}: column {extra!r} is not in the first row")
            marks = ", ".join("?" * len(columns))
            names = ", ".join(map(quote_identifier, columns))
            execute(
                conn,
                f"insert into main.{quote_identifier(table)}({names}) values ({marks})",
                [_stored(row.get(column), file, count + 1, column) for column in columns],
            )
            count += 1
        if columns is None:
            raise ContentError(f"{file}: there are no rows")
    tell(as_json, f"{table}: {counted(count, 'row')} imported", table=table, rows=count)


def export_command(
    database: ExistingDatabase,
    table: TableName,
    file: Annotated[
        Path,
        typer.Argument(
            help="The file to write, - for standard output.",
            show_default=False,
            parser=new_file,
            metavar="TARGET",
        ),
    ],
    form: Format = None,
    as_json: AsJson = False,
) -> None:
    """Write a table's rows to a file.

    Example: vssnative export blog.db posts posts.jsonl
    """
    kind = _format(file, form)
    with opened(database, write=False) as conn:
        check_table(conn, table)
        name = quote_identifier(table)
        info = execute(conn, f"pragma main.table_xinfo({name})")
        columns = [row[1] for row in info if row[6] != 1]
        selected = ", ".join(map(quote_identifier, columns))
        rows = execute(conn, f"select {selected} from main.{name}")
    _write(file, kind, columns, rows)
    if str(file) == "-":
        typer.echo(counted(len(rows), "row"), err=True)
    else:
        tell(as_json, f"{file}: {counted(len(rows), 'row')}", file=str(file), rows=len(rows))


def _format(file: Path, asked: str | None, known: tuple[str, ...] = _FORMATS) -> str:
    kind = asked or file.suffix.lstrip(".").lower()
    kind = {"ndjson": "jsonl", "pq": "parquet"}.get(kind, kind)
    if kind not in _FORMATS:
        if asked is not None:
            raise ConfigurationError(f"--format: expected {', '.join(known)}, got {asked!r}")
        if str(file) == "-":
            raise ConfigurationError(f"-: say what it is, --format {' or '.join(_PIPED)}")
        other = ", a file of another package with vectors" if len(known) > len(_FORMATS) else ""
        raise ConfigurationError(f"{file}: expected a .csv, .jsonl or .parquet file{other}, or --format")
    return kind


def _make_table(conn: Any, table: str, columns: list[str], first: dict[str, Any]) -> None:
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(table)})")
    if info:
        there = [row[1] for row in info]
        missing = [name for name in columns if name.lower() not in map(str.lower, there)]
        if missing:
            raise ContentError(f"{table} has no column {missing[0]!r}; it has {', '.join(there)}")
        return
    # Without a declared type a value stays what it is in the file.
    declared = ["id integer primary key"] if "id" not in map(str.lower, columns) else []
    declared += [
        f"{quote_identifier(c)} {'integer ' if isinstance(first[c], int) else ''}primary key"
        if c.lower() == "id"
        else quote_identifier(c)
        for c in columns
    ]
    execute(conn, f"create table main.{quote_identifier(table)}({', '.join(declared)})")


def _text_columns(conn: Any, table: str) -> frozenset[str]:
    """Names, in small letters, of the columns in which SQLite makes texts of numbers (datatype3.html, 3.1)."""
    info = execute(conn, f"pragma main.table_xinfo({quote_identifier(table)})")
    types = {row[1].lower(): row[2].upper() for row in info}
    return frozenset(
        name
        for name, declared in types.items()
        if "INT" not in declared and any(word in declared for word in ("CHAR", "CLOB", "TEXT"))
    )


def _read(file: Path, kind: str, texts: frozenset[str], delimiter: str | None) -> Iterator[dict[str, Any]]:
    if kind == "parquet":
        file.stat()  # that it is not there Arrow says without words
        with _parquet(file) as parquet:
            found = parquet.read_table(file).to_pylist()
        yield from found
        return
    source = sys.stdin.buffer if str(file) == "-" else open(file, "rb")  # noqa: SIM115
    stream = io.TextIOWrapper(source, encoding="utf-8-sig", newline="")
    try:
        if kind == "csv":
            try:
                yield from read_csv(stream, str(file), texts, delimiter)
            except ConfigurationError as error:
                raise ContentError(error.in_shell()) from None
            return
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ContentError(
                    f"{file}, line {number}, column {error.colno}: expected a JSON object, {error.msg}"
                ) from None
            if not isinstance(record, dict):
                raise ContentError(f"{file}, line {number}: expected a JSON object")
            yield record
    except UnicodeDecodeError as error:
        raise ContentError(
            f"{file}: expected UTF-8, {error.reason}; Excel writes that as CSV UTF-8"
        ) from None
    finally:
        if str(file) == "-":
            stream.detach()
        else:
            stream.close()


def _write(file: Path, kind: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    if kind == "parquet":
        with _parquet(file) as parquet:
            import pyarrow

            table = pyarrow.table(
                {name: _of_one_type(file, name, [row[at] for row in rows]) for at, name in enumerate(columns)}
            )
            with open(file, "wb") as out:
                parquet.write_table(table, out)
        return
    stream = sys.stdout if str(file) == "-" else open(file, "w", encoding="utf-8", newline="")  # noqa: SIM115
    try:
        if kind == "csv":
            write_csv(stream, columns, rows, str(file))
            return
        for row in rows:
            record = dict(zip(columns, row, strict=True))
            stream.write(json.dumps(record, ensure_ascii=False, default=_blob) + "\n")
    finally:
        if stream is not sys.stdout:
            stream.close()


def _of_one_type(file: Path, name: str, values: list[Any]) -> Any:
    """A column of a parquet file.

    Raises:
        ContentError: it has values of several types.
    """
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        words = {int: "integers", float: "floats", str: "texts", bytes: "blobs"}
        kinds = [word for kind, word in words.items() if any(type(value) is kind for value in values)]
        if len(kinds) < 2:
            raise
        raise ContentError(
            f"{file}: column {name!r} has {' and '.join(kinds)}, in parquet a column has one type; csv and jsonl keep them"
        ) from None


@contextlib.contextmanager
def _parquet(file: Path) -> Iterator[Any]:
    """``pyarrow.parquet``; what it cannot read or write within the block is an error that names the file."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("parquet files need pyarrow: pip install pyarrow") from None
    try:
        yield pyarrow.parquet
    except OSError as error:
        if error.filename is not None:
            raise
        raise ContentError(f"{file}: {error}") from None  # bytes that are damaged, among others
    except pyarrow.ArrowException as error:
        raise ContentError(f"{file}: {error}") from None


def _blob(value: bytes) -> dict[str, object]:
    """As sqlite-utils writes a blob in JSON."""
    return {"$base64": True, "encoded": base64.b64encode(value).decode()}


def _stored(value: Any, file: Path, row: int, column: str) -> Any:
    """Lists and objects as JSON text, except those that stand for a blob."""
    if isinstance(value, dict) and set(value) == {"$base64", "encoded"} and value["$base64"] is True:
        with contextlib.suppress(binascii.Error, TypeError, ValueError):
            return base64.b64decode(value["encoded"], validate=True)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ContentError(
            f"{file}, row {row}, column {column!r}: SQLite's integers have 64 bits, {value} needs more"
        )
    return value


__all__ = ["export_command", "import_command"]
