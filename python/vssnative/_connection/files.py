"""What can be seen of a database file without SQLite: whether it may be written, and what lies beside it."""

from __future__ import annotations

import contextlib
import os


def file_of(path: str) -> str:
    """The file that a path or a URI names."""
    if not path.startswith("file:"):
        return path
    import urllib.parse  # not before there is need: a connection comes without it

    return urllib.parse.unquote(urllib.parse.urlsplit(path).path)


def why_unreadable(file: str) -> str | None:
    """Why a file that can be seen cannot be read by SQLite; None where that is not so."""
    if not _is_wal(file) or may_write(os.path.dirname(os.path.abspath(file))):
        return None
    name = os.path.basename(file)
    if _has_log(file):
        return (
            f"it is in WAL mode with commits in {name}-wal, and its directory may not be written,"
            " which reading them needs; copy both files to a directory that may be written"
        )
    return (
        f"it is in WAL mode and its directory may not be written, where SQLite needs {name}-shm even to read"
    )


def has_unread_log(path: str) -> bool:
    """Whether commits lie in a ``-wal`` beside the file, which an immutable connection would not see."""
    file = file_of(path)
    return _is_wal(file) and _has_log(file)


def has_journal(path: str) -> bool:
    """Whether a ``-journal`` beside the file has what a commit that was cut short, or is under way, must take back: an
    immutable connection would see the half of it that is written."""
    with contextlib.suppress(OSError), open(file_of(path) + "-journal", "rb") as opened:
        return opened.read(1) not in (b"", b"\0")
    return False


def may_write(path: str) -> bool:
    """Whether this process may write a file, or make files in a directory."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _has_log(file: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.getsize(file + "-wal") > 0
    return False


def _is_wal(file: str) -> bool:
    with contextlib.suppress(OSError), open(file, "rb") as opened:
        return opened.read(20)[18:20] == b"\2\2"
    return False
