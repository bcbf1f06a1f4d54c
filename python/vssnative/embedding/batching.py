"""Which texts go through the model together.

Texts of one batch are padded to the longest of them, so texts of like length belong together; and a batch holds a
bounded number of tokens, so that its intermediate values stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .protocol import Int64Vector


def token_batches(lengths: Int64Vector, budget: int, parts: int = 1) -> Iterator[Int64Vector]:
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
