"""Two rankings as one: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion Outperforms Condorcet and Individual
Rank Learning Methods", SIGIR 2009, with a weight for the ranking by words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .vectors import Hit

_CONSTANT = 60  # the paper's
DEFAULT_TEXT_WEIGHT = 1.0


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
