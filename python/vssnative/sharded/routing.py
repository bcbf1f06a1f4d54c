"""Which shard an id belongs to: a hash of the id alone, so that no table of ids is needed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


def shard_of(ids: Ids, shards: int) -> Ids:
    """The shard of each id, from 0 to ``shards - 1``: the finalizer of SplitMix64, modulo the number of shards.

    The same on every machine and in every version: catalogs rely on it (Steele, Lea and Flood, "Fast splittable
    pseudorandom number generators", 2014).

    Args:
        ids: int64 (n,).
        shards: 1 or more.

    Returns:
        int64 (n,).
    """
    x = np.ascontiguousarray(ids, np.int64).view(np.uint64).copy()
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    home: Ids = (x % np.uint64(shards)).astype(np.int64)
    return home
