"""Which texts go through the model together.

Texts of similar length belong together: padding, and the work on a text's own tokens, are even then. A batch holds a bounded
number of tokens, so that its intermediate values stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .protocol import Int64Vector

# The last batch of each thread is cut into so many. (Of 384 tokens, these have 96, which cost little more each.)
_SMALL = 4


def padded_batches(lengths: Int64Vector, budget: int, parts: int = 1) -> Iterator[Int64Vector]:
    """Positions of the texts of each batch, longest texts first.

    Args:
        lengths: int64 ``(n,)``, tokens of each text.
        budget: tokens a batch may hold, padding included; a longer text is a batch of its own.
        parts: make at least this many batches where there are as many texts, so that as many threads have work.
    """
    count = len(lengths)
    if count == 0:
        return
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < count:
        longest = max(1, int(lengths[order[start]]))
        share = -(-(count - start) // parts)
        stop = min(count, start + min(share, max(1, budget // longest)))
        yield order[start:stop]
        start = stop
        parts = max(1, parts - 1)


def packed_batches(lengths: Int64Vector, budget: int, parts: int = 1) -> Iterator[Int64Vector]:
    """Positions of the texts of each batch, longest texts first, where texts are not padded.

    Batches hold about the same number of tokens, and their number is a multiple of ``parts`` where there are enough
    texts, so that threads have as much work each; the last ones are smaller, so that threads end together.

    Args:
        lengths: int64 ``(n,)``, tokens of each text.
        budget: tokens that a batch holds, about; it may be more by less than one text.
        parts: how many threads there are.
    """
    count = len(lengths)
    if count == 0:
        return
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    total = int(ends[-1])
    wanted = min(count, -(-max(1, -(-total // budget)) // parts) * parts)
    edges = np.arange(1, wanted) * (total / wanted)
    if 1 < parts < wanted:
        # One thread ends before the others: by a small batch's time.
        last = total * (1 - parts / wanted)
        edges = np.concatenate([edges[: wanted - parts], np.linspace(last, total, parts * _SMALL + 1)[1:-1]])
    # A text belongs to the batch in which its middle token lies.
    places = np.searchsorted(edges, ends - lengths[order] / 2, side="right")
    yield from np.split(order, np.flatnonzero(np.diff(places)) + 1)
