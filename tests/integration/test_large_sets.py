"""Filters of more rowids than are looked up one by one (an eighth of the table): they go through the cells like others."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from vssnative import Index

ROWS, DIM, ALLOWED, QUERIES = 90_000, 8, 70_000, 20


@pytest.mark.parametrize("recall", [None, 1.0])
def test_a_set_of_seventy_thousand_rowids(
    db: sqlite3.Connection, random: np.random.Generator, recall: float | None
) -> None:
    rows = random.standard_normal((ROWS, DIM), dtype=np.float32)
    ids = random.permutation(ROWS)
    index = Index(db, dim=DIM)
    index.add(ids, rows)
    allowed = np.sort(random.permutation(ROWS)[:ALLOWED])
    db.execute("create table wanted(id integer primary key)")
    db.executemany("insert into wanted values (?)", [(int(id),) for id in allowed])
    db.commit()
    by_id = np.empty_like(rows)
    by_id[ids] = rows
    hits = 0
    for query in random.standard_normal((QUERIES, DIM), dtype=np.float32):
        found, _ = index.search(query, 10, where="rowid in (select id from wanted)", recall=recall)
        squares = ((by_id[allowed].astype(np.float64) - query) ** 2).sum(1)
        truth = allowed[np.argsort(squares, kind="stable")[:10]]
        assert np.isin(found, allowed).all() and len(set(found.tolist())) == 10
        hits += len(set(found.tolist()) & set(truth.tolist()))
    # 0.95 of 200, less three deviations.
    assert hits == 10 * QUERIES if recall == 1.0 else hits >= 178
