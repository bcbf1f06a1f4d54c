"""Names: whatever people call their tables and columns, vectors go to the right rows, and nothing collides."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vssnative

OURS = [
    "distance", "rank", "score", "rowid", "k", "operation", "recall", "id", "row_id", "field", "generation", "key",
    "content", "vssnative_key", "vss_x", "t", "f", "d", "NEW", "OLD", "main", "temp", "select", "order", "group",
    "passage", "number", "embedding", "field0", "field1", "x_embedding", "_rowid_", "oid", "c0", "matching", "where",
    "таблица", "列", "é", "e\u0301", 'a"b', "a'b", "a b", "a-b", "a.b", "[a]", "`a`", "a;b", "--a", "/*", "?", ":n",
    "{a}", "%s", "a\nb", "1a", "😀", " a", "a ",
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(OURS),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def ascii_lower(name: str) -> str:
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in name)


def distinct(names: list[str]) -> bool:
    return len({ascii_lower(name) for name in names}) == len(names)


def usable(name: str) -> bool:
    return not ascii_lower(name).startswith(("sqlite_", "vssnative_"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    table=NAMES.filter(usable),
    other=NAMES.filter(usable),
    columns=st.lists(NAMES, min_size=3, max_size=4).filter(distinct),
    keyed=st.booleans(),
    full_text=st.booleans(),
    decoy=st.booleans(),
)
def test_any_names_find_their_rows(
    table: str, other: str, columns: list[str], keyed: bool, full_text: bool, decoy: bool
) -> None:
    key, *texts = columns
    conn = vssnative.connect(":memory:")
    try:
        tables = [table] if ascii_lower(table) == ascii_lower(other) else [table, other]
        for name in tables:
            kind = "text primary key" if keyed else "integer primary key"
            declared = ", ".join(f"{quoted(column)} text" for column in texts)
            conn.execute(f"create table {quoted(name)}({quoted(key)} {kind}, {declared})")
            for number in range(1, 5):
                values = [f"{name} {column} word{number}" for column in texts]
                marks = ", ".join("?" * (1 + len(texts)))
                conn.execute(
                    f"insert into {quoted(name)} values ({marks})",
                    [str(number) if keyed else number, *values],
                )
            if decoy:  # a temporary table of the same name must get none of our triggers
                conn.execute(f"create temp table {quoted(name)}(x)")
        conn.commit()
        for name in tables:
            vssnative.add_embeddings(conn, name, columns=texts, model="hash:32", full_text=full_text)
        assert vssnative.sync(conn).rows == 4 * len(tables)
        for name in tables:
            conn.execute(
                f"update main.{quoted(name)} set {quoted(texts[0])} = 'changed zebra' where {quoted(key)} = '3'"
            )
            conn.commit()
            assert vssnative.sync(conn).rows == 1
            [found] = vssnative.search(conn, name, "changed zebra", k=1)
            assert (found.key, found.column) == ("3" if keyed else 3, texts[0])
            assert found.row[texts[0]] == "changed zebra" and set(found.row) == set(columns)
            assert {"changed zebra", 1} <= set(dict(found).values())
            [found] = vssnative.search(conn, name, "word2", k=1, where=f"{quoted(key)} = ?", params=["2"])
            assert found.key == ("2" if keyed else 2)
            assert vssnative.verify(conn, name, sample=4).ok
        if decoy:
            assert conn.execute(
                "select count(*) from temp.sqlite_master where type = 'trigger'"
            ).fetchone() == (0,)
        for name in tables:
            vssnative.drop_embeddings(conn, name)
        left = {
            row[0]
            for row in conn.execute("select name from main.sqlite_master where type in ('table', 'trigger')")
        }
        left = {name for name in left if not name.startswith(("vssnative_", "sqlite_"))}
        assert left == set(tables)
    finally:
        conn.close()


def test_two_tables_whose_names_differ_in_signs_only(db: sqlite3.Connection) -> None:
    for name in ("a-b", "a b", "таблица", "таблицы"):
        db.execute(f'create table "{name}"(id integer primary key, body text)')
        db.execute(f'insert into "{name}"(body) values (?)', (f"only in {name}",))
    db.commit()
    added = [
        vssnative.add_embeddings(db, name, columns=["body"], model="hash:32")
        for name in ("a-b", "a b", "таблица", "таблицы")
    ]
    assert [one.active.vss_table for one in added] == ["vss_a_b", "vss_a_b_2", "vss_таблица", "vss_таблицы"]
    vssnative.sync(db)
    assert [vssnative.search(db, one.name, "only")[0].row["body"] for one in added] == [
        f"only in {one.name}" for one in added
    ]


def test_a_field_never_gets_another_ones_vector_column(db: sqlite3.Connection) -> None:
    db.execute('create table t(id integer primary key, field1 text, "é" text, "Field1_" text)')
    db.execute("insert into t values (1, 'red', 'green', 'blue')")
    db.commit()
    added = vssnative.add_embeddings(db, "t", columns=["field1", "é", "Field1_"], model="hash:32")
    assert [field.vector_column for field in added.active.fields] == [
        "field1_embedding",
        "field1___embedding",
        "Field1__embedding",
    ]
    vssnative.sync(db)
    assert [vssnative.search(db, "t", word)[0].column for word in ("red", "green", "blue")] == [
        "field1",
        "é",
        "Field1_",
    ]


def test_the_words_of_a_column_that_fts5_reserves_have_a_name_of_their_own(db: sqlite3.Connection) -> None:
    db.execute("create table t(id integer primary key, rank text, c0 text)")
    db.execute("insert into t values (1, 'red', 'green')")
    db.commit()
    vssnative.add_embeddings(db, "t", columns=["rank", "c0"], model="hash:32", full_text=True)
    assert [row[1] for row in db.execute("pragma table_info(vss_text_t)")] == ["c0_", "c0"]
    assert vssnative.search(db, "t", "red", mode="text")[0].key == 1


@pytest.mark.parametrize("name", ["distance", "k", "recall", "operation", "rowid", "_rowid", "Distance", "K"])
def test_hidden_columns_names_are_refused_for_columns_of_the_table(name: str) -> None:
    conn = vssnative.connect(":memory:")
    for column in (f"{quoted(name)} text", f"{quoted(name)}(3)", f"+{quoted(name)}"):
        with pytest.raises(
            sqlite3.OperationalError, match=f'the column name "{name}" is taken by vss0 itself'
        ):
            conn.execute(f"create virtual table t using vss0(a(3), {column})")


def test_hidden_columns_beside_a_joined_table_of_the_same_names() -> None:
    """The user's own table has columns k, distance, recall and rank: each name qualified says which is meant."""
    conn = vssnative.connect(":memory:")
    conn.execute("create virtual table t using vss0(a(2))")
    conn.execute(
        "create table own(id integer primary key, k text, distance real, recall integer, rank integer, operation text)"
    )
    for i in range(20):
        conn.execute("insert into t(rowid, a) values(?, ?)", (i, f"[{i}, 0]"))
        conn.execute("insert into own values(?, ?, ?, ?, ?, ?)", (i, f"k{i}", -i, i % 2, 100 - i, "add"))
    sql = (
        "select t.rowid, t.distance, own.k, own.distance, own.recall, own.rank from t join own on own.id = t.rowid"
        " where t.a match '[0, 0]' and t.k = 4 and t.recall = 1 order by own.rank desc"
    )
    assert conn.execute(sql).fetchall() == [
        (i, float(i * i), f"k{i}", float(-i), i % 2, 100 - i) for i in range(4)
    ]
    # The other table's column of that name is no setting of the search: a condition on it is one like any other.
    with pytest.raises(sqlite3.OperationalError, match=r'the condition "own\.recall = 1" on a joined table'):
        conn.execute(
            "select t.rowid from t join own on own.id = t.rowid"
            " where t.a match '[0, 0]' and t.k = 4 and own.recall = 1"
        )
    among = (
        "select rowid from t where a match '[0, 0]' and k = 4 and recall = 1"
        " and rowid in (select id from own where recall = 1 and k <> 'k3')"
    )
    assert conn.execute(among).fetchall() == [(1,), (5,), (7,), (9,)]
    with pytest.raises(sqlite3.OperationalError, match="ambiguous column name: k"):
        conn.execute("select t.rowid from t join own on own.id = t.rowid where t.a match '[0, 0]' and k = 4")
