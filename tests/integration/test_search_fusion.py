"""Vectors and words together."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

import vssnative
from vssnative.errors import QueryError


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.executescript(
        """
        create table posts(id integer primary key, company text, body text);
        create virtual table posts_fts using fts5(body, content='posts', content_rowid='id');
        """
    )
    rows = [(f"c{n % 3}", f"common words and number{n} {'rare' if n in (7, 40) else ''}") for n in range(60)]
    db.executemany("insert into posts(company, body) values (?, ?)", rows)
    db.execute("insert into posts_fts(posts_fts) values ('rebuild')")
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["body"], model="hash:16")
    vssnative.sync(db)
    return db


def test_both_rankings_are_fused_by_reciprocal_ranks(posts: sqlite3.Connection) -> None:
    query = "rare common number12"
    by_vector = [r.rowid for r in vssnative.search(posts, "posts", query, k=50)]
    by_words = [
        row[0]
        for row in posts.execute(
            'select rowid from posts_fts where posts_fts match \'"rare" OR "common" OR "number12"\''
            " order by rank limit 50"
        )
    ]
    scores: dict[int, float] = {}
    for ranking in (by_vector, by_words):
        for place, row in enumerate(ranking, 1):
            scores[row] = scores.get(row, 0.0) + 1 / (60 + place)
    found = vssnative.search(posts, "posts", query, k=10, full_text="posts_fts")
    assert [round(scores[r.rowid], 12) for r in found] == sorted(
        (round(score, 12) for score in scores.values()), reverse=True
    )[:10]
    assert {8, 13} <= {r.rowid for r in found[:6]}
    assert all(np.isfinite(r.distance) for r in found)
    assert [r.text_rank for r in found if r.rowid == by_words[0]] == [1]


def test_a_filter_holds_for_both(posts: sqlite3.Connection) -> None:
    found = vssnative.search(
        posts, "posts", "rare", k=60, where="company = ?", params=["c1"], full_text="posts_fts"
    )
    assert {r.row["company"] for r in found} == {"c1"}
    assert len(found) == 20
    assert {r.rowid for r in found[:2]} == {8, 41}


def test_what_looks_like_syntax_is_words_only(posts: sqlite3.Connection) -> None:
    for query in ('"rare', "rare AND NOT (", "body: rare*", "-rare ^", "NEAR(rare common)"):
        assert vssnative.search(posts, "posts", query, k=5, full_text="posts_fts")
    assert len(vssnative.search(posts, "posts", "?!", k=5, full_text="posts_fts")) == 5


def test_deleted_and_changed_rows(posts: sqlite3.Connection) -> None:
    posts.execute("delete from posts where id = 8")
    posts.execute("update posts set body = body || ' changed' where id = 41")
    posts.commit()
    found = vssnative.search(posts, "posts", "rare", k=60, full_text="posts_fts")
    assert 8 not in {r.rowid for r in found}
    assert [r.stale for r in found if r.rowid == 41] == [True]
    fresh = vssnative.search(posts, "posts", "rare", k=60, full_text="posts_fts", stale=False)
    assert 41 not in {r.rowid for r in fresh}


def test_what_cannot_be(posts: sqlite3.Connection) -> None:
    with pytest.raises(QueryError, match="expected an FTS5 table"):
        vssnative.search(posts, "posts", "rare", full_text="posts")
    with pytest.raises(QueryError, match="as a text"):
        vssnative.search(posts, "posts", np.zeros(16, np.float32), full_text="posts_fts")
