"""What this machine has, what of it works with vssnative, and what to do about the rest: ``vssnative doctor``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ._advice import command
from ._connection import connect_to_read, driver_error, execute, load_by, loadable_path
from ._sql import quote_identifier
from ._words import counted
from .errors import VssError

State = Literal["ok", "note", "fault"]

_DRIVERS = ("sqlite3", "pysqlite3", "sqlean", "apsw")

_ONLY_READ = (
    "commands that only read do so without locks, for which nobody may write the file meanwhile;"
    " to write to it, copy it to a directory that may be written"
)

# What each package is for, and what brings it; None: it comes with vssnative itself.
_PACKAGES = {
    "numpy": ("everything", None),
    "platformdirs": ("everything", None),
    "tokenizers": ("embeddings on this machine", "pip install 'vssnative[local]'"),
    "safetensors": ("embeddings on this machine", "pip install 'vssnative[local]'"),
    "huggingface_hub": ("models from the hub", "pip install 'vssnative[local]'"),
    "onnxruntime": ("models that come as ONNX files", "pip install 'vssnative[onnx]'"),
    "onnx": ("models that come as ONNX files", "pip install 'vssnative[onnx]'"),
    "httpx": ("hosted models", "pip install 'vssnative[hosted]'"),
    "tenacity": ("hosted models", "pip install 'vssnative[hosted]'"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        subject: what was looked at.
        state: ``ok``; ``note``: not there, and only needed for some uses; ``fault``: it should work and does not.
        found: what was found, in words.
        advice: what to do, None where there is nothing to do.
    """

    subject: str
    state: State
    found: str
    advice: str | None = None


def diagnose(database: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Look at the interpreter, the extension, the SQLite drivers, the embedding packages, and one database.

    Args:
        database: a file to look into, read only; None for none.
    """
    findings = [*_installation(), *_drivers(), *_packages()]
    if database is not None:
        findings.extend(_database(database))
    return findings


def _installation() -> Iterator[Finding]:
    python = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("python", "ok", f"{python}, {sys.executable}")
    try:
        from . import _core
    except ImportError as error:
        yield Finding(
            "vssnative", "fault", f"its native part cannot be imported: {error}", "reinstall vssnative"
        )
        return
    yield Finding(
        "vssnative",
        "ok",
        f"{_core.vss0_version()}, kernels for {_core.simd_level()}, {_core.threads()} threads,"
        f" {_core.memory_budget() / 2**20:,.0f} MB of memory for searches",
    )
    try:
        path = loadable_path()
        yield Finding("vss0", "ok", f"{path} ({Path(path).stat().st_size / 2**20:.1f} MB)")
    except VssError as error:
        yield Finding("vss0", "fault", str(error), "reinstall vssnative")


def _drivers() -> Iterator[Finding]:
    for name in _DRIVERS:
        if importlib.util.find_spec(name) is None:
            yield Finding(name, "note", "not installed; needed only by those who use this driver")
            continue
        try:
            module = importlib.import_module(name)
            conn = module.Connection(":memory:") if name == "apsw" else module.connect(":memory:")
        except Exception as error:  # noqa: BLE001  (a broken package may fail in any way)
            yield Finding(name, "fault", f"cannot be used: {error}", f"reinstall {name}, or leave it out")
            continue
        try:
            way = load_by(conn)
            [(version,)] = execute(conn, "select sqlite_version()")
            yield Finding(name, "ok", f"SQLite {version}, vss0 loads {way}")
        except VssError as error:
            yield Finding(name, "fault", str(error), "use another of the drivers listed here")
        finally:
            conn.close()


def _packages() -> Iterator[Finding]:
    for name, (purpose, brought_by) in _PACKAGES.items():
        if importlib.util.find_spec(name) is not None:
            yield Finding(name, "ok", f"installed, for {purpose}")
        elif brought_by is None:
            yield Finding(name, "fault", f"not installed, needed for {purpose}", f"pip install {name}")
        else:
            yield Finding(name, "note", f"not installed, needed for {purpose}", brought_by)
    from .embedding.minilm import find_minilm

    model = find_minilm()
    if model is not None:
        yield Finding("model minilm", "ok", f"{model.directory} ({model.origin})")
    else:
        yield Finding(
            "model minilm",
            "note",
            "not here; it is downloaded when first used",
            "vssnative model pull minilm; without a network vssnative model import DIRECTORY",
        )


def _database(database: str | os.PathLike[str]) -> Iterator[Finding]:
    path = Path(database)
    if not path.is_file():
        yield Finding("database", "fault", f"{path} is no file", "check the name")
        return
    size = f"{path}, {path.stat().st_size / 2**20:,.1f} MB"
    try:
        conn, refused = connect_to_read(path)
    except Exception as error:  # noqa: BLE001  (whatever is wrong with the file, the rest of the report stands)
        yield Finding("database", "fault", str(error), "is it an SQLite database, and readable?")
        return
    try:
        [(journal,)] = execute(conn, "pragma journal_mode")
        if refused is not None:
            yield Finding("database", "note", f"{size}; {refused}", _ONLY_READ)
        else:
            advice = "the first vssnative command that writes switches it to wal, where readers never wait"
            yield Finding(
                "database", "ok", f"{size}, journal {journal}", None if journal == "wal" else advice
            )
        tables = execute(
            conn,
            "select name from sqlite_master where type = 'table' and sql like '%using%vss0%' order by name",
        )
        for (table,) in tables:
            try:
                [(count,)] = execute(conn, f"select count(*) from {quote_identifier(table)}")
                yield Finding(f"table {table}", "ok", counted(count, "row"))
            except driver_error(conn) as error:
                yield Finding(f"table {table}", "fault", str(error), command("check", table, file=path))
    except driver_error(conn) as error:
        yield Finding("database", "fault", str(error), "is it an SQLite database, and readable?")
    finally:
        conn.close()
