"""Kinds of data that recall is measured on: rows, and queries from outside the table.

Each kind is made from a seed; only ``minilm`` and what is made of it need the real vectors (``benchmarks/data.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Random = np.random.Generator
Made = tuple[Matrix, Matrix]


@dataclass(frozen=True)
class Kind:
    """How rows and queries are made, and how they are compared."""

    make: Callable[[Random, int, int], Made]
    metric: str = "l2"
    dtype: str = "float32"


def _real(queries: Callable[[Random, Matrix, Matrix, int], Matrix] | None = None) -> Callable[..., Made]:
    def make(random: Random, rows: int, count: int) -> Made:
        from benchmarks.data import dataset_directory

        vectors = np.load(dataset_directory() / "vectors.npy", mmap_mode="r")
        outside = np.array(np.load(dataset_directory() / "queries.npy", mmap_mode="r")[:count])
        table = np.array(vectors[:rows])
        return table, outside if queries is None else queries(random, table, outside, count)

    return make


def _differences(random: Random, table: Matrix, _outside: Matrix, count: int) -> Matrix:
    pairs = random.integers(0, len(table), (count, 2))
    return table[pairs[:, 0]] - table[pairs[:, 1]]


def _alien(random: Random, table: Matrix, _outside: Matrix, count: int) -> Matrix:
    return random.standard_normal((count, table.shape[1]), dtype=np.float32)


def _normals(dim: int) -> Callable[[Random, int, int], Made]:
    def make(random: Random, rows: int, queries: int) -> Made:
        return (
            random.standard_normal((rows, dim), dtype=np.float32),
            random.standard_normal((queries, dim), dtype=np.float32),
        )

    return make


def _uniform(dim: int) -> Callable[[Random, int, int], Made]:
    def make(random: Random, rows: int, queries: int) -> Made:
        return random.random((rows, dim), dtype=np.float32), random.random((queries, dim), dtype=np.float32)

    return make


def _spread_norms(dim: int) -> Callable[[Random, int, int], Made]:
    def make(random: Random, rows: int, queries: int) -> Made:
        table, asked = _normals(dim)(random, rows, queries)
        table *= np.exp(random.standard_normal((rows, 1), dtype=np.float32) * 0.5)
        asked *= np.exp(random.standard_normal((queries, 1), dtype=np.float32) * 0.5)
        return table, asked

    return make


def _clusters(dim: int, count: int, spread: float) -> Callable[[Random, int, int], Made]:
    def make(random: Random, rows: int, queries: int) -> Made:
        centers = random.standard_normal((count, dim), dtype=np.float32)

        def members(n: int) -> Matrix:
            near = centers[random.integers(0, count, n)]
            return near + spread * random.standard_normal((n, dim), dtype=np.float32)

        return members(rows), members(queries)

    return make


def _like_sift(random: Random, rows: int, queries: int) -> Made:
    """Non-negative integers, few of them large, in groups of alike rows."""
    shapes = random.gamma(0.6, 1.0, (200, 128)) + 0.05

    def some(n: int) -> Matrix:
        drawn = random.gamma(shapes[random.integers(0, 200, n)], 25.0)
        return np.floor(np.clip(drawn, 0, 218)).astype(np.float32)

    return some(rows), some(queries)


def _binary(random: Random, rows: int, queries: int) -> Made:
    def some(n: int) -> Matrix:
        return (random.random((n, 256), dtype=np.float32) < 0.3).astype(np.float32)

    return some(rows), some(queries)


def _sparse(random: Random, rows: int, queries: int) -> Made:
    """Like word counts: some twenty of 512 columns, common words more often."""
    chance = 1 / np.arange(1, 513)
    chance /= chance.sum()

    def some(n: int) -> Matrix:
        words = random.choice(512, (n, 30), p=chance)
        out = np.zeros((n, 512), np.float32)
        np.add.at(out, (np.arange(n)[:, None], words), 1)
        return np.log1p(out)

    return some(rows), some(queries)


def _copies(count: int) -> Callable[[Random, int, int], Made]:
    def make(random: Random, rows: int, queries: int) -> Made:
        base = random.standard_normal((count, 64), dtype=np.float32)
        return base[random.integers(0, count, rows)], random.standard_normal((queries, 64), dtype=np.float32)

    return make


def _outliers(random: Random, rows: int, queries: int) -> Made:
    """One tight cluster, and one row in a hundred far from it."""

    def some(n: int) -> Matrix:
        out = 10 + 0.01 * random.standard_normal((n, 128), dtype=np.float32)
        far = random.random(n) < 0.01
        out[far] = 20 * random.standard_normal((int(far.sum()), 128), dtype=np.float32)
        return out

    return some(rows), some(queries)


def _milliseconds(random: Random, rows: int, queries: int) -> Made:
    """Raw features, one of them a time in milliseconds."""

    def some(n: int) -> Matrix:
        out = random.standard_normal((n, 32), dtype=np.float32)
        out[:, 7] = 1.7e12 + random.random(n) * 3.2e10
        out[:, 3] *= 500
        return out

    return some(rows), some(queries)


def _sixth_digit(random: Random, rows: int, queries: int) -> Made:
    common = random.random(64, dtype=np.float32) + 1

    def some(n: int) -> Matrix:
        return (common * (1 + 1e-6 * random.standard_normal((n, 64)))).astype(np.float32)

    return some(rows), some(queries)


def _common_part(random: Random, rows: int, queries: int) -> Made:
    """A large part that all have in common, under cosine."""
    common = random.standard_normal(128, dtype=np.float32) * 20
    table, asked = _normals(128)(random, rows, queries)
    return table + common, asked + common


def _line(random: Random, rows: int, queries: int) -> Made:
    """Positions along a curve in many dimensions."""
    rates = random.random(100) * 6

    def some(n: int) -> Matrix:
        at = random.random((n, 1))
        return np.sin(at * rates + np.arange(100)).astype(np.float32)

    return some(rows), some(queries)


def _integers(random: Random, rows: int, queries: int) -> Made:
    def some(n: int) -> Matrix:
        return np.clip(np.rint(random.standard_normal((n, 256)) * 40), -127, 127).astype(np.float32)

    return some(rows), some(queries)


def _hashed_words(random: Random, rows: int, queries: int) -> Made:
    """Real texts embedded without a model: signed hashes of their words, weighed by rarity, of 256 columns."""
    import json
    import re
    import zlib

    from benchmarks.data import dataset_directory

    with (dataset_directory() / "texts.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)[1] for line in file]
    texts = [texts[i] for i in random.permutation(len(texts))[: rows + queries]]
    words = [re.findall(r"[a-z]+", text.lower()) for text in texts]
    counts: dict[str, int] = {}
    for some in words:
        for word in set(some):
            counts[word] = counts.get(word, 0) + 1
    weights = {
        word: (
            (h := zlib.crc32(word.encode())) % 256,
            (1 if h >> 16 & 1 else -1) * np.log(len(texts) / count),
        )
        for word, count in counts.items()
    }
    out = np.zeros((len(texts), 256), np.float32)
    for row, some in zip(out, words, strict=True):
        for word in some:
            column, weight = weights[word]
            row[column] += weight
        row[0] += 1e-3  # a text without words has a direction too
    return out[:rows], out[rows:]


def _topics(random: Random, rows: int, queries: int) -> Made:
    """Mixtures of few topics: shares that add up to 1."""

    def some(n: int) -> Matrix:
        return random.dirichlet(np.full(96, 0.08), n).astype(np.float32)

    return some(rows), some(queries)


def _heavy_tails(random: Random, rows: int, queries: int) -> Made:
    """Student's t of 3 degrees of freedom: some values are huge."""

    def some(n: int) -> Matrix:
        return random.standard_t(3, (n, 96)).astype(np.float32)

    return some(rows), some(queries)


