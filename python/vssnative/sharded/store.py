"""Where the files of a sharded index lie: a directory, or any place that fsspec reaches.

A file is written whole under a name that nobody has, and never changed afterwards. `put` is the one step that makes it
visible; where the name is taken already it fails and changes nothing, and on that alone the catalog's safety rests.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import platformdirs

from ..errors import ConfigurationError, MissingDependencyError

__all__ = ["DirectoryStore", "FsspecStore", "Store", "cache_directory", "digest_of", "open_store"]


class Store(Protocol):
    """Files by name; a name may hold ``/``. All methods may be called from several processes at once."""

    @property
    def url(self) -> str:
        """What `open_store` takes to open the same store elsewhere."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; an empty list where there is no such folder."""
        ...

    def path_of(self, name: str) -> Path | None:
        """The file itself, where this machine can open it in place."""
        ...

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to `target`. Raises FileNotFoundError."""
        ...

    def put(self, name: str, source: Path) -> None:
        """Make `source` visible as `name`, whole and at once; `source` may be gone afterwards.

        Raises FileExistsError if the name is taken; then nothing has changed.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is ignored."""
        ...

    def age(self, name: str) -> float:
        """Seconds since the file was written. Raises FileNotFoundError."""
        ...

    def workspace(self) -> contextlib.AbstractContextManager[Path]:
        """A directory for files that are being made, from which `put` is cheap; removed afterwards."""
        ...


class DirectoryStore:
    """A local or network directory. `put` is a hard link, which fails where the name is taken."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def url(self) -> str:
        return str(self._root)

    def names(self, folder: str) -> list[str]:
        directory = self._root / folder
        if not directory.is_dir():
            return []
        return sorted(f"{folder}/{path.name}" for path in directory.iterdir() if path.is_file())

    def path_of(self, name: str) -> Path | None:
        return self._root / name

    def fetch(self, name: str, target: Path) -> None:
        shutil.copyfile(self._root / name, target)

    def put(self, name: str, source: Path) -> None:
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = source
        try:
            if os.stat(source).st_dev != os.stat(target.parent).st_dev:
                staged = target.parent / f".{uuid.uuid4().hex}"
                shutil.copyfile(source, staged)
            _sync(staged)
            os.link(staged, target)
            _sync(target.parent)
        finally:
            staged.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)

    def age(self, name: str) -> float:
        return time.time() - (self._root / name).stat().st_mtime

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        parent = self._root / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as directory:
            yield Path(directory)


class FsspecStore:
    """Any URL that fsspec knows. `put` is a conditional put (``mode="create"``)."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError:
            raise MissingDependencyError(
                f"{url}: fsspec is needed for URLs; pip install 'vssnative[ray]' (or fsspec and its driver)"
            ) from None
        self._url = url.rstrip("/")
        filesystem, root = fsspec.core.url_to_fs(self._url)
        self._fs: Any = filesystem
        self._root = root.rstrip("/")

    @property
    def url(self) -> str:
        return self._url

    def names(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(f"{self._root}/{folder}", detail=True)
        except FileNotFoundError:
            return []
        return sorted(
            f"{folder}/{entry['name'].rstrip('/').rpartition('/')[2]}"
            for entry in found
            if entry["type"] == "file"
        )

    def path_of(self, name: str) -> Path | None:
        return None

    def fetch(self, name: str, target: Path) -> None:
        self._fs.get_file(f"{self._root}/{name}", str(target))

    def put(self, name: str, source: Path) -> None:
        path = f"{self._root}/{name}"
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if name.startswith("shards/"):
            # The name is random: nobody else writes it. Large files go up in parts.
            self._fs.put_file(str(source), path)
        else:
            self._fs.pipe_file(path, source.read_bytes(), mode="create")

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._root}/{name}")

    def age(self, name: str) -> float:
        return time.time() - float(self._fs.modified(f"{self._root}/{name}").timestamp())

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        parent = cache_directory() / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as directory:
            yield Path(directory)


def open_store(url: str | os.PathLike[str]) -> Store:
    """The store of a path, or of a URL with ``://`` in it.

    Raises:
        ConfigurationError: `url` is neither.
        MissingDependencyError: a URL, and fsspec is not installed.
    """
    text = os.fspath(url)
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"expected a directory or a URL, got {url!r}")
    return FsspecStore(text) if "://" in text else DirectoryStore(Path(text))


def cache_directory() -> Path:
    """Where copies of shards are kept on this machine: the environment's ``VSSNATIVE_CACHE``, or the user's cache."""
    base = os.environ.get("VSSNATIVE_CACHE") or platformdirs.user_cache_dir("vssnative")
    return Path(base) / "shards"


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
