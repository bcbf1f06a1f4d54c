"""Kinds of data that nobody has seen before: how rows and queries come about is drawn from a seed.

A map of one to three layers bends normal numbers of few dimensions into the vectors' space; rows lie around centres of
very different sizes, or around none; each dimension has a scale of its own; lengths, noise, metric, type, the number of
dimensions and how far queries are from the rows are drawn as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from benchmarks.recall.kinds import Kind, Made, Matrix, Random

_SHAPES: list[Callable[[Matrix], Matrix]] = [np.tanh, np.sin, np.abs, np.cbrt, lambda x: x, lambda x: x * x]


def drawn(seed: int) -> tuple[Kind, str]:
    """A kind, and what was drawn, in words."""
    draw = np.random.default_rng(seed)
    dim = int(np.exp(draw.uniform(np.log(4), np.log(1000))))
    inner = int(min(dim, np.exp(draw.uniform(np.log(2), np.log(300)))))
    centres = int(np.exp(draw.uniform(np.log(5), np.log(3000)))) if draw.random() < 0.7 else 0
    spread = float(np.exp(draw.uniform(np.log(0.05), np.log(1.5))))
    layers = int(draw.integers(1, 4))
    shapes = [int(draw.integers(len(_SHAPES))) for _ in range(layers)]
    fall = float(draw.uniform(0, 1.5))  # of the dimensions' scales
    noise = float(np.exp(draw.uniform(np.log(0.001), np.log(0.5))))
    lengths = float(draw.choice([0, 0, 0.2, 0.8]))  # deviation of their logarithms
    away = float(draw.choice([0, 0, 0, 0.5, 2]))  # queries are noisier than rows
    metric = str(draw.choice(["l2", "cosine", "ip"]))
    dtype = str(draw.choice(["float32", "float32", "float16", "bfloat16"]))

    def make(random: Random, rows: int, queries: int) -> Made:
        maps = [
            random.standard_normal((inner, inner), dtype=np.float32) / np.sqrt(inner) for _ in range(layers)
        ]
        last = random.standard_normal((inner, dim), dtype=np.float32) / np.sqrt(inner)
        scales = (np.arange(1, dim + 1) ** -fall).astype(np.float32)
        middle = random.standard_normal((max(centres, 1), inner), dtype=np.float32)
        # A few centres have most of the rows.
        share = random.pareto(1.0, max(centres, 1)) + 0.01
        share /= share.sum()

        def vectors(n: int, noisier: float) -> Matrix:
            at = random.standard_normal((n, inner), dtype=np.float32)
            if centres:
                at = middle[random.choice(centres, n, p=share)] + np.float32(spread) * at
            for layer, shape in zip(maps, shapes, strict=True):
                at = _SHAPES[shape](at @ layer).astype(np.float32)
            out = at @ last
            size = float(np.abs(out).mean()) or 1.0
            out = out / size + np.float32(noise + noisier) * random.standard_normal(
                (n, dim), dtype=np.float32
            )
            out = out * scales * np.exp(lengths * random.standard_normal((n, 1))).astype(np.float32)
            return np.ascontiguousarray(out, np.float32)

        return vectors(rows, 0), vectors(queries, away)

    words = (
        f"{dim} dimensions of {inner}, {centres} centres, spread {spread:.2f}, {layers} layers, scales {fall:.1f}, noise "
        f"{noise:.3f}, lengths {lengths}, queries {away}, {metric}, {dtype}"
    )
    return Kind(make, metric, dtype), words
