"""Many files as one index: shards that are ordinary vss0 files, a catalog that names them, processes that serve them.

index = ShardedIndex.create("posts.shards", dim=384, metric="cosine", shards=16)
index.add(ids, matrix)
ids, distances = index.search(queries, k=10)
"""

from .index import SearchResult, ShardedIndex, ShardStatus, Status, Verification

__all__ = ["SearchResult", "ShardStatus", "ShardedIndex", "Status", "Verification"]
