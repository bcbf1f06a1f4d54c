"""Pages of results: where one begins, and of which search it is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._catalog.records import EmbeddingConfig
from ..errors import QueryError
from .query import words_in
from .rankings.vectors import Hit

if TYPE_CHECKING:
    from .request import Request


@dataclass(frozen=True)
class Page:
    """Where a page begins, and what it is a page of.

    Attributes:
        offset: rows before it.
        depth: to which the first page of a hybrid search looked into its two rankings.
        after: distance and number of the last row before it; None where it goes by the offset.
        of: ``search_digest`` of the search whose page it is.
        generation: of the vectors that it looked at.
    """

    offset: int
    depth: int
    after: tuple[float, int] | None
    of: str
    generation: int


def read_page(page: str) -> Page:
    """What ``write_page`` wrote.

    Raises:
        QueryError: it is nothing of the kind.
    """
    try:
        offset, depth, after, digest, generation = json.loads(
            base64.urlsafe_b64decode(page + "=" * (-len(page) % 4))
        )
        if isinstance(offset, int) and isinstance(depth, int) and offset >= 0 and depth >= 1:
            place = None if after is None else (float(after[0]), int(after[1]))
            return Page(offset, depth, place, str(digest), int(generation))
    except (ValueError, TypeError, IndexError, binascii.Error):
        pass
    raise QueryError(f"page: expected next_page of earlier results, got {page!r}")


def write_page(
    offset: int, request: Request, shown: Sequence[tuple[Hit, float]], digest: str, generation: int
) -> str:
    """The page that follows the rows shown, as a text for ``search(..., page=)``."""
    last = shown[-1][0]
    after = None if math.isinf(last.distance) else [last.distance, last.row_id]
    content = json.dumps([offset, request.depth, after, digest, generation])
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def check_generation(embedding: EmbeddingConfig, request: Request) -> None:
    """Refuse a page of vectors that another model has replaced.

    Raises:
        QueryError: it is one.
    """
    if request.page is not None and request.page.generation != embedding.active.id:
        raise QueryError(
            f"page: the vectors of {embedding.name} are those of another model since the page before; search again"
            " without page"
        )


def search_digest(embedding: EmbeddingConfig, request: Request, query: tuple[str, Any]) -> str:
    """Tells searches apart, so that no page is taken for one of another search.

    Raises:
        QueryError: the page that the request asks for is one of another search.
    """
    condition = request.condition
    identity = (
        embedding.id,
        query,
        None if condition is None else (condition.sql, *map(plain_value, condition.params)),
        None if request.columns is None else tuple(request.columns),
        request.mode,
        request.full_text,
        float(request.text_weight),
        bool(request.stale),
        None if request.max_distance is None else float(request.max_distance),
    )
    digest = hashlib.blake2b(repr(identity).encode(errors="surrogatepass"), digest_size=8).hexdigest()
    if request.page is not None and request.page.of != digest:
        raise QueryError(
            "page: it is next_page of another search; table, query, where, params, columns, mode and the like must be"
            " as they were (k and select may differ)"
        )
    return digest


def plain_query(query: Any) -> object:
    """A query as a value whose repr tells it apart from others."""
    if isinstance(query, str):
        return str.__str__(query)
    if isinstance(query, Mapping):
        return sorted((text, float(weight)) for text, weight in query.items())
    if words_in(query) is not None:
        return list(query)
    try:
        return np.asarray(query, dtype=np.float32).tobytes()
    except (TypeError, ValueError):
        return query  # refused where the vectors are made


def plain_value(value: Any) -> object:
    """A number of numpy's is the same value as Python's, which the program may have the next time."""
    return value.item() if isinstance(value, np.generic) else value
