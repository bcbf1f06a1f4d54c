"""``vssnative import`` of other packages' files: which they are, and the options that only they have."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _connection as connection
from .. import _display as display
from .._import import Source, blobs, chroma, faiss_file, load, sqlite_vec, vec1
from .._words import counted
from ..errors import ConfigurationError
from .output import opened, tell

FORMATS = ("sqlite-vec", "vec1", "sqlite-vector", "chroma", "faiss")


@dataclass(frozen=True)
class Choice:
    """What the options say.

    Attributes:
        source: the table or collection, if named.
        column: the blob column of ``sqlite-vector``, the new column of ``faiss``.
        metric: for those that do not tell it.
        element: type of blobs.
    """

    source: str | None = None
    column: str | None = None
    metric: str | None = None
    element: str = "float32"


def form_of(file: Path) -> str | None:
    """Which of FORMATS the file is, or None where it is none or cannot be known (blobs of sqlite-vector)."""
    if file.is_dir():
        return "chroma" if (file / "chroma.sqlite3").is_file() else None
    if file.suffix in (".faiss", ".index"):
        return "faiss"
    if not _is_database(file):
        return None
    with _read_only(file) as conn:
        if sqlite_vec.tables(conn):
            return "sqlite-vec"
        if vec1.tables(conn):
            return "vec1"
    return None


def import_vectors(database: Path, table: str, file: Path, form: str, choice: Choice, as_json: bool) -> None:
    """Make the table of what the file has."""
    with contextlib.ExitStack() as stack:
        if database.exists() and database.samefile(file):
            connection.connect(database).close()  # sets the journal mode, before anybody reads
        source = _source(stack, file, form, choice)
        conn = stack.enter_context(opened(database, make=True))
        progress = stack.enter_context(display.progress())
        task = progress.add_task(table, total=source.count)
        rows = load(conn, table, source, progress=lambda done, _: progress.update(task, completed=done))
    columns = [column.name for column in source.columns]
    words = f"{table}: {counted(rows, 'row')} of {source.words} imported: {', '.join(columns)}"
    tell(as_json, words, table=table, rows=rows, columns=columns, source=source.words)


def _source(stack: contextlib.ExitStack, file: Path, form: str, choice: Choice) -> Source:
    if form == "faiss":
        return faiss_file.open_source(file, choice.column or "embedding")
    if form == "chroma":
        if not (file / "chroma.sqlite3").is_file():
            raise ConfigurationError(f"{file}: expected a folder with chroma.sqlite3 in it")
        conn = stack.enter_context(_read_only(file / "chroma.sqlite3"))
        return chroma.open_source(conn, file, _one(chroma.collections(conn), choice, "collection", file))
    if not _is_database(file):
        raise ConfigurationError(f"{file}: expected an SQLite database")
    conn = stack.enter_context(_read_only(file))
    if form == "sqlite-vec":
        return sqlite_vec.open_source(conn, _one(sqlite_vec.tables(conn), choice, "vec0 table", file))
    if form == "vec1":
        return vec1.open_source(conn, _one(vec1.tables(conn), choice, "vec1 table", file), choice.metric)
    if choice.source is None or choice.column is None:
        raise ConfigurationError("sqlite-vector: expected --source (the table) and --column (its blobs)")
    return blobs.open_source(conn, choice.source, choice.column, element=choice.element, metric=choice.metric)


def _one(names: list[str], choice: Choice, what: str, file: Path) -> str:
    if choice.source is not None and choice.source not in names:
        raise ConfigurationError(
            f"{file}: there is no {what} {choice.source!r}; there are {', '.join(names)}"
        )
    if choice.source is None and len(names) != 1:
        found = f"{len(names)}: {', '.join(names)}" if names else "none"
        raise ConfigurationError(f"{file}: expected one {what}, or --source, got {found}")
    return choice.source or names[0]


def _is_database(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


@contextlib.contextmanager
def _read_only(path: Path) -> Iterator[Any]:
    place = f"file:{urllib.parse.quote(str(path.resolve()))}?mode=ro"
    conn = connection.connect(place, uri=True, wal=False, synchronous=None)
    try:
        # One state of it for all that is read.
        connection.execute(conn, "begin")
        yield conn
    finally:
        conn.close()
