"""Vector search inside your own SQLite file, and embeddings that stay in sync with its rows.

    conn = vssnative.connect("blog.db")
    vssnative.add_embeddings(conn, "posts", columns=["title", "summary"])
    vssnative.sync(conn, progress=True)
    vssnative.search(conn, "posts", "sqlite vector search", k=5)

Names are imported when first used, so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._connection import Connection as Connection
    from ._connection import Pool as Pool
    from ._connection import SharedConnection as SharedConnection
    from ._connection import connect as connect
    from ._connection import loadable_path as loadable_path
    from ._index import Index as Index
    from ._index import configure as configure
    from ._index import watch_builds as watch_builds
    from ._loading import load as load
    from ._search import Result as Result
    from ._search import Results as Results
    from ._search import search as search
    from ._search import search_many as search_many
    from ._sync import DeadLetter as DeadLetter
    from ._sync import Event as Event
    from ._sync import Report as Report
    from ._sync import Settings as Settings
    from ._sync import Status as Status
    from ._sync import SyncResult as SyncResult
    from ._sync import Worker as Worker
    from ._sync import dead_letters as dead_letters
    from ._sync import pause as pause
    from ._sync import repair as repair
    from ._sync import resume as resume
    from ._sync import retry_dead as retry_dead
    from ._sync import set_cache_limit as set_cache_limit
    from ._sync import status as status
    from ._sync import sync as sync
    from ._sync import verify as verify
    from .embedding import embed as embed
    from .errors import ConfigurationError as ConfigurationError
    from .errors import ConnectionSetupError as ConnectionSetupError
    from .errors import DamagedError as DamagedError
    from .errors import DimensionError as DimensionError
    from .errors import DuplicateIdError as DuplicateIdError
    from .errors import EmbeddingError as EmbeddingError
    from .errors import ExtensionLoadError as ExtensionLoadError
    from .errors import InvalidVectorError as InvalidVectorError
    from .errors import MigrationError as MigrationError
    from .errors import MissingDependencyError as MissingDependencyError
    from .errors import ModelNotFoundError as ModelNotFoundError
    from .errors import ProviderError as ProviderError
    from .errors import PublishConflictError as PublishConflictError
    from .errors import QueryError as QueryError
    from .errors import SchemaVersionError as SchemaVersionError
    from .errors import ShardError as ShardError
    from .errors import SyncError as SyncError
    from .errors import UnknownNameError as UnknownNameError
    from .errors import VssError as VssError
    from .errors import VssWarning as VssWarning
    from .migrations import add_embeddings as add_embeddings
    from .migrations import change_model as change_model
    from .migrations import drop_embeddings as drop_embeddings
    from .migrations import plan_embeddings as plan_embeddings

    __version__: str

_HOMES = {
    "_loading": ("load",),
    "_connection": ("Connection", "Pool", "SharedConnection", "connect", "loadable_path"),
    "embedding": ("embed",),
    "errors": (
        "ConfigurationError",
        "ConnectionSetupError",
        "DamagedError",
        "DimensionError",
        "DuplicateIdError",
        "EmbeddingError",
        "ExtensionLoadError",
        "InvalidVectorError",
        "MigrationError",
        "MissingDependencyError",
        "ModelNotFoundError",
        "ProviderError",
        "PublishConflictError",
        "QueryError",
        "SchemaVersionError",
        "ShardError",
        "SyncError",
        "UnknownNameError",
        "VssError",
        "VssWarning",
    ),
    "_index": ("Index", "configure", "watch_builds"),
    "migrations": ("add_embeddings", "change_model", "drop_embeddings", "plan_embeddings"),
    "_search": ("Result", "Results", "search", "search_many"),
    "_sync": (
        "DeadLetter",
        "Event",
        "Report",
        "Settings",
        "Status",
        "SyncResult",
        "Worker",
        "dead_letters",
        "pause",
        "repair",
        "resume",
        "retry_dead",
        "set_cache_limit",
        "status",
        "sync",
        "verify",
    ),
}


def _refuse_subinterpreters() -> None:
    """In one, importing the core waits for ever (Python 3.11, pybind11 3.1)."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # since Python 3.13; before
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError(
                "vssnative works in Python's main interpreter only, and this is a subinterpreter. Under mod_wsgi set"
                " 'WSGIApplicationGroup %{GLOBAL}', under uWSGI 'single-interpreter = true'; use processes or threads"
                " in place of an InterpreterPoolExecutor"
            )
        return


_refuse_subinterpreters()

_SUBPACKAGES = ("aio", "embedding", "errors", "migrations")
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [*_HOME_OF, "__version__"]  # noqa: PLE0604  (they are strings, all of them)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from . import _core

        value: Any = _core.vss0_version()
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
