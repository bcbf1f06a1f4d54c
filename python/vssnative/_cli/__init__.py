"""The command ``vssnative``: each command is one call of the library, its answer as text or as a table.

machine       doctor, demo
vectors       index add, index search
tables        info, check, stats, measure-recall, optimize
embeddings    add-embeddings, change-model, cancel-change, switch, rollback-model, drop-retired, change-server, drop-embeddings
syncing       sync, worker, status, pause, resume, dead, retry, verify, repair
searching     search, explain
data, models  import and export; model
output        what they share
failures      how they fail: sentences and exit statuses
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ..sharded.commands import app as shards_app
from . import data, embeddings, machine, models, moving, searching, syncing, tables, vectors
from .failures import FAILED, USAGE, Failure, as_failures, tell_failure

__all__ = ["app", "main"]


_SILENT = logging.NullHandler()


class _Commands(typer.core.TyperGroup):
    """What goes wrong is one sentence on standard error, without a traceback, and an exit status: see ``failures``."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            status = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.Abort:
            sys.exit(FAILED)
        except Exception as error:
            # The class of usage errors is click's own or one that typer brings, by its version.
            if not hasattr(error, "format_message"):
                raise
            _tell_usage_error(error)
            sys.exit(USAGE)
        return sys.exit(status) if standalone_mode else status

    def invoke(self, ctx: Any) -> Any:
        try:
            with as_failures():
                return super().invoke(ctx)
        except Failure as failure:
            tell_failure(failure)
            raise typer.Exit(failure.status) from None


def _tell_usage_error(error: Any) -> None:
    """A sentence, and the command that says more."""
    context = error.ctx
    if type(error).__name__ == "NoArgsIsHelpError":
        if error.message:  # typer's own help is printed already
            typer.echo(error.message, err=True)
        return
    # "Value error" is a word of pydantic's, which newer versions of typer use.
    tell_failure(Failure(error.format_message().replace("Value error, ", ""), USAGE))
    if context is not None:
        typer.echo(f"see: {context.command_path} --help", err=True)


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
        "cancel-change": embeddings.cancel_change,
        "switch": embeddings.switch,
        "rollback-model": embeddings.rollback_model,
        "drop-retired": embeddings.drop_retired,
        "change-server": embeddings.change_server,
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
    # Commands tell in their own words what the library logs; without a handler Python would print it.
    logging.getLogger("vssnative").addHandler(_SILENT)


if __name__ == "__main__":
    main()
