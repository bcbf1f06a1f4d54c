"""Vector search inside your own SQLite file, and embeddings that stay in sync with its rows.

    conn = vssnative.connect("blog.db")
    vssnative.add_embeddings(conn, "posts", columns=["title", "summary"])
    vssnative.sync(conn, progress=True)
    vssnative.search(conn, "posts", "sqlite vector search", k=5)

Names are imported when first used, so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import connect as connect
    from .connection import load as load
    from .connection import loadable_path as loadable_path
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
    from .errors import QueryError as QueryError
    from .errors import SchemaVersionError as SchemaVersionError
    from .errors import SyncError as SyncError
    from .errors import VssError as VssError
    from .index import Index as Index
    from .index import configure as configure
    from .migrations import add_embeddings as add_embeddings
    from .migrations import change_model as change_model
    from .migrations import drop_embeddings as drop_embeddings
    from .migrations import plan_embeddings as plan_embeddings
    from .search import search as search
    from .sync import Worker as Worker
    from .sync import sync as sync
    from .sync.status import status as status
    from .sync.verify import repair as repair
    from .sync.verify import verify as verify

    __version__: str

_HOMES = {
    "connection": ("connect", "load", "loadable_path"),
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
        "QueryError",
        "SchemaVersionError",
        "SyncError",
        "VssError",
    ),
    "index": ("Index", "configure"),
    "migrations": ("add_embeddings", "change_model", "drop_embeddings", "plan_embeddings"),
    "search": ("search",),
    "sync": ("Worker", "repair", "status", "sync", "verify"),
}
# Not `sync`, which is the function; what else that module holds is imported from it.
_SUBPACKAGES = ("embedding", "migrations")
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


class _Package(ModuleType):
    """`vssnative.search` and `vssnative.sync` are functions, whichever modules of those names are loaded."""

    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds a submodule to its package once it is loaded.
        if name in ("search", "sync") and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
