"""Ways in which a table comes about and is asked, drawn from a seed: few of them look like what searches learned from.

Rows of a second kind that come later, or in the place of others; filters by where rows lie; distance limits that few
rows meet; queries that are means of rows, shorter than these, or all of one of two kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from benchmarks.recall.drawn import drawn
from benchmarks.recall.kinds import Matrix, Random
from benchmarks.recall.measure import dtype_of

import vssnative


class Table:
    """An empty table in memory."""

    def __init__(self, use: Use) -> None:
        self.conn = vssnative.connect(":memory:")
        self.index = vssnative.Index(self.conn, "t", "a", dim=use.dim, metric=use.metric, type=use.dtype)
        self.dtype = dtype_of(use.dtype)


@dataclass(frozen=True)
class Question:
    """What is asked of the table: for all queries the same."""

    queries: Matrix
    where: str | None = None
    within: int | None = None  # so many rows are nearer than a limit that each query has of its own


@dataclass(frozen=True)
class Use:
    """`fill` makes the table, and tells what it is asked then."""

    words: str
    fill: Callable[[Table], Question]
    metric: str
    dtype: str
    dim: int


def use(seed: int, rows: int, queries: int) -> Use:
    """A use, with a description of what was drawn."""
    random = np.random.default_rng([seed, 1])
    kind, words = drawn(seed)
    vectors, asked = kind.make(np.random.default_rng([seed, 2]), rows, queries)
    # Vectors of another map, of the same length on the average, in as many dimensions.
    others = _others(random, vectors, rows + queries)
    uses = [_appended, _replaced, _mixed, _filtered, _filtered, _within, _moved]
    name, fill = uses[int(random.integers(len(uses)))](random, vectors, asked, others)
    return Use(f"{name}; {words}", fill, kind.metric, kind.dtype, vectors.shape[1])


def _others(random: Random, vectors: Matrix, count: int) -> Matrix:
    dim = vectors.shape[1]
    inner = int(random.integers(2, min(dim, 40) + 1))
    at = random.standard_normal((count, inner)) @ random.standard_normal((inner, dim))
    out = np.tanh(at) if random.random() < 0.5 else at
    out = out + float(np.exp(random.uniform(-4, 0))) * random.standard_normal((count, dim))
    size = np.linalg.norm(vectors, axis=1).mean() / np.linalg.norm(out, axis=1).mean()
    return (out * size * random.choice([0.5, 1, 1, 2])).astype(np.float32)


def _add(table: Table, first: int, vectors: Matrix, parts: int, replace: bool = False) -> None:
    for ids in np.array_split(np.arange(len(vectors)), parts):
        table.index.add(first + ids, vectors[ids].astype(table.dtype), replace=replace)
        table.conn.commit()


Drawn = tuple[str, Callable[[Table], Question]]


def _appended(random: Random, vectors: Matrix, asked: Matrix, others: Matrix) -> Drawn:
    share, parts = float(random.uniform(0.25, 0.9)), int(random.choice([1, 5, 40]))
    count = int(share * len(vectors))

    def fill(table: Table) -> Question:
        _add(table, 0, vectors, 1)
        _add(table, len(vectors), others[:count], parts)
        return Question(others[len(vectors) :])

    return f"{share:.2f} as many of another kind come in {parts} parts, queries like these", fill


def _replaced(random: Random, vectors: Matrix, asked: Matrix, others: Matrix) -> Drawn:
    share, parts = float(random.uniform(0.5, 1)), int(random.choice([2, 10, 40]))
    count = int(share * len(vectors))

    def fill(table: Table) -> Question:
        _add(table, 0, vectors, 1)
        _add(table, 0, others[:count], parts, replace=True)
        return Question(others[len(vectors) :])

    return f"{share:.2f} replaced by another kind in {parts} parts, queries like these", fill


def _mixed(random: Random, vectors: Matrix, asked: Matrix, others: Matrix) -> Drawn:
    share = float(random.uniform(0.15, 0.5))
    count = int(share * len(vectors))
    both = np.concatenate([vectors[count:], others[:count]])[random.permutation(len(vectors))]
    like_others = bool(random.random() < 0.6)

    def fill(table: Table) -> Question:
        _add(table, 0, both, 1)
        return Question(others[len(vectors) :] if like_others else asked)

    return f"{share:.2f} are of another kind, queries like {'these' if like_others else 'the rest'}", fill


def _filtered(random: Random, vectors: Matrix, asked: Matrix, others: Matrix) -> Drawn:
    order = np.argsort(vectors @ random.standard_normal(vectors.shape[1]))
    share = float(np.exp(random.uniform(np.log(0.03), np.log(0.7))))
    count = int(share * len(vectors))
    from_end = bool(random.random() < 0.5)
    where = f"rowid >= {len(vectors) - count}" if from_end else f"rowid < {count}"

    def fill(table: Table) -> Question:
        _add(table, 0, vectors[order], 1)
        return Question(asked, where=where)

    return f"a filter: the {share:.2f} farthest in one direction", fill


def _within(random: Random, vectors: Matrix, asked: Matrix, others: Matrix) -> Drawn:
    within = int(random.choice([1, 2, 5, 20]))

    def fill(table: Table) -> Question:
        _add(table, 0, vectors, 1)
        return Question(asked, within=within)

    return f"a distance that {within} rows are within", fill


def _moved(random: Random, vectors: Matrix, asked: Matrix, others: Matrix) -> Drawn:
    of = int(random.choice([1, 2, 3, 8]))
    times = float(random.choice([0.1, 0.4, 1, 3]))
    queries = asked[random.integers(0, len(asked), (len(asked), of))].mean(1) * np.float32(times)

    def fill(table: Table) -> Question:
        _add(table, 0, vectors, 1)
        return Question(np.ascontiguousarray(queries))

    return f"queries are {times} times the mean of {of}", fill


def shares(table: Table, asked: Question, k: int, recall: float) -> Iterator[float]:
    """Of each query, the share of what an exact search finds."""
    within = "select distance from t where a match ? and k = ? and recall = ? and distance < ?"
    for query in asked.queries.astype(table.dtype):
        if asked.within is not None:
            near = table.index.search(query, asked.within + 1, recall=1.0)[1].astype(np.float64)
            limit = float(near[-2] + near[-1]) / 2
            count = len(table.conn.execute(within, (query.tobytes(), k, recall, limit)).fetchall())
            yield min(count / min(asked.within, k), 1.0)
            continue
        exact = table.index.search(query, k, recall=1.0, where=asked.where)[1]
        found = table.index.search(query, k, recall=recall, where=asked.where)[1]
        there = int(np.count_nonzero(np.isfinite(exact)))
        yield min(int(np.count_nonzero(found <= exact[there - 1])) / there, 1.0)