def _nested(random: Random, rows: int, queries: int) -> Made:
    """Clusters of clusters of clusters, some of them with many more rows than others."""
    top = random.standard_normal((12, 160)) * 4
    middle = top[random.integers(0, 12, 120)] + random.standard_normal((120, 160)) * 1.5
    low = middle[random.integers(0, 120, 1500)] + random.standard_normal((1500, 160)) * 0.6
    weights = random.pareto(1.2, 1500) + 0.05
    weights /= weights.sum()

    def some(n: int) -> Matrix:
        near = low[random.choice(1500, n, p=weights)]
        return (near + 0.25 * random.standard_normal((n, 160))).astype(np.float32)

    return some(rows), some(queries)


def _walks(random: Random, rows: int, queries: int) -> Made:
    """Windows of random walks, brought to mean 0: neighbouring columns are much alike."""

    def some(n: int) -> Matrix:
        out = np.cumsum(random.standard_normal((n, 128), dtype=np.float32), axis=1)
        return out - out.mean(axis=1, keepdims=True)

    return some(rows), some(queries)


def _places(random: Random, rows: int, queries: int) -> Made:
    """Latitude and longitude as three coordinates, around towns of very unlike sizes."""
    towns = random.standard_normal((400, 3))
    towns /= np.linalg.norm(towns, axis=1, keepdims=True)
    sizes = 1 / np.arange(1, 401)
    sizes /= sizes.sum()

    def some(n: int) -> Matrix:
        at = towns[random.choice(400, n, p=sizes)] + 0.003 * random.standard_normal((n, 3))
        return (at / np.linalg.norm(at, axis=1, keepdims=True)).astype(np.float32)

    return some(rows), some(queries)


