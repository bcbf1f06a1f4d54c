"""What a search hands out: keys, scores, frames, pages; queries of several texts, of vectors, of a row."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import vssnative
from vssnative.embedding.hashing import HashEmbedder
from vssnative.errors import QueryError

WORDS = ["red", "green", "blue", "round", "square", "old", "new", "big"]


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, company text, body text, picture blob)")
    db.executemany(
        "insert into posts(company, body, picture) values (?, ?, zeroblob(9))",
        [(f"c{n % 5}", f"{WORDS[n % 8]} {WORDS[n // 8 % 8]} item{n}") for n in range(200)],
    )
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["body"], model="hash:64")
    vssnative.sync(db)
    return db


def test_frames_have_the_rows_columns(posts: sqlite3.Connection) -> None:
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    found = vssnative.search(posts, "posts", "red item8", k=4)
    names = ["rank", "distance", "score", "stale", "id", "company", "body"]
    frame = found.to_pandas()
    assert list(frame.columns) == names and list(frame["id"]) == [r.key for r in found]
    assert pandas.DataFrame(found)[names].equals(frame)
    assert found.to_arrow().column_names == names and found.to_arrow()["body"].to_pylist() == [
        r.row["body"] for r in found
    ]
    assert found.to_polars().columns == names and found.to_polars()["rank"].to_list() == [1, 2, 3, 4]
    none = vssnative.search(posts, "posts", "red", where="id < 0")
    assert list(none.to_pandas().columns) == names and len(none.to_pandas()) == 0
    assert none.to_arrow().num_rows == 0 and none.to_polars().height == 0
    assert isinstance(found.to_arrow(), pyarrow.Table) and isinstance(found.to_polars(), polars.DataFrame)


def test_a_result_is_one_flat_record_too(posts: sqlite3.Connection) -> None:
    [found] = vssnative.search(posts, "posts", "red red item0", k=1)
    assert dict(found) == {
        "rank": 1,
        "distance": found.distance,
        "score": 1 - found.distance,
        "stale": False,
        "id": 1,
        "company": "c0",
        "body": "red red item0",
    }
    assert found["body"] == "red red item0" and (found.key, found.rowid) == (1, 1)
    with pytest.raises(KeyError):
        found["nothing"]


def test_results_are_readable_where_they_are_shown(posts: sqlite3.Connection) -> None:
    posts.execute("update posts set body = ? where id = 1", ("<b>red</b> red item0\n" + "x" * 500,))
    posts.commit()
    vssnative.sync(posts)
    found = vssnative.search(posts, "posts", "item0 red", k=3)
    lines = repr(found).splitlines()
    assert lines[0] == "<Results: 3 rows>" and len(lines) == 5 and max(map(len, lines)) < 120
    assert "&lt;b&gt;red" in found._repr_html_() and "<b>" not in found._repr_html_()


def test_select_brings_what_is_asked_for_and_blobs_only_then(posts: sqlite3.Connection) -> None:
    [found] = vssnative.search(posts, "posts", "red", k=1)
    assert set(found.row) == {"id", "company", "body"}
    [found] = vssnative.search(posts, "posts", "red", k=1, select=["PICTURE", "company"])
    assert found.row == {"picture": bytes(9), "company": found.row["company"]}
    assert found.key == found.rowid
    with pytest.raises(QueryError, match="posts has no column 'colour'; it has id, company, body, picture"):
        vssnative.search(posts, "posts", "red", select=["colour"])
    with pytest.raises(QueryError, match="a list of columns"):
        vssnative.search(posts, "posts", "red", select="body")


def test_columns_called_as_ours_keep_theirs_and_ours(db: sqlite3.Connection) -> None:
    db.execute(
        "create table t(id integer primary key, rank text, distance text, score text, passage text, body text)"
    )
    db.execute("insert into t values (1, 'captain', 'far', 'high', 'narrow', 'red')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16")
    vssnative.sync(db)
    [record] = vssnative.search(db, "t", "red").to_dicts()
    assert record["rank"] == 1 and record["distance"] == pytest.approx(0, abs=1e-6)
    assert (record["t.rank"], record["t.distance"], record["t.score"]) == ("captain", "far", "high")
    assert vssnative.search(db, "t", "red")[0].row["rank"] == "captain"


@pytest.mark.parametrize("mode", ["vector", "hybrid", "text"])
def test_pages_follow_each_other_without_gaps(posts: sqlite3.Connection, mode: vssnative.Results) -> None:
    vssnative.add_embeddings(posts, "posts", columns=["body"], model="hash:64", full_text=True)
    options = {"mode": mode} if mode != "vector" else {"mode": mode, "recall": 1.0}
    whole = [r.key for r in vssnative.search(posts, "posts", "old red", k=45, **options)]  # type: ignore[arg-type]
    keys: list[int] = []
    ranks: list[int] = []
    page = None
    for _ in range(3):
        found = vssnative.search(posts, "posts", "old red", k=15, page=page, **options)  # type: ignore[arg-type]
        keys += [r.key for r in found]
        ranks += [r.rank for r in found]
        page = found.next_page
    assert len(keys) == len(set(keys)) == len(whole) and ranks == list(range(1, len(whole) + 1))
    if mode != "hybrid":  # whose two rankings are first looked into as deep as the first page asks for
        assert keys == whole
    skipped = vssnative.search(posts, "posts", "old red", k=15, offset=15, **options)  # type: ignore[arg-type]
    assert skipped[0].rank == 16
    if mode == "vector":
        assert [r.key for r in skipped] == whole[15:30]


@pytest.mark.parametrize("limits", [{}, {"where": "id % 3 > 0"}, {"max_distance": 0.99}], ids=str)
def test_hybrid_pages_go_on_until_both_rankings_end(
    db: sqlite3.Connection, limits: dict[str, object]
) -> None:
    """107 of 600 rows came, by pages of 50."""
    db.execute("create table posts(id integer primary key, body text)")
    colours = ("red", "green", "blue")
    rows = [(f"{colours[n % 3] * (n % 5 < 4)} item{n} of {colours[n % 2]}",) for n in range(600)]
    db.executemany("insert into posts(body) values (?)", rows)
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["body"], model="hash:64", full_text=True)
    vssnative.sync(db)

    def pages(*sizes: int) -> Iterator[vssnative.Results]:
        page = None
        for k in itertools.chain(sizes, itertools.repeat(sizes[-1])):
            found = vssnative.search(
                db,
                "posts",
                "red item7",
                k=k,
                page=page,
                mode="hybrid",
                recall=1.0,
                **limits,  # type: ignore[arg-type]
            )
            yield found
            page = found.next_page
            if page is None:
                return

    found = list(pages(50))
    keys = [result.key for results in found for result in results]
    every = {"recall": 1.0, "mode": "vector", **limits}
    expected = vssnative.search(db, "posts", "red item7", k=600, **every)  # type: ignore[arg-type]
    assert len(expected) > 200 and sorted(keys) == sorted(result.key for result in expected)
    assert [len(results) for results in found[:-1]] == [50] * (len(found) - 1)
    assert [result.rank for results in found for result in results] == list(range(1, len(keys) + 1))
    # The first page's depth is that of a page of 50 here, too.
    assert [result.key for results in pages(50, 130, 7, 64) for result in results] == keys


def test_the_last_page_says_so(posts: sqlite3.Connection) -> None:
    found = vssnative.search(posts, "posts", "red", k=30, where="company = 'c1'")
    assert len(found) == 30
    rest = vssnative.search(posts, "posts", "red", k=30, where="company = 'c1'", page=found.next_page)
    assert len(rest) == 10 and rest.next_page is None
    with pytest.raises(QueryError, match="expected next_page"):
        vssnative.search(posts, "posts", "red", page="nonsense")
    with pytest.raises(QueryError, match="either offset or page"):
        vssnative.search(posts, "posts", "red", page=found.next_page, offset=3)


def test_many_queries_are_answered_as_each_alone_with_one_call_of_the_model(
    posts: sqlite3.Connection,
) -> None:
    class Counting(HashEmbedder):
        calls = 0

        def embed_queries(self, texts):  # type: ignore[no-untyped-def]
            Counting.calls += 1
            return super().embed_queries(texts)

    queries = ["old red", "big square", {"red": 1.0, "old": -0.5}]
    many = vssnative.search_many(posts, "posts", queries, 5, embedder=Counting(64))
    assert Counting.calls == 1
    alone = [vssnative.search(posts, "posts", query, 5) for query in queries]
    assert [[r.key for r in one] for one in many] == [[r.key for r in one] for one in alone]
    with pytest.raises(QueryError, match=r"write \[query\]"):
        vssnative.search_many(posts, "posts", "red")
    assert vssnative.search_many(posts, "posts", []) == []


def test_several_texts_are_added_up_and_negative_ones_taken_away(posts: sqlite3.Connection) -> None:
    embedder = HashEmbedder(64)
    a, b = (v / np.linalg.norm(v) for v in embedder.embed_queries(["red", "round"]).astype(np.float64))
    for query, vector in ((["red", "round"], a + b), ({"red": 1.0, "round": -0.5}, a - 0.5 * b)):
        expected = vssnative.search(posts, "posts", vector, k=20, recall=1.0)
        found = vssnative.search(posts, "posts", query, k=20, recall=1.0)
        assert [r.key for r in found] == [r.key for r in expected]
    with pytest.raises(QueryError, match="cancel out"):
        vssnative.search(posts, "posts", {"red": 0.0})


def test_rows_like_a_row(posts: sqlite3.Connection) -> None:
    vector = HashEmbedder(64).embed_documents(
        [posts.execute("select body from posts where id = 20").fetchone()[0]]
    )[0]
    expected = [r.key for r in vssnative.search(posts, "posts", vector, k=8, recall=1.0) if r.key != 20]
    found = vssnative.search(posts, "posts", similar_to=20, k=7, recall=1.0)
    assert [r.key for r in found] == expected[:7]
    with pytest.raises(QueryError, match="has no row 999"):
        vssnative.search(posts, "posts", similar_to=999)
    posts.execute("insert into posts(id, body) values (999, 'new')")
    posts.commit()
    with pytest.raises(QueryError, match="row 999 of posts has no vectors yet"):
        vssnative.search(posts, "posts", similar_to=999)
    for key, words in (
        (uuid.uuid4(), "give str"),
        (object(), "expected the primary key"),
        ([20], "expected the primary"),
    ):
        with pytest.raises(QueryError, match=f"similar_to: .*{words}"):
            vssnative.search(posts, "posts", similar_to=key)
    with pytest.raises(QueryError, match="either query or similar_to"):
        vssnative.search(posts, "posts", "red", similar_to=20)


@pytest.mark.parametrize("query", [b"red", None, "", [], ["red", " "], ["red", 1], object(), {"red": "x"}])
def test_what_is_no_query(posts: sqlite3.Connection, query: object) -> None:
    with pytest.raises(QueryError, match="query"):
        vssnative.search(posts, "posts", query)  # type: ignore[arg-type]


def test_any_k_and_a_list_as_a_vector(posts: sqlite3.Connection) -> None:
    assert len(vssnative.search(posts, "posts", "red", k=10**12)) == 200
    [vector] = HashEmbedder(64).embed_queries(["red red item0"])
    assert vssnative.search(posts, "posts", [float(x) for x in vector], k=1)[0].key == 1


def test_one_bad_cell_spoils_no_search(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, body text, note text, size)")
    db.execute("insert into t values (1, 'red', cast(x'ff41' as text), 7), (2, 'red too', 'ok', 2.5)")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16")
    vssnative.sync(db)
    found = {r.key: r.row for r in vssnative.search(db, "t", "red")}
    assert found[1] == {"id": 1, "body": "red", "note": "\ufffdA", "size": 7}
    assert found[2] == {"id": 2, "body": "red too", "note": "ok", "size": 2.5}


def test_an_answer_that_is_empty_because_nothing_is_embedded_says_so(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, body text)")
    db.execute("insert into t(body) values ('red'), ('blue')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16")
    with pytest.warns(vssnative.VssWarning, match="2 rows are waiting for their vectors") as caught:
        found = vssnative.search(db, "t", "red")
    assert (len(found), found.pending) == (0, 2) and caught[0].filename == __file__
    vssnative.sync(db)
    assert vssnative.search(db, "t", "red").pending == 0


def test_threads_that_share_a_connection_wait_for_each_other(
    posts: sqlite3.Connection, open_db: Callable[..., sqlite3.Connection]
) -> None:
    shared = open_db(check_same_thread=False)
    shared.text_factory = bytes
    failures: list[BaseException] = []
    answers: list[list[int]] = []

    def work() -> None:
        try:
            for _ in range(20):
                found = vssnative.search(shared, "posts", "old red", k=5)
                assert all(isinstance(r.row["body"], bytes) for r in found)
                answers.append([r.key for r in found])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and len(answers) == 80 and all(answer == answers[0] for answer in answers)
    assert shared.text_factory is bytes and not shared.in_transaction


def test_no_warning_where_all_is_well(posts: sqlite3.Connection) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(vssnative.search(posts, "posts", "red", where="id < 0")) == 0


def test_fresh_embeds_what_the_query_could_need_within_its_time(db: sqlite3.Connection) -> None:
    class Slow(HashEmbedder):
        seen: list[str] = []

        def embed_documents(self, texts):  # type: ignore[no-untyped-def]
            time.sleep(0.02 * len(texts))
            Slow.seen += texts
            return super().embed_documents(texts)

        def embed_queries(self, texts):  # type: ignore[no-untyped-def]
            return HashEmbedder(32).embed_queries(texts)

    db.execute("create table t(id integer primary key, company text, body text)")
    db.executemany(
        "insert into t(company, body) values (?, ?)", [(f"c{n % 100}", f"item{n}") for n in range(2000)]
    )
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:32")
    # Only the rows that the condition lets in: 20 of 2,000.
    found = vssnative.search(
        db, "t", "item7", k=50, where="company = ?", params=["c7"], fresh=10, embedder=Slow(32)
    )
    assert len(found) == 20 and sorted(Slow.seen) == sorted(f"item{n}" for n in range(7, 2000, 100))
    # Edits go before the backfill, and the time is kept: all would take 40 s.
    db.execute("update t set body = 'quite new' where id = 1500")
    db.commit()
    began = time.monotonic()
    found = vssnative.search(db, "t", "quite new", k=1, fresh=1.0, embedder=Slow(32))
    assert time.monotonic() - began < 20
    assert found[0].key == 1500 and not found[0].stale and found.pending > 500


def test_a_page_is_taken_for_its_own_search_only(posts: sqlite3.Connection) -> None:
    options: dict[str, object] = {"where": "company <> ?", "params": ["c2"]}
    first = vssnative.search(posts, "posts", "old red", k=5, **options)  # type: ignore[arg-type]
    page = first.next_page
    again = vssnative.search(posts, "posts", "old red", k=7, page=page, select=["id"], **options)  # type: ignore[arg-type]
    assert len(again) == 7 and again[0].rank == 6
    [many] = vssnative.search_many(posts, "posts", ["old red"], k=7, page=page, **options)  # type: ignore[arg-type]
    assert [r.key for r in many] == [r.key for r in again]
    others: list[tuple[object, dict[str, object]]] = [
        ("new red", options),
        (["old red"], options),
        ([0.5] * 64, options),
        ("old red", {"where": "company <> ?", "params": ["c3"]}),
        ("old red", {}),
        ("old red", {**options, "columns": ["body"], "stale": False}),
        ("old red", {**options, "max_distance": 1.0}),
        (None, {**options, "similar_to": 3}),
    ]
    for query, other in others:
        with pytest.raises(QueryError, match="next_page of another search"):
            vssnative.search(posts, "posts", query, k=5, page=page, **other)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="next_page of another search"):
        vssnative.search_many(posts, "posts", ["old red", "new red"], k=5, page=page, **options)  # type: ignore[arg-type]
    same: dict[str, object] = {"where": "id > ? and body <> ?", "max_distance": 2}
    as_numpy = {**same, "params": [np.int64(3), np.str_("x")], "max_distance": np.float32(2)}
    by_numpy = vssnative.search(posts, "posts", np.str_("old red"), k=5, **as_numpy)  # type: ignore[arg-type]
    plain = {**same, "params": [3, "x"]}
    assert len(vssnative.search(posts, "posts", "old red", k=5, page=by_numpy.next_page, **plain)) == 5  # type: ignore[arg-type]
    like = vssnative.search(posts, "posts", similar_to=np.int64(3), k=5)
    assert len(vssnative.search(posts, "posts", similar_to=3, k=5, page=like.next_page)) == 5
    with pytest.raises(QueryError, match="another search"):
        vssnative.search(posts, "posts", similar_to=4, k=5, page=like.next_page)
    vssnative.change_model(posts, "posts", "hash:32")
    vssnative.sync(posts)
    with pytest.raises(QueryError, match="another model since the page before"):
        vssnative.search(posts, "posts", "old red", k=5, page=page, **options)  # type: ignore[arg-type]


def test_a_row_without_text_is_like_none_and_sync_does_not_help(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, title, body)")
    db.execute("insert into t values (1, 'red', 'x'), (2, ' ', null), (3, x'01', null)")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["title", "body"], model="hash:16")
    with pytest.raises(QueryError, match="row 1 of t has no vectors yet; sync first"):
        vssnative.search(db, "t", similar_to=1)
    vssnative.sync(db, settings=vssnative.Settings(backoff=0.001))
    with pytest.raises(QueryError, match=r"row 2 of t has no text in title, body \(NULL or blank\)"):
        vssnative.search(db, "t", similar_to=2)
    with pytest.raises(QueryError, match="row 3 of t has no vectors, its text was given up: .* holds a blob"):
        vssnative.search(db, "t", similar_to=3)


def test_what_changed_since_it_was_embedded_is_marked_wherever_results_are_shown(
    db: sqlite3.Connection,
) -> None:
    db.execute("create table t(id integer primary key, body text)")
    db.execute("insert into t values (1, 'red'), (2, 'green')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["body"], model="hash:16")
    vssnative.sync(db)
    fresh = vssnative.search(db, "t", "red")
    assert [record["stale"] for record in fresh.to_dicts()] == [False, False]
    assert "stale" not in str(fresh) and "stale" not in repr(fresh[0])
    db.execute("update t set body = 'blue' where id = 1")
    db.commit()
    found = vssnative.search(db, "t", "red")
    assert [(record["id"], record["stale"]) for record in found.to_dicts()] == [(1, True), (2, False)]
    assert found.to_pandas()["stale"].tolist() == [True, False]
    assert str(found).splitlines()[0].split() == ["rank", "distance", "stale", "id", "body"]
    assert str(found).splitlines()[1].split() == ["1", f"{found[0].distance:.4f}", "yes", "1", "blue"]
    assert "stale=True" in repr(found[0]) and "<th>stale</th>" in found._repr_html_()
    assert [r.key for r in vssnative.search(db, "t", "red", stale=False)] == [2]
