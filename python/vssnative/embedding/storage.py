"""The cache of model files: where it is, how a file gets into it whole, and how a file is known again.

Everything here may be thrown away at any time; it is made again. Files appear under their final name only when
complete (written beside, flushed, renamed), so several processes may fill the cache at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from ..errors import ConfigurationError

_READ = 1 << 20


def cache_directory(*parts: str) -> Path:
    """The cache, or a directory in it, created if missing: ``$VSSNATIVE_CACHE``, else the user's cache directory.

    Raises:
        ConfigurationError: if it cannot be created.
    """
    root = os.environ.get("VSSNATIVE_CACHE")
    path = Path(root) if root else Path(platformdirs.user_cache_dir("vssnative"))
    path = path.joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the cache directory {path}: {error.strerror}; set VSSNATIVE_CACHE to one that can be written"
        ) from None
    return path


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that becomes ``path`` when the block ends well, and nothing otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def cached_digest(path: Path) -> str:
    """As ``file_digest``, remembered in the cache for as long as the file's path, size, inode and time are the same."""
    state = path.stat()
    identity = f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ino}\0{state.st_ctime_ns}"
    record = (
        cache_directory("digests") / hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    )
    with contextlib.suppress(OSError, UnicodeDecodeError):
        known = record.read_text(encoding="ascii")
        if len(known) == 64:
            return known
    digest = file_digest(path)
    with atomic_file(record) as file:
        file.write(digest.encode("ascii"))
    return digest