def _two_kinds(random: Random, rows: int, queries: int) -> Made:
    """Two models' vectors in one column; nine in ten rows are of the one, half of the queries of the other."""
    shared = random.standard_normal(192, dtype=np.float32)

    def one(n: int) -> Matrix:
        return random.standard_normal((n, 24), dtype=np.float32) @ plane + 0.3 * shared

    def other(n: int) -> Matrix:
        return random.standard_normal((n, 192), dtype=np.float32) * 0.8 - 0.5 * shared

    plane = random.standard_normal((24, 192), dtype=np.float32) / 5
    table = np.concatenate([one(rows - rows // 10), other(rows // 10)])
    asked = np.concatenate([one(queries - queries // 2), other(queries // 2)])
    return table[random.permutation(rows)], asked[random.permutation(queries)]


KINDS: dict[str, Kind] = {
    "minilm": Kind(_real(), "cosine"),
    "minilm-l2": Kind(_real(), "l2"),
    "minilm-ip": Kind(_real(), "ip"),
    "minilm-float16": Kind(_real(), "cosine", "float16"),
    "minilm-bfloat16": Kind(_real(), "cosine", "bfloat16"),
    "minilm-differences": Kind(_real(_differences), "cosine"),
    "minilm-alien": Kind(_real(_alien), "cosine"),
    "normal-16": Kind(_normals(16)),
    "normal-64": Kind(_normals(64)),
    "normal-384": Kind(_normals(384)),
    "normal-384-cosine": Kind(_normals(384), "cosine"),
    "normal-128-ip": Kind(_normals(128), "ip"),
    "uniform-128": Kind(_uniform(128)),
    "uniform-384": Kind(_uniform(384)),
    "lognormal-128-ip": Kind(_spread_norms(128), "ip"),
    "lognormal-128": Kind(_spread_norms(128)),
    "clusters-256": Kind(_clusters(256, 500, 0.05)),
    "clusters-64-cosine": Kind(_clusters(64, 300, 0.5), "cosine"),
    "like-sift": Kind(_like_sift),
    "binary-256": Kind(_binary),
    "sparse-512": Kind(_sparse),
    "sparse-512-cosine": Kind(_sparse, "cosine"),
    "normal-2": Kind(_normals(2)),
    "normal-3-cosine": Kind(_normals(3), "cosine"),
    "normal-8": Kind(_normals(8)),
    "normal-8-ip": Kind(_normals(8), "ip"),
    "normal-1536": Kind(_normals(1536), "cosine"),
    "clusters-1536": Kind(_clusters(1536, 2000, 0.7), "cosine"),
    "clusters-3072": Kind(_clusters(3072, 1000, 0.7), "cosine"),
    "copies-100": Kind(_copies(100)),
    "copies-1000": Kind(_copies(1000)),
    "outliers": Kind(_outliers),
    "milliseconds": Kind(_milliseconds),
    "sixth-digit": Kind(_sixth_digit),
    "common-part-cosine": Kind(_common_part, "cosine"),
    "curve": Kind(_line),
    "int8": Kind(_integers, "l2", "int8"),
    "int8-ip": Kind(_integers, "ip", "int8"),
    # Made after the rule was, and never looked at while it was tuned.
    "hashed-words-cosine": Kind(_hashed_words, "cosine"),
    "hashed-words-ip": Kind(_hashed_words, "ip"),
    "topics-96": Kind(_topics),
    "topics-96-cosine": Kind(_topics, "cosine"),
    "heavy-tails": Kind(_heavy_tails),
    "heavy-tails-ip": Kind(_heavy_tails, "ip"),
    "nested": Kind(_nested),
    "nested-cosine": Kind(_nested, "cosine", "float16"),
    "walks": Kind(_walks),
    "places": Kind(_places),
    "two-kinds": Kind(_two_kinds),
    "two-kinds-cosine": Kind(_two_kinds, "cosine"),
}
