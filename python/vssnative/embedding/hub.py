"""Models from the Hugging Face hub, fetched once and then used from its local cache.

Downloads are huggingface_hub's: resumed where they stopped, put in place whole. Only data files are fetched; code of a
model's repository is neither fetched nor run, and pickled weights are left where they are.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError, MissingDependencyError, ModelNotFoundError
from .layout import read_layout
from .model_digest import preferred_weights
from .model_store import find_model
from .native_encoder import takes
from .onnx_model import OnnxEmbedder

_SMALL = ["*.json", "*/config.json", "vocab.txt"]
_DENSE = ["*_Dense/model.safetensors"]
_SAFETENSORS = ["model.safetensors", "*/model.safetensors"]
_GRAPHS = ["onnx/model.onnx", "model.onnx"]
# So long a hub that does not answer is waited for; huggingface_hub alone would try for half a minute.
_PATIENCE = 2.0
# Where a model's own files do not state its prompts, its authors' documentation does. Matched by the name's beginning.
_DOCUMENTED_PROMPTS = {
    "intfloat/e5-": ("query: ", "passage: "),
    "intfloat/multilingual-e5-small": ("query: ", "passage: "),
    "intfloat/multilingual-e5-base": ("query: ", "passage: "),
    "intfloat/multilingual-e5-large": ("query: ", "passage: "),
    "BAAI/bge-small-en": ("Represent this sentence for searching relevant passages: ", ""),
    "BAAI/bge-base-en": ("Represent this sentence for searching relevant passages: ", ""),
    "BAAI/bge-large-en": ("Represent this sentence for searching relevant passages: ", ""),
    "BAAI/bge-small-zh": ("为这个句子生成表示以用于检索相关文章：", ""),
    "BAAI/bge-base-zh": ("为这个句子生成表示以用于检索相关文章：", ""),
    "BAAI/bge-large-zh": ("为这个句子生成表示以用于检索相关文章：", ""),
    "nomic-ai/nomic-embed-text-v1": ("search_query: ", "search_document: "),
    "mixedbread-ai/mxbai-embed-large-v1": ("Represent this sentence for searching relevant passages: ", ""),
    "Snowflake/snowflake-arctic-embed": ("Represent this sentence for searching relevant passages: ", ""),
}


class _NotAtHand(ModelNotFoundError):
    """A model that is not on this machine, and no hub to ask."""


class HubEmbedder(OnnxEmbedder):
    """A sentence-transformers model of the hub.

    Args:
        repository: ``"owner/name"``.
        revision: branch, tag or commit; ``config()`` records the commit that it stood for, so that an embedder
            rebuilt later reads the same files.
        cache_dir: where the hub's files are kept; by default huggingface_hub's own cache.
        offline: never ask the network. ``HF_HUB_OFFLINE`` is honoured too.
        token: for private models; by default what huggingface_hub finds. Never recorded.
        recorded: read the kind of weights that ``options`` says, as a config recorded it, and not the kind that suits
            this machine.
        options: as for ``OnnxEmbedder``.

    A model that was imported under this name (``vssnative model import``) is used where the hub cannot be reached.

    Raises:
        ModelNotFoundError: if the model does not exist, or is not in the cache and the hub is out of reach.
        MissingDependencyError: if huggingface_hub is not installed.
    """

    def __init__(
        self,
        repository: str,
        *,
        revision: str | None = None,
        cache_dir: Path | str | None = None,
        offline: bool = False,
        token: str | None = None,
        recorded: bool = False,
        **options: Any,
    ) -> None:
        where: dict[str, Any] = {"cache_dir": cache_dir, "offline": offline, "token": token}
        source: dict[str, Any] = {"repository": repository}
        try:
            if recorded:
                directory = fetch(repository, revision=revision, weights=options.get("weights"), **where)
            else:
                directory, options["weights"] = fetch_preferred(repository, revision=revision, **where)
            # In the hub's cache a snapshot's directory is named by its commit.
            source["revision"] = directory.name
        except (ModelNotFoundError, MissingDependencyError) as error:
            imported = find_model(f"hf:{repository}")
            if imported is None and isinstance(error, _NotAtHand):
                raise ModelNotFoundError(
                    f"{error}; `vssnative model import DIRECTORY --name hf:{repository}` takes it from a directory of "
                    "its files"
                ) from None
            if imported is None:
                raise
            directory = Path(imported.directory)
            if not recorded:
                options["weights"] = preferred_weights(read_layout(directory))
        if cache_dir is not None:
            source["cache_dir"] = str(cache_dir)
        query, document = documented_prompts(repository)
        for key, prompt, kind in (
            ("query_prompt", query, "query"),
            ("document_prompt", document, "document"),
        ):
            if options.get(key) is None and prompt and not _states_prompts(directory, kind):
                options[key] = prompt
        options.setdefault("name", repository)
        super().__init__(directory, source=source, **options)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "kind": "hf"}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HubEmbedder:
        """An equal embedder from what ``config()`` returned."""
        options = {key: value for key, value in config.items() if key not in ("kind", "repository")}
        return cls(config["repository"], recorded=True, **({"precision": "float32"} | options))


def documented_prompts(repository: str) -> tuple[str, str]:
    """Query and document prompt that a model's authors ask for; empty where nothing is known of the model."""
    if repository.endswith("-instruct"):
        return "", ""  # each task has its own instruction there
    return next(
        (pair for start, pair in _DOCUMENTED_PROMPTS.items() if repository.startswith(start)), ("", "")
    )


