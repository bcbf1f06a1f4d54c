"""What commands share: arguments that name files, opening a file, answers as text or as JSON, values from the command line."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _connection
from .._catalog.source import no_such_table
from .._connection import execute
from .._display import json_line, printable
from ..errors import ConfigurationError, UnknownNameError
from .failures import USAGE, Failure, about

NO_EMBEDDINGS = "{}: no table has embeddings; vssnative add-embeddings gives it some"
_UNLOCKED = (
    "{} is in WAL mode in a folder that may not be written, so it is read without locks: "
    "if another program writes it meanwhile, the answer may be wrong"
)
_MAGIC = b"SQLite format 3\0"


def existing_database(text: str) -> Path:
    """The database file of a command that makes none.

    Raises:
        Failure: it is not there, or is no SQLite database.
    """
    path = _file(text)
    if not path.exists():
        raise _unusable(f"{text}: there is no such file")
    return _database(path)


def new_or_existing_database(text: str) -> Path:
    """The database file of a command that makes it where it does not exist.

    Raises:
        Failure: it can be none.
    """
    path = _file(text)
    if path.exists():
        return _database(path)
    if not path.parent.is_dir():
        raise _no_directory(text, path)
    return path


def file_to_look_into(text: str) -> Path:
    """A file that is there, whatever it holds."""
    path = _file(text)
    if not path.exists():
        raise _unusable(f"{text}: there is no such file")
    return path


def existing_file(text: str) -> Path:
    """A file to read, ``-`` for standard input.

    Raises:
        Failure: it is not there.
    """
    return Path(text) if text == "-" else file_to_look_into(text)


def new_file(text: str) -> Path:
    """A file to write, ``-`` for standard output.

    Raises:
        Failure: there is no such directory, or it is a directory.
    """
    if text == "-":
        return Path(text)
    path = _file(text)
    if not path.parent.is_dir():
        raise _no_directory(text, path)
    return path


def existing_directory(text: str) -> Path:
    """A directory that is there.

    Raises:
        Failure: it is not.
    """
    if not text or not Path(text).is_dir():
        raise _unusable(f"{text or 'an empty name'}: there is no such directory")
    return Path(text)


def existing_file_or_directory(text: str) -> Path:
    """What ``import`` reads: a file, a directory of Chroma's, ``-`` for standard input."""
    return Path(text) if text == "-" or (text and Path(text).is_dir()) else existing_file(text)


def _unusable(sentence: str) -> Failure:
    return Failure(sentence, USAGE)


def _no_directory(text: str, path: Path) -> Failure:
    return _unusable(f"{text}: there is no directory {path.parent} to make it in")


def _file(text: str) -> Path:
    if not text:
        raise _unusable("expected the name of a file, got an empty one")
    path = Path(text)
    if path.is_dir():
        raise _unusable(f"{text} is a directory, expected a file")
    return path


def _database(path: Path) -> Path:
    """A file that can be a database: it is empty, or begins like one. What cannot be read is told when it is opened."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        start = stream.read(len(_MAGIC))
        if start and start != _MAGIC:
            raise _unusable(f"{path} is not an SQLite database")
    return path


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for other programs.")]
Database = Annotated[
    Path,
    typer.Argument(
        help="The SQLite file, made where it does not exist.",
        show_default=False,
        parser=new_or_existing_database,
        metavar="FILE",
    ),
]
ExistingDatabase = Annotated[
    Path,
    typer.Argument(help="The SQLite file.", show_default=False, parser=existing_database, metavar="FILE"),
]
TableName = Annotated[str, typer.Argument(help="The table.", show_default=False, metavar="TABLE")]
Matrix = Annotated[
    Path,
    typer.Argument(
        help="A .npy file of float32 (n, dim).",
        show_default=False,
        parser=file_to_look_into,
        metavar="MATRIX",
    ),
]
Queries = Annotated[
    Path,
    typer.Argument(
        help="A .npy file of float32 (nq, dim).",
        show_default=False,
        parser=file_to_look_into,
        metavar="QUERIES",
    ),
]
Params = Annotated[
    list[str] | None, typer.Option("--param", "-p", help="The value of a ?; may be given several times.")
]


@contextlib.contextmanager
def opened(path: Path, *, write: bool = True, make: bool = False) -> Iterator[sqlite3.Connection]:
    """The file, with vss0 loaded. A command that only reads leaves it as it is, its journal mode too.

    Args:
        write: False opens it read-only; without locks where it can be read in no other way, which a note says.
        make: make it where it does not exist; where the block fails before it has made a table, it is gone again.

    Raises:
        Failure: for each error within the block, naming the file.
    """
    made = make and not path.exists()
    mode = "rwc" if make else "rw"
    place = f"file:{urllib.parse.quote(str(path.resolve()))}?mode={mode}"
    try:
        with about(path):
            if write:
                conn = _connection.connect(place, uri=True)
            else:
                conn, unlocked = _connection.connect_to_read(path)
                if unlocked is not None:
                    typer.echo(f"note: {_UNLOCKED.format(printable(str(path)))}", err=True)
            with contextlib.closing(conn):
                yield conn
    except BaseException:
        if made:
            _remove_empty(path)
        raise


def _remove_empty(path: Path) -> None:
    """Remove a file without any table that nobody else has opened (a ``-wal`` beside it would say so)."""
    with contextlib.suppress(OSError, sqlite3.Error):
        if not path.exists() or Path(f"{path}-wal").exists():
            return
        with contextlib.closing(sqlite3.connect(path)) as conn:
            [(tables,)] = conn.execute("select count(*) from sqlite_master")
        if tables == 0 and not Path(f"{path}-wal").exists():
            path.unlink()


def check_table(conn: sqlite3.Connection, table: str) -> None:
    """That a table or view of that name is in the file.

    Raises:
        UnknownNameError: says which are.
    """
    there = "select 1 from main.sqlite_master where type in ('table', 'view') and name = ? collate nocase"
    if not execute(conn, there, (table,)):
        raise UnknownNameError(no_such_table(conn, table))


def tell(as_json: bool, words: str, **values: object) -> None:
    """One answer, as a sentence or as a JSON object."""
    if as_json:
        tell_json(values)
    else:
        typer.echo(printable(words, lines=True))


def tell_json(*objects: object) -> None:
    """Each as a JSON object on a line of its own."""
    for one in objects:
        typer.echo(json_line(one))


def from_input(text: str) -> str:
    """A text from the command line, or all of standard input where it is ``-``.

    Raises:
        ConfigurationError: it is not UTF-8.
    """
    found = sys.stdin.read().strip() if text == "-" else text
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise ConfigurationError("the query is not UTF-8")
    return found


def values_of(params: Sequence[str] | None) -> list[Any]:
    """Values for the ``?`` of a condition: what is written as a number is one; ``007`` and ``1e3`` are texts."""
    return [_value(text) for text in params or ()]


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        if str(number) == text:
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise ConfigurationError(f"-p {text}: SQLite's integers have 64 bits, this needs more")
            return number
    return text
