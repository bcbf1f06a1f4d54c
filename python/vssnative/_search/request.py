"""The arguments of a search, looked at before anything is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .._catalog.conditions import Condition, condition_of
from .._index.checks import checked_recall
from ..errors import QueryError
from .pages import Page, read_page

Mode = Literal["vector", "text", "hybrid"]

_MODES = ("vector", "text", "hybrid")
_FUSION_DEPTH = 50


@dataclass(frozen=True)
class Request:
    """What a search asks for beside its query, and where its page begins.

    Attributes:
        k: rows wanted.
        offset: rows before them.
        depth: to which the first page of a hybrid search looked into its two rankings.
        page: the page that they follow, if any.
        condition: which rows count; None for all.
        columns: embedded columns to look at; None for all.
        select: columns of the table to return; None for those that are no blobs.
    """

    k: int
    offset: int
    depth: int
    page: Page | None
    condition: Condition | None
    columns: Sequence[str] | None
    select: Sequence[str] | None
    mode: str | None
    full_text: str | bool | None
    text_weight: float
    stale: bool
    recall: float | None
    max_distance: float | None


def request_of(
    *,
    k: Any,
    offset: Any,
    page: str | None,
    where: Any,
    params: Sequence[object] | Mapping[str, object] | None,
    columns: Sequence[str] | None,
    select: Sequence[str] | None,
    mode: str | None,
    full_text: str | bool | None,
    text_weight: float,
    stale: bool,
    recall: float | None,
    max_distance: float | None,
) -> Request:
    """The arguments of ``search`` as a request.

    Raises:
        QueryError: one of them cannot be; the message says what was expected and what came.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise QueryError(f"k must be a number of rows, 1 or more, not {k!r}")
    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)) or offset < 0:
        raise QueryError(f"offset must be a number of rows, 0 or more, not {offset!r}")
    if mode is not None and mode not in _MODES:
        raise QueryError(f"mode must be one of {', '.join(_MODES)}, not {mode!r}")
    if not isinstance(text_weight, (int, float)) or not 0 <= text_weight < math.inf:
        raise QueryError(f"text_weight must be a number of 0 or more, not {text_weight!r}")
    depth = max(_FUSION_DEPTH, 2 * (int(k) + int(offset)))
    follows = None
    if page is not None:
        if offset:
            raise QueryError("give either offset or page")
        follows = read_page(page)
        offset, depth = follows.offset, follows.depth
    if max_distance is not None:
        number = isinstance(max_distance, (int, float, np.number)) and not isinstance(max_distance, bool)
        if not number or max_distance != max_distance:
            raise QueryError(f"max_distance must be a number, not {max_distance!r}")
    return Request(
        int(k),
        int(offset),
        depth,
        follows,
        condition_of(where, params),
        columns,
        select,
        mode,
        full_text,
        float(text_weight),
        stale,
        checked_recall(recall, QueryError),
        max_distance,
    )
