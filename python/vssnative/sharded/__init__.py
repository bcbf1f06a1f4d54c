"""Many files as one index: shards that are ordinary vss0 files, a catalog that names them, processes that serve them.

index = ShardedIndex.create("posts.shards", dim=384, metric="cosine", shards=16)
index.add(ids, matrix)
ids, distances = index.search(queries, k=10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .index import SearchResult as SearchResult
    from .index import ShardedIndex as ShardedIndex
    from .index import ShardStatus as ShardStatus
    from .index import Status as Status
    from .index import Verification as Verification

__all__ = ["SearchResult", "ShardStatus", "ShardedIndex", "Status", "Verification"]


def __getattr__(name: str) -> Any:
    # The command line imports this package for its commands' names alone.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import index

    return getattr(index, name)
