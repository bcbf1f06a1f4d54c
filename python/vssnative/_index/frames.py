"""What a search finds as a frame of pandas, polars or pyarrow."""

from __future__ import annotations

import importlib
from typing import Any, Literal, TypeAlias

import numpy as np

from ..errors import ConfigurationError, MissingDependencyError
from .checks import are_found

FrameLibrary: TypeAlias = Literal["pandas", "polars", "pyarrow"]

_LIBRARIES: tuple[FrameLibrary, ...] = ("pandas", "polars", "pyarrow")


def library_of(value: Any) -> FrameLibrary:
    """The library that a value is of; pandas for all else."""
    root = type(value).__module__.partition(".")[0]
    return next((library for library in _LIBRARIES if library == root), "pandas")


def frame_of(ids: Any, distances: Any, library: FrameLibrary) -> Any:
    """A frame of ids and distances, both (nq, k) or (k,): a row for each id found.

    Raises:
        MissingDependencyError: the library is not installed.
        ConfigurationError: there is no such library.
    """
    if library not in _LIBRARIES:
        raise ConfigurationError(f"library: expected {', '.join(_LIBRARIES)}, got {library!r}")
    try:
        module = importlib.import_module(library)
    except ImportError:
        raise MissingDependencyError(f"frames of {library} need it: pip install {library}") from None
    ids, distances = np.atleast_2d(ids), np.atleast_2d(distances)
    there = are_found(ids, distances)
    queries, places = np.nonzero(there)
    found = ids[there]
    columns = {
        "query": queries.astype(np.int64),
        "rank": places.astype(np.int64) + 1,
        "id": found.tolist() if found.dtype == object else found,
        "distance": distances[there],
    }
    return module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
