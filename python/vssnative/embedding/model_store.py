"""Models that were fetched or imported: one small record each in the cache, which says where its files are.

A record is a JSON file in ``models/`` of the cache. Imported files are copied into ``models/files/<digest>``; those of
the hub stay in huggingface_hub's own cache, which other programs share.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import ConfigurationError, ModelNotFoundError
from .model_digest import directory_digest
from .storage import atomic_file, cache_directory

# Data that a model may need. Code and pickles of its directory are not copied.
_PATTERNS = (
    "*.json",
    "*/config.json",
    "vocab.txt",
    "*.safetensors",
    "*/*.safetensors",
    "model.onnx",
    "onnx/model.onnx",
)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """One model at hand.

    Attributes:
        name: what ``get_embedder`` knows it by: ``minilm``, ``hf:owner/name`` or ``local:name``.
        directory: its files.
        digest: the digest of its files (``directory_digest``).
        origin: ``"hub"``, ``"import"`` or ``"package"``.
        revision: the hub's commit; None where the files are not the hub's.
    """

    name: str
    directory: str
    digest: str
    origin: str
    revision: str | None = None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in Path(self.directory).rglob("*") if path.is_file())


def stored_models() -> Iterator[StoredModel]:
    """All records whose files are there, by name."""
    for path in sorted(cache_directory("models").glob("*.json")):
        if (model := _read(path)) is not None:
            yield model


def find_model(name: str) -> StoredModel | None:
    """The record of a name, None if there is none or its files are gone."""
    return _read(_record(name))


def record_model(model: StoredModel) -> None:
    """Remember where a model's files are, instead of what was remembered of its name."""
    with atomic_file(_record(model.name)) as file:
        file.write(json.dumps(asdict(model), indent=1).encode())


def import_model(directory: Path, name: str) -> StoredModel:
    """Copy a model's files into the cache, and remember them by a name.

    Raises:
        ModelNotFoundError: if it is no model's directory.
        ConfigurationError: if a file makes no sense, or the cache cannot be written.
    """
    digest = directory_digest(directory)
    files = cache_directory("models", "files")
    target = files / digest[:32]
    try:
        temporary = Path(tempfile.mkdtemp(dir=files, prefix="."))
        try:
            for pattern in _PATTERNS:
                for path in directory.glob(pattern):
                    copy = temporary / path.relative_to(directory)
                    copy.parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, copy)
            if directory_digest(temporary) != digest:
                raise ConfigurationError(f"{directory}: its files changed while they were copied")
            temporary.chmod(0o755)
            if target.exists() and directory_digest(target) == digest:
                shutil.rmtree(temporary)
            else:
                # Two imports of the same model at once: the second one finds the first one's files in place.
                shutil.rmtree(target, ignore_errors=True)
                with contextlib.suppress(FileExistsError):
                    os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise ConfigurationError(f"{directory}: cannot be copied into {files}: {error}") from None
    model = StoredModel(name, str(target), digest, "import")
    record_model(model)
    return model


def remove_model(name: str) -> StoredModel:
    """Forget a model and delete its files, those of the hub from huggingface_hub's cache.

    Raises:
        ModelNotFoundError: if no such model is stored.
    """
    model = find_model(name)
    if model is None:
        _record(name).unlink(missing_ok=True)
        raise ModelNotFoundError(f"no model {name} is stored; `vssnative model list` shows those that are")
    _record(name).unlink(missing_ok=True)
    if any(other.directory == model.directory for other in stored_models()):
        return model
    directory = Path(model.directory)
    if model.origin == "hub":
        _remove_from_hub_cache(directory)
    elif directory.parent == cache_directory("models", "files"):
        shutil.rmtree(directory, ignore_errors=True)
    return model


def _remove_from_hub_cache(snapshot: Path) -> None:
    # A snapshot's directory is CACHE/models--OWNER--NAME/snapshots/COMMIT.
    from huggingface_hub import scan_cache_dir

    scan_cache_dir(snapshot.parents[2]).delete_revisions(snapshot.name).execute()


def _record(name: str) -> Path:
    return cache_directory("models") / f"{quote(name, safe='')}.json"


def _read(path: Path) -> StoredModel | None:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
        model = StoredModel(**values)
    except (OSError, ValueError, TypeError):
        return None
    if not all(isinstance(value, str) for value in (model.name, model.directory, model.digest, model.origin)):
        return None
    return model if (Path(model.directory) / "tokenizer.json").is_file() else None
