"""Index files of ``faiss.write_index``, read without Faiss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..errors import ConfigurationError
from .source import Column, Source

_METRICS = {
    0: "INNER_PRODUCT",
    1: "L2",
    2: "L1",
    3: "LINF",
    20: "CANBERRA",
    21: "BRAYCURTIS",
    22: "JENSENSHANNON",
}
_PORTION = 1000


def open_source(path: Path, column: str = "embedding") -> Source:
    """The index as a source; rows have the index's ids, or 0, 1, ... where it has none.

    Raises:
        ConfigurationError: it is damaged, does not give its vectors back, or has a metric that vss0 does not know.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
        index = _core.FaissFile(content)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if index.metric not in _METRICS:
        raise ConfigurationError(f"{path}: Faiss' metric {index.metric} is not known here")
    ids = index.ids()
    if len(np.unique(ids)) != len(ids):
        raise ConfigurationError(f"{path}: some ids are in it more than once")

    def rows() -> Iterator[tuple[Any, ...]]:
        for first in range(0, len(ids), _PORTION):
            vectors = index.vectors(first, min(_PORTION, len(ids) - first))
            for rowid, vector in zip(ids[first : first + _PORTION].tolist(), vectors, strict=True):
                yield (rowid, vector.tobytes())

    words = f"{path.name} (Faiss" + (
        ", codes: vectors are those that they stand for)" if index.lossy else ")"
    )
    declared = Column(column, f"({index.dim}) metric_type={_METRICS[index.metric]}", is_vector=True)
    return Source(words, [declared], True, rows, len(ids), {column: len(ids)})