def _states_prompts(directory: Path, kind: str) -> bool:
    return bool(read_layout(directory).prompt(kind))


def fetch_preferred(repository: str, **options: Any) -> tuple[Path, str | None]:
    """As ``fetch``, of a model's weights only those that are used: safetensors where the core runs the model.

    Returns:
        The directory, and the kind of weights to read (``preferred_weights``).
    """
    directory = fetch(repository, weights="none", **options)
    # Whatever was asked for, all files are of one commit.
    options["revision"] = directory.name
    if takes(read_layout(directory).transformer):
        directory = fetch(repository, weights="safetensors", **options)
        if (kind := preferred_weights(read_layout(directory))) is not None:
            return directory, kind
    return fetch(repository, **options), None


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
    offline: bool = False,
    token: str | None = None,
    weights: str | None = None,
) -> Path:
    """The directory of a model's files, downloaded if need be. On a terminal a bar shows how far it is.

    Args:
        weights: "safetensors", "onnx", or "none" for the small files alone; None fetches both kinds.

    Raises:
        ConfigurationError: if the repository's name is malformed.
        ModelNotFoundError: if it cannot be found or downloaded.
        MissingDependencyError: if huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils.tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError(
            "models of the hub need the package huggingface_hub: pip install 'vssnative[local]'"
        ) from error

    base: Any = tqdm

    class Bar(base):  # type: ignore[misc]
        """A library prints nothing into logs and pipes."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            if not sys.stderr.isatty():
                options["disable"] = True
            super().__init__(*arguments, **options)

    where = f"model {repository}" + (f" at {revision}" if revision else "")
    patterns = {
        "none": _SMALL,
        "safetensors": _SMALL + _SAFETENSORS,
        "onnx": _SMALL + _DENSE + _GRAPHS,
        None: _SMALL + _SAFETENSORS + _GRAPHS,
    }[weights]
    local = offline or constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT)
    try:
        with _quiet():
            return Path(
                snapshot_download(
                    repository,
                    revision=revision,
                    cache_dir=cache_dir,
                    local_files_only=local,
                    token=token,
                    allow_patterns=patterns,
                    tqdm_class=Bar,
                )
            )
    except HFValidationError as error:
        raise ConfigurationError(f"hf:{repository}: expected hf:owner/name: {error}") from None
    except GatedRepoError:
        raise ModelNotFoundError(
            f"{where}: its owner grants access on request; set HF_TOKEN to a token of yours"
        ) from None
    except RevisionNotFoundError:
        raise ModelNotFoundError(f"{where}: the hub knows no such revision") from None
    except RepositoryNotFoundError:
        raise ModelNotFoundError(f"{where}: the hub knows no such model, or it is private") from None
    except LocalEntryNotFoundError:
        raise _NotAtHand(
            f"{where} is not in the local cache, and the hub "
            + ("was not asked (offline)" if offline else "cannot be reached from here")
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise ModelNotFoundError(f"{where} could not be fetched: {_first_line(error)}") from None


def reachable(endpoint: str, patience: float = _PATIENCE) -> bool:
    """Whether a connection to ``endpoint`` can be made within ``patience`` seconds, its name looked up included.

    Behind a proxy it is not tried: the answer is then True.
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return True
    connected = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError):
            port = parts.port or (80 if parts.scheme == "http" else 443)
            socket.create_connection((host, port), timeout=patience).close()
            connected.set()

    # A thread, as nothing else bounds the time in which a name is looked up.
    thread = threading.Thread(target=connect, name="vssnative-hub", daemon=True)
    thread.start()
    thread.join(patience)
    return connected.is_set()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """huggingface_hub writes to standard error what it tries again; what fails in the end is an error of ours."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
