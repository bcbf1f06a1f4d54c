"""What may be asked of a column: its dimensions, metric, element type, kind of index, and how many rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..errors import ConfigurationError, QueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

Ids: TypeAlias = "npt.NDArray[Any]"
Distances: TypeAlias = "npt.NDArray[np.float32]"

_METRICS = {
    "l2": "l2",
    "l2sq": "l2",
    "euclidean": "euclidean",
    "ip": "inner_product",
    "dot": "inner_product",
    "inner_product": "inner_product",
    "cos": "cosine",
    "cosine": "cosine",
    "l1": "l1",
    "hamming": "hamming",
    "linf": "linf",
    "canberra": "canberra",
    "braycurtis": "braycurtis",
    "jensenshannon": "jensenshannon",
}
_INDEXES = ("cells", "flat", "faiss")
_TYPES = ("float32", "float16", "bfloat16", "int8", "bit")
MOST_ROWS = 2**32


def checked_dim(dim: int | None) -> int | None:
    if dim is None:
        return None
    if isinstance(dim, bool) or not isinstance(dim, (int, np.integer)) or not 0 < dim <= 65536:
        raise ConfigurationError(f"dim: expected an integer from 1 to 65536, got {dim!r}")
    return int(dim)


def checked_metric(metric: str) -> str:
    if not isinstance(metric, str) or metric.lower() not in _METRICS:
        raise ConfigurationError(
            f"metric: expected one of {', '.join(sorted(set(_METRICS.values())))}, got {metric!r}"
        )
    return _METRICS[metric.lower()]


def checked_type(type: str) -> str:
    if not isinstance(type, str) or type.lower() not in _TYPES:
        raise ConfigurationError(f"type: expected {', '.join(_TYPES)}, got {type!r}")
    return type.lower()


def checked_index(index: str) -> str:
    if not isinstance(index, str) or index.lower() not in _INDEXES:
        raise ConfigurationError(f"index: expected {', '.join(_INDEXES)}, got {index!r}")
    return index.lower()


def checked_factory(factory: str, index: str | None) -> str:
    if not isinstance(factory, str) or not re.fullmatch(r"[A-Za-z0-9,_().+-]+", factory):
        raise ConfigurationError(
            f"factory: expected a factory string of Faiss's, such as 'IVF256,Flat', got {factory!r}"
        )
    if index is not None and index.lower() != "faiss":
        raise ConfigurationError(f"factory={factory!r} is for index='faiss', not for index={index!r}")
    return factory


def settings_text(settings: Mapping[str, int] | None) -> str | None:
    """Search settings as SQL takes them: ``"nprobe=16, k_factor=4"``."""
    if not settings:
        return None
    for name, value in settings.items():
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]+", name):
            raise QueryError(f"settings: expected names such as 'nprobe', got {name!r}")
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**63:
            raise QueryError(f"settings: expected {name} as an integer of 0 or more, got {value!r}")
    return ", ".join(f"{name}={int(value)}" for name, value in settings.items())


def checked_recall(
    recall: float | None, error: type[ConfigurationError | QueryError] = ConfigurationError
) -> float | None:
    """The recall of a column, or of a search, whose error is a ``QueryError``; None: none is named."""
    if recall is None:
        return None
    if isinstance(recall, bool) or not isinstance(recall, (int, float, np.number)) or not 0 < recall <= 1:
        raise error(f"recall: expected a number above 0 and at most 1, got {recall!r}")
    return float(recall)


def checked_k(k: object) -> int:
    if isinstance(k, (int, np.integer)) and k > MOST_ROWS:
        raise QueryError(
            f"k: a column has at most {MOST_ROWS} rows, got an integer of {int(k).bit_length()} bits"
        )
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
        raise QueryError(f"k: expected an integer of 0 or more, got {k!r}")
    return int(k)


def are_found(ids: Ids, distances: Distances) -> npt.NDArray[np.bool_]:
    """Where a search's answer has a row: -1 alone may be an id, and infinity alone a distance that overflowed."""
    found: npt.NDArray[np.bool_] = (ids != (None if ids.dtype == object else -1)) | (distances != np.inf)
    return found


def keys_of(ids: Ids, distances: Distances, keys: dict[int, Any]) -> Ids:
    """The keys of the rowids found, in their places; None where there is no row."""
    out = np.full(ids.shape, None, object)
    for place in zip(*np.nonzero(are_found(ids, distances)), strict=True):
        out[place] = keys.get(int(ids[place]))
    return out


def bfloat16() -> np.dtype[Any] | None:
    try:
        import ml_dtypes  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype
