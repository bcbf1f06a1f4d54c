"""What a backfill will cost, from a sample of the table's own texts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .._catalog.content import sample_texts
from .._catalog.records import EmbeddingConfig
from .._connection import Connection, execute
from .._sql import quote_identifier
from ..embedding.chunking import spans_of, split_text
from ..embedding.protocol import Embedder
from ..embedding.registry import is_hosted

_SAMPLED_ROWS = 64
_TIMED_TEXTS = 128


@dataclass(frozen=True)
class Estimate:
    """The work of a backfill.

    Attributes:
        rows: rows of the table now.
        texts: texts to embed, estimated from a sample: one per row and field, or per passage of it; empty ones left
            out.
        tokens: their tokens, as far as the model looks at them, estimated from the sample.
        seconds: time for the embedding on this machine, from embedding some of the sample; None for an empty table,
            and for a hosted model, which a plan sends nothing to.
        cost: money, where a price per million tokens was given.
    """

    rows: int
    texts: int
    tokens: int
    seconds: float | None
    cost: float | None


def estimate_work(
    conn: Connection, embedding: EmbeddingConfig, embedder: Embedder, price: float | None
) -> Estimate:
    """Estimate the backfill of an embedding that need not be recorded yet.

    Args:
        price: money per million tokens.
    """
    [(rows,)] = execute(conn, f"select count(*) from main.{quote_identifier(embedding.source)}")
    texts = sample_texts(conn, embedding, embedding.active, _SAMPLED_ROWS)
    if not texts:
        return Estimate(rows, 0, 0, None if rows == 0 else 0.0, None if price is None else 0.0)
    chunk = embedding.active.chunk
    if chunk is not None:
        spans = spans_of(embedder)
        texts = [p.text for text in texts for p in split_text(text, chunk, spans) if p.text]
    tokens = embedder.count_tokens(texts)
    if embedder.max_tokens is not None:
        tokens = np.minimum(tokens, embedder.max_tokens)
    scale = max(1.0, rows / _SAMPLED_ROWS)
    total = round(float(tokens.sum()) * scale)
    cost = None if price is None else total * price / 1_000_000
    seconds = None if sends_texts_away(embedder) else _seconds(embedder, texts) * scale
    return Estimate(rows, round(len(texts) * scale), total, seconds, cost)


def sends_texts_away(embedder: Embedder) -> bool:
    """Whether a call of the model is a request to somebody, perhaps a paid one: a plan makes none."""
    return is_hosted(embedder.config())


def _seconds(embedder: Embedder, texts: list[str]) -> float:
    """Time for these texts, by embedding some of them: a plan is not to take long."""
    some = texts[:_TIMED_TEXTS]
    started = time.perf_counter()
    embedder.embed_documents(some)
    return (time.perf_counter() - started) * len(texts) / len(some)
