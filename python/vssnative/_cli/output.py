"""What commands share: opening a file, answers as text or as JSON, values from the command line."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _connection
from ..errors import ConfigurationError

NO_EMBEDDINGS = "{}: no table has embeddings; vssnative add-embeddings gives it some"

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for other programs.")]
Database = Annotated[Path, typer.Argument(help="The SQLite file.", show_default=False)]
ExistingDatabase = Annotated[
    Path, typer.Argument(help="The SQLite file.", exists=True, dir_okay=False, show_default=False)
]
TableName = Annotated[str, typer.Argument(help="The table.", show_default=False)]
Matrix = Annotated[
    Path,
    typer.Argument(help="A .npy file of float32 (n, dim).", exists=True, dir_okay=False, show_default=False),
]
Params = Annotated[
    list[str] | None, typer.Option("--param", "-p", help="The value of a ?; may be given several times.")
]


@contextlib.contextmanager
def opened(path: Path, *, write: bool = True) -> Iterator[sqlite3.Connection]:
    """The file, with vss0 loaded. A command that only reads leaves it as it is, its journal mode too."""
    try:
        if write:
            conn = _connection.connect(path)
        else:
            place = f"file:{urllib.parse.quote(str(path.resolve()))}?mode=ro"
            conn = _connection.connect(place, uri=True, wal=False, synchronous=None)
    except sqlite3.Error as error:
        raise ConfigurationError(f"{path}: {error}") from None
    try:
        yield conn
    finally:
        conn.close()


def tell(as_json: bool, words: str, **values: object) -> None:
    """One answer, as a sentence or as a JSON object."""
    if as_json:
        tell_json(values)
    else:
        typer.echo(words)


def tell_json(*objects: object) -> None:
    """Each as a JSON object on a line of its own."""
    for one in objects:
        typer.echo(json.dumps(one, ensure_ascii=False, default=repr))


def values_of(params: Sequence[str] | None) -> list[Any]:
    """Values for the ``?`` of a condition: what is written as a number is one; ``007`` and ``1e3`` are texts."""
    return [_value(text) for text in params or ()]


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number: int | float = kind(text)
            if str(number) == text:
                return number
    return text
