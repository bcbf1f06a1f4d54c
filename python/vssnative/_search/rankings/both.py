"""Two rankings as one, by Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual
Rank Learning Methods", SIGIR 2009, with a weight for the ranking by words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..._catalog.records import EmbeddingConfig
from ..._connection import Connection
from ..current import at_most
from ..query import Vector
from .full_text import Words, text_places
from .vectors import Hit, Limits, nearest_rows

if TYPE_CHECKING:
    from ..request import Request

_CONSTANT = 60  # the paper's
DEFAULT_TEXT_WEIGHT = 1.0


def by_both(
    conn: Connection,
    embedding: EmbeddingConfig,
    vectors: Mapping[str, Vector],
    words: Words,
    text: str,
    request: Request,
    limits: Limits,
) -> tuple[list[tuple[Hit, float]], dict[int, int]]:
    """Rows by both rankings, one more than the page needs where there are so many, and the places by words.

    What the first page's depth of both rankings holds is fused, and comes first; then what four times that depth adds, fused
    likewise, and so on until both rankings end. The order depends on the first depth alone, so that pages fit together.
    """
    ordered: dict[int, tuple[Hit, float]] = {}
    depth = request.depth
    while True:
        bounded = at_most(conn, embedding, depth)
        ranked = text_places(conn, embedding, words, text, bounded, limits.among, limits.stale)
        places = {number: place for place, (number, _) in enumerate(ranked, 1)}
        scored, whole = _fused_at(conn, embedding, vectors, places, bounded, request.text_weight, limits)
        for hit, score in scored:
            ordered.setdefault(hit.row_id, (hit, score))
        if whole or len(ordered) > request.offset + request.k:
            return list(ordered.values()), places
        depth *= 4


def measured(
    conn: Connection,
    embedding: EmbeddingConfig,
    vectors: Mapping[str, Vector],
    hits: Sequence[Hit],
    limits: Limits,
) -> list[Hit]:
    """Hits of words alone with their true distance, where they have vectors; the others as they are."""
    others = [hit.row_id for hit in hits if hit.field is None]
    if not others:
        return list(hits)
    exactly = replace(limits, among=json.dumps(sorted(others)), recall=1.0)
    near = nearest_rows(conn, embedding, vectors, len(others), exactly)
    known = {hit.row_id: hit for hit in near}
    return [known.get(hit.row_id, hit) for hit in hits]


def fused(
    hits: Sequence[Hit], ranked: int, places: Mapping[int, int], text_weight: float
) -> list[tuple[Hit, float]]:
    """Hits and their scores, by the sum of 1 / (60 + place) by vectors and `text_weight` / (60 + place) by words.

    Equal sums are ordered by distance, then by number.

    Args:
        ranked: so many of `hits`, the first, are the ranking by vectors.
        places: row number to place, from 1, in the ranking by words.
    """
    scores: dict[int, float] = {}
    for place, hit in enumerate(hits[:ranked], 1):
        scores[hit.row_id] = 1 / (_CONSTANT + place)
    for row_id, place in places.items():
        scores[row_id] = scores.get(row_id, 0.0) + text_weight / (_CONSTANT + place)
    order = sorted(hits, key=lambda hit: (-scores[hit.row_id], hit.distance, hit.row_id))
    return [(hit, scores[hit.row_id]) for hit in order]


def _fused_at(
    conn: Connection,
    embedding: EmbeddingConfig,
    vectors: Mapping[str, Vector],
    places: Mapping[int, int],
    depth: int,
    text_weight: float,
    limits: Limits,
) -> tuple[list[tuple[Hit, float]], bool]:
    """Both rankings to that depth, fused, and whether they hold all rows that the search can find.

    Rows that only words found come after those that are as good by vectors. Their distances are not needed for that, so that
    they are measured for the rows that are shown, except where a largest distance says which of them count.
    """
    hits = nearest_rows(conn, embedding, vectors, depth, limits)
    known = {hit.row_id for hit in hits}
    beside = [Hit(math.inf, number, None) for number in places if number not in known]
    # A row within the largest distance is a row by vectors, too.
    whole = len(hits) < depth and (len(places) < depth or limits.max_distance is not None)
    if limits.max_distance is not None:
        beside = [hit for hit in measured(conn, embedding, vectors, beside, limits) if hit.field is not None]
    there = known | {hit.row_id for hit in beside}
    counted = {number: place for number, place in places.items() if number in there}
    return fused([*hits, *beside], len(hits), counted, text_weight), whole
