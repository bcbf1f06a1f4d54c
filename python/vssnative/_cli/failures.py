"""How commands fail: one sentence on standard error, and an exit status.

0    the command did what it was asked
1    it could not be done, or a check found faults: a lock, a disk, a model's provider, what files and tables hold
2    it cannot be done as it is written: options, arguments, names of files, tables, columns and models
130  Ctrl-C
141  whoever read the output has closed it (``| head``): without a word, as a shell tells it of other commands
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import typer

from .._advice import Advised
from .._connection import explanation_of
from .._display import printable
from ..errors import ConfigurationError, QueryError, UnknownNameError, VssError, VssWarning

FAILED, USAGE, INTERRUPTED, UNREAD = 1, 2, 130, 141

# Errors whose cause is what was typed.
_USAGE = (ConfigurationError, QueryError, UnknownNameError)


class Failure(Exception):
    """What a command ends with.

    Attributes:
        sentence: for standard error.
        status: the exit status.
    """

    def __init__(self, sentence: str, status: int = FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status


class ContentError(VssError):
    """What a file that is read holds cannot be taken: the command is right, the file is not."""


@contextlib.contextmanager
def about(file: Path) -> Iterator[None]:
    """A block that works on a database file: its errors and warnings name it, their advice too.

    Raises:
        Failure: for each error of the library and of SQLite.
    """
    with warnings.catch_warnings():
        _show_warnings(file)
        try:
            yield
        except (VssError, sqlite3.Error) as error:
            raise _failure(error, file) from error


@contextlib.contextmanager
def as_failures() -> Iterator[None]:
    """A block in which errors about no database are failures too. What it has written is flushed in the end.

    Raises:
        Failure: for errors of the library, SQLite, files and outputs.
    """
    with warnings.catch_warnings():
        _show_warnings(None)
        try:
            try:
                yield
            finally:
                sys.stdout.flush()
        except (VssError, sqlite3.Error, OSError, UnicodeError) as error:
            if isinstance(error, BrokenPipeError) and _drop_unread():
                raise Failure("", UNREAD) from None
            raise _failure(error, None) from error
        except KeyboardInterrupt:
            sentence = "interrupted; what was committed is kept, run it again to go on"
            raise Failure(sentence, INTERRUPTED) from None


def tell_failure(failure: Failure) -> None:
    """The sentence, on standard error."""
    if failure.status == UNREAD:
        return
    prefix = "" if failure.status == INTERRUPTED else "error: "
    typer.echo(prefix + printable(failure.sentence, lines=True), err=True)


def _drop_unread() -> bool:
    """Whether nobody reads an output any more; what is still to be written there goes nowhere."""
    unread = False
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it has no file
            if _is_closed_pipe(stream.fileno()):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
                unread = True
    return unread


def _is_closed_pipe(file: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _failure(error: Exception, file: Path | None) -> Failure:
    explanation = explanation_of(error)
    # An error of ours about rows says more than SQLite's, on which it rests.
    if explanation is not None and not (explanation.is_about_rows and isinstance(error, VssError)):
        return Failure(explanation.in_shell(file), USAGE if explanation.is_no_database else FAILED)
    typed = isinstance(error, _USAGE) or _is_surrogate(error)
    return Failure(_sentence(error, file), USAGE if typed else FAILED)


def _is_surrogate(error: Exception) -> bool:
    """Whether a text has what Python makes of bytes on the command line that are not UTF-8."""
    return isinstance(error, UnicodeEncodeError) and "\ud800" <= error.object[error.start] <= "\udfff"


def _sentence(error: Exception, file: Path | None) -> str:
    if isinstance(error, Advised):
        return error.in_shell() if file is None else error.in_shell(str(file))
    if isinstance(error, sqlite3.Error):
        return str(error) if file is None or str(file) in str(error) else f"{file}: {error}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # a file that SQLite writes is named above
        return f"the output cannot be written: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"the input is not {error.encoding.upper()}: {error.reason}"
    if isinstance(error, UnicodeEncodeError):
        if _is_surrogate(error):
            return "an argument is not UTF-8"
        character = error.object[error.start]
        better = "utf-8:backslashreplace" if error.encoding == "utf-8" else "utf-8"
        return f"the output is in {error.encoding}, which has no character {ascii(character)}; set PYTHONIOENCODING={better}"
    return str(error)


def _show_warnings(database: Path | None) -> None:
    """Warnings of ours on standard error, without Python's words about the place in the code."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        words: Any = message
        if isinstance(message, Advised):
            words = message.in_shell() if database is None else message.in_shell(str(database))
        typer.echo(f"note: {printable(str(words), lines=True)}", err=True)

    warnings.simplefilter("always", VssWarning)
    warnings.showwarning = show
