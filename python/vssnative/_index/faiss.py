"""Indexes of the ``faiss`` package, where it is installed, as bytes and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigurationError, MissingDependencyError

_AT_ONCE = 65536  # vectors that are reconstructed together


def _package() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "an index of Faiss's as an object needs the package faiss: pip install faiss-cpu"
        ) from error
    return faiss


def deserialize(blob: bytes) -> Any:
    """The index that the bytes of ``vss_export_index`` are."""
    return _package().deserialize_index(np.frombuffer(blob, np.uint8))


def vectors_of(index: Any) -> tuple[str, npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The metric of an index, the ids of its vectors, and the vectors float32 (n, dim) as it reconstructs them."""
    faiss = _package()
    metrics = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "inner_product", faiss.METRIC_L1: "l1"}
    metric = metrics.get(index.metric_type)
    if metric is None:
        raise ConfigurationError(
            f"expected a Faiss index of L2, L1 or inner product, got metric {index.metric_type}"
        )
    index = faiss.downcast_index(index)
    ids = np.arange(index.ntotal, dtype=np.int64)
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexIDMap2)):
        ids = faiss.vector_to_array(index.id_map).astype(np.int64)
        index = faiss.downcast_index(index.index)
    inner = faiss.try_extract_index_ivf(index)
    if inner is not None:
        inner.make_direct_map()
    vectors = np.empty((index.ntotal, index.d), np.float32)
    try:
        for first in range(0, index.ntotal, _AT_ONCE):
            count = min(_AT_ONCE, index.ntotal - first)
            vectors[first : first + count] = index.reconstruct_n(first, count)
    except RuntimeError as error:
        raise ConfigurationError(f"{type(index).__name__} cannot return its vectors: {error}") from error
    return metric, ids, vectors
