"""The command ``vssnative``: each command is one call of the library, its answer as text or as a table.

machine       doctor, demo
vectors       index add, index search
tables        info, check, stats, measure-recall, optimize
embeddings    add-embeddings, change-model, rollback-model, drop-embeddings
syncing       sync, worker, status, pause, resume, dead, retry, verify, repair
searching     search, explain
data, models  import and export; model
output        what they share
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TextIO

import typer

from ..errors import VssError, VssWarning
from ..sharded.commands import app as shards_app
from . import data, embeddings, machine, models, moving, searching, syncing, tables, vectors

__all__ = ["app", "main"]


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """On standard error, without Python's words about the place in the code."""
    typer.secho(f"note: {message}", err=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeEncodeError):
        character = ascii(error.object[error.start])
        better = "utf-8:backslashreplace" if error.encoding == "utf-8" else "utf-8"
        return f"the output is in {error.encoding}, which has no character {character}; set PYTHONIOENCODING={better}"
    return str(error)


class _Commands(typer.core.TyperGroup):
    """An error that the library raises on purpose, or that a file or the output gives, is one sentence, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", VssWarning)
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads the output has seen enough: typer ends quietly
            raise
        except (VssError, sqlite3.Error, OSError, UnicodeEncodeError) as error:
            typer.secho(f"error: {_sentence(error)}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            typer.secho("interrupted; what was committed is kept, run it again to go on", err=True)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    help="Vector search inside an SQLite file, with embeddings kept in sync.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Search by words": {
        "add-embeddings": embeddings.add_embeddings,
        "sync": syncing.sync,
        "search": searching.search,
        "explain": searching.explain,
    },
    "Keep in step": {
        "status": syncing.status,
        "worker": syncing.worker,
        "pause": syncing.pause,
        "resume": syncing.resume,
        "dead": syncing.dead,
        "retry": syncing.retry,
        "verify": syncing.verify,
        "repair": syncing.repair,
    },
    "Change": {
        "change-model": embeddings.change_model,
        "rollback-model": embeddings.rollback_model,
        "drop-embeddings": embeddings.drop_embeddings,
    },
    "The file": {
        "import": data.import_command,
        "export": data.export_command,
        "upgrade": moving.upgrade_command,
        "info": tables.info,
        "stats": tables.stats,
        "measure-recall": tables.measure_recall,
        "optimize": tables.optimize,
        "check": tables.check,
    },
    "This machine": {
        "doctor": machine.doctor,
        "demo": machine.demo,
    },
}
for _panel, _commands in _COMMANDS.items():
    for _name, _function in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_function)
app.add_typer(vectors.app, name="index", rich_help_panel="More commands")
app.add_typer(models.app, name="model", rich_help_panel="More commands")
app.add_typer(shards_app, name="shards", rich_help_panel="More commands")


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="vssnative")


def _tell_version(wanted: bool) -> None:
    if wanted:
        from .. import _core

        typer.echo(f"vssnative {_core.vss0_version()}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
