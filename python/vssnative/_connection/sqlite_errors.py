"""What SQLite's errors mean and what to do about each: one table, with the wording for Python and that for the shell."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from .._advice import Advice, quoted

BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, CONSTRAINT, MISMATCH, NOTADB = (
    5,
    6,
    8,
    10,
    11,
    13,
    14,
    19,
    20,
    26,
)
_BUSY_SNAPSHOT = BUSY | 2 << 8
_IOERR_WRITE = IOERR | 3 << 8


class _Meaning(NamedTuple):
    """One error of SQLite's.

    Attributes:
        code: the primary result code, or an extended one.
        said: a regular expression for SQLite's words. It tells errors of one code apart, the last of which stands for all
            others of that code; and it finds those that have no code (Python 3.10, and errors that stand for SQLite's own).
            None: only the code tells.
        advice: ``api`` is what follows SQLite's words, ``shell`` is a sentence by itself. In both, ``{0}`` is what `said`
            found and ``{file}`` the file as a shell takes it; in ``api``, ``{more}`` is what only the connection can tell;
            in ``shell``, ``{name}`` is the file as it was typed and ``{error}`` are SQLite's words.
    """

    code: int
    said: str | None
    advice: Advice


# The first that fits is meant.
_MEANINGS = (
    _Meaning(
        _BUSY_SNAPSHOT,
        None,
        Advice(
            "somebody else has written since the open transaction began to read, so that it cannot write any more; roll"
            " back, and begin such a transaction with BEGIN IMMEDIATE",
            "{name} was changed by another program meanwhile: run this again",
        ),
    ),
    _Meaning(
        LOCKED,
        r"table is locked",
        Advice(
            "a statement that is still being read holds it; read it to its end, or close its cursor",
            "{name} is locked by another statement of the same program ({error}): run this again",
        ),
    ),
    _Meaning(
        BUSY,
        r"is locked",
        Advice(
            "another connection, of this process or another, holds the lock{more}; let it commit, or wait longer:"
            " vssnative.connect(path, timeout=60). A transaction that will write begins with BEGIN IMMEDIATE",
            "{name} is locked: another program is writing to it; try again when that is done",
        ),
    ),
    _Meaning(
        READONLY,
        r"readonly database",
        Advice(
            "{more}",
            "{name} cannot be written: you need the right to write to it and to its folder",
        ),
    ),
    _Meaning(
        FULL,
        r"database or disk is full",
        Advice(
            "no room is left on the disk, or in the largest size that was set; nothing of this was kept",
            "{name} cannot grow, the disk is full: make room and run this again; what was committed is kept",
        ),
    ),
    _Meaning(
        _IOERR_WRITE,
        None,
        Advice(
            "the disk or network drive failed, or a file would be larger than it may be (ulimit -f, the file system's own"
            " limit); nothing of this was kept",
            "{name} cannot be written (disk I/O error): look after the disk, and whether files may be so large (ulimit -f);"
            " then run vssnative check {file}",
        ),
    ),
    _Meaning(
        IOERR,
        r"disk I/O error",
        Advice(
            "the disk or network drive failed; nothing of this was kept",
            "{name} cannot be read or written (disk I/O error): look after the disk, then run vssnative check {file}",
        ),
    ),
    _Meaning(
        CANTOPEN,
        r"unable to open database",
        Advice(
            "{more}",
            "{name} cannot be opened: you need the right to read it, and to its folder if another program uses it",
        ),
    ),
    _Meaning(
        CORRUPT,
        r"disk image is malformed|malformed database schema",
        Advice(
            "the file is damaged: 'vssnative check {file}' says where",
            "{name} is damaged ({error}): vssnative check {file} says where, --repair mends what can be mended",
        ),
    ),
    _Meaning(
        NOTADB,
        r"not a database",
        Advice(
            "it is no SQLite database, or an encrypted one",
            "{name} is not an SQLite database",
        ),
    ),
    _Meaning(
        CONSTRAINT,
        r"UNIQUE constraint failed: (.*)",
        Advice(
            "a row with the same {0} is there already; nothing of this was kept",
            "{name}: a row with the same {0} is there already; leave it out or delete the old one, no row was written",
        ),
    ),
    _Meaning(
        CONSTRAINT,
        r"NOT NULL constraint failed: (.*)",
        Advice(
            "a row has nothing for {0}, which must have a value; nothing of this was kept",
            "{name}: a row has nothing for {0}, which must have a value; no row was written",
        ),
    ),
    _Meaning(
        CONSTRAINT,
        r"CHECK constraint failed: (.*)",
        Advice(
            "a row breaks the table's own condition {0}; nothing of this was kept",
            "{name}: a row breaks the table's own condition {0}; no row was written",
        ),
    ),
    _Meaning(
        CONSTRAINT,
        r"FOREIGN KEY constraint failed",
        Advice(
            "a row refers to one that is not there, or one that is referred to would go; nothing of this was kept",
            "{name}: a row refers to one that is not there (FOREIGN KEY); write that first, no row was written",
        ),
    ),
    _Meaning(
        CONSTRAINT,
        r"constraint failed",
        Advice(
            "a constraint of the table, or a trigger on it, refused a row; nothing of this was kept",
            "{name}: {error}: a constraint of the table, or a trigger on it, refused a row; nothing of this was kept",
        ),
    ),
    _Meaning(
        MISMATCH,
        r"datatype mismatch",
        Advice(
            "a value is not of the kind that its column takes, an integer key mostly; nothing of this was kept",
            "{name}: a value is not of the kind that its column takes, an integer key mostly; no row was written",
        ),
    ),
)


class Explanation(NamedTuple):
    """An error of SQLite's, with what it means.

    Attributes:
        code: its primary result code.
        advice: the two wordings, with places to fill.
        words: SQLite's own.
        found: what stands in the numbered places.
    """

    code: int
    advice: Advice
    words: str
    found: tuple[str, ...] = ()

    @property
    def is_about_rows(self) -> bool:
        """Whether a row was refused; else it is about the file."""
        return self.code in (CONSTRAINT, MISMATCH)

    @property
    def is_no_database(self) -> bool:
        return self.code == NOTADB

    def in_python(self, file: str, more: str) -> str:
        """What follows SQLite's words.

        Args:
            file: the database file, "" where there is none.
            more: what the connection or the folder tells of the reason.
        """
        return self.advice.api.format(*self.found, file=quoted(file or "FILE"), more=more)

    def in_shell(self, file: str | os.PathLike[str] | None) -> str:
        """The sentence for those who typed a command.

        Args:
            file: as it was typed; None where the command has none.
        """
        name = "the database" if file is None else os.fspath(file)
        typed = "FILE" if file is None else quoted(name)
        return self.advice.shell.format(*self.found, name=name, file=typed, error=self.words)


def explain(error: BaseException) -> Explanation | None:
    """What a driver's error means; None where SQLite's words are best left alone: they are about the statement, or of vss0."""
    words = str(error)
    extended = result_code(error)
    if extended is None:
        fitting = [one for one in _MEANINGS if one.said is not None and re.search(one.said, words)]
    else:
        fitting = [one for one in _MEANINGS if one.code in (extended, extended & 0xFF)]
        fitting = [one for one in fitting if one.said is None or re.search(one.said, words)] or fitting[-1:]
    if not fitting:
        return None
    meant = fitting[0]
    if meant.code == CORRUPT and ("vssnative" in words or 'table "' in words):
        return None
    found = None if meant.said is None else re.search(meant.said, words)
    return Explanation(meant.code & 0xFF, meant.advice, words, () if found is None else found.groups())


def unreadable(error: BaseException, reason: str, remedy: str | None) -> Explanation:
    """An error about a file that can be seen and not be read by SQLite.

    Args:
        reason: why.
        remedy: how Python reads it all the same, as commands do by themselves: they fail only where they write. None where
            nothing does.
    """
    code = result_code(error) or CANTOPEN
    if remedy is None:
        advice = Advice("{0}", "{name} cannot be read: {0}")
    else:
        advice = Advice(
            "{0}{1}", "{name} cannot be written: you need the right to write to it and to its folder"
        )
    return Explanation(code & 0xFF, advice, str(error), (reason, remedy or ""))


_REFUSED = re.compile(r"^not authorized|^access to .* is prohibited$")


def result_code(error: BaseException) -> int | None:
    """SQLite's result code, the extended one where the driver has it; None where it has none."""
    code = getattr(error, "sqlite_errorcode", None)  # Python 3.11
    if code is None:
        code = getattr(error, "extendedresult", None) or getattr(error, "result", None)  # apsw
    return code if isinstance(code, int) else None


def is_corrupt(error: BaseException) -> bool:
    """Whether a driver's error says that what is stored is not as it was written."""
    code = result_code(error)
    if code is not None:
        return code & 0xFF in (CORRUPT, NOTADB)
    # Python 3.10's sqlite3 makes it of these two and of what an authorizer refuses.
    return type(error).__name__ == "DatabaseError" and not _REFUSED.search(str(error))


def is_busy(error: BaseException) -> bool:
    """Whether a driver's error says that another connection holds a lock, so that trying again may help."""
    code = result_code(error)
    if code is not None:
        return code & 0xFF in (BUSY, LOCKED)
    return "is locked" in str(error)
