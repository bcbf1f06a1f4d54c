"""Searches in SQL against the same statements on ordinary tables: conditions, and the shapes of queries round a search.

`o` is an ordinary table with the columns of the vss0 table `v` and, for each of a few queries, the distance of each row.
What a condition means is what it means on `o`; what a search with k gives is `o` by distance, its first k rows.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

ROWS = 120
QUERIES = ("[0, 0]", "[3, 4]", "[9, -2]")
COLUMNS = {
    "t": "text",
    "tn": "text collate nocase",
    "tr": "varchar(20) collate rtrim",
    "i": "integer",
    "r": "real",
    "n": "numeric collate nocase",
    "bl": "blob",
    "x": "",
}
POOL: tuple[Any, ...] = (
    *(
        None,
        0,
        1,
        5,
        10,
        -3,
        5.0,
        5.5,
        1000.0,
        2**53 + 1,
        "5",
        "5.0",
        " 5",
        "05",
        "10",
        "abc",
        "ABC",
        "Abc",
        "abc ",
    ),
    *("abc  ", "", "x", b"5", b"abc", b"", "9", "5x", "1e3", "-3", "9007199254740993"),
)
# What a search says that would otherwise hand out fewer rows than k.
REFUSALS = re.compile(
    "after the k nearest rows are found|on a joined table drops rows|runs a search once for each"
    "|depends on the type of the expression|a search can filter by the collations"
)


def fill(conn: Any, seed: int = 0, key: str = "") -> None:
    """`key`: "", "integer" (id is the rowid) or "text" (code is a key of the table's own)."""
    rng = random.Random(seed)
    declared = ", ".join(f"{name} {kind}".strip() for name, kind in COLUMNS.items())
    keys = {"": "", "integer": "id integer primary key, ", "text": "code text collate nocase primary key, "}[
        key
    ]
    conn.execute(f"create virtual table v using vss0({keys}a(2), {declared})")
    if key == "text":
        declared += ", code text collate nocase unique"
    distances = ", ".join(f"d{q} real" for q in range(len(QUERIES)))
    conn.execute(f"create table o(id integer primary key, a, {distances}, {declared})")
    conn.execute("create table p(id integer primary key, pi integer, pt text, pr real, px, q integer)")
    conn.execute("create table h(hi integer, ht text, hr real, hx)")
    for row in range(1, ROWS + 1):
        point = (rng.randrange(-12, 13), rng.randrange(-12, 13)) if rng.random() < 0.93 else None
        values = [rng.choice(POOL) for _ in COLUMNS]
        named = list(COLUMNS)
        if key == "text":
            values.append(f"{row}{chr(97 + row % 3) * (row % 3)}")
            named.append("code")
        marks = ", ".join("?" * len(values))
        text = None if point is None else f"[{point[0]}, {point[1]}]"
        conn.execute(
            f"insert into v({'id' if key == 'integer' else 'rowid'}, a, {', '.join(named)}) values (?, ?, {marks})",
            (row, text, *values),
        )
        away = []
        for query in QUERIES:
            x, y = (int(part) for part in query.strip("[]").split(","))
            away.append(None if point is None else float((point[0] - x) ** 2 + (point[1] - y) ** 2))
        conn.execute(
            f"insert into o values (?, ?, {', '.join('?' * len(QUERIES))}, {marks})",
            (row, text, *away, *values),
        )
    for row in range(1, ROWS + 1, 2):
        conn.execute(
            "insert into p values (?, ?, ?, ?, ?, ?)",
            (row, *(rng.choice(POOL) for _ in range(4)), rng.randrange(len(QUERIES))),
        )
    for value in POOL:
        conn.execute("insert into h values (?, ?, ?, ?)", (value,) * 4)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return repr(value) if isinstance(value, (int, float)) else "'" + value.replace("'", "''") + "'"


class Conditions:
    """Random conditions over the columns and the rowid, the same text for `v` and `o`."""

    def __init__(self, rng: random.Random, lists_are_typed: bool = True, key: str = "") -> None:
        self.rng = rng
        self.columns = [
            *COLUMNS,
            *COLUMNS,
            "rowid",
            *{"integer": ["id"] * 4, "text": ["code"] * 6}.get(key, []),
        ]
        self.lists_are_typed = lists_are_typed
        self.in_or = False
        self.params: list[Any] = []

    def value(self) -> str:
        value = self.rng.choice(POOL)
        kind = self.rng.random()
        if kind < 0.45:
            return literal(value)
        if kind < 0.8:
            self.params.append(value)
            return "?"
        if kind < 0.87:
            return (
                f"cast({literal(value)} as {self.rng.choice(['text', 'integer', 'real', 'blob', 'numeric'])})"
            )
        if kind < 0.94:
            return f"(select h{self.rng.choice('itrx')} from h where rowid = {self.rng.randrange(1, len(POOL) + 1)})"
        return self.rng.choice(["lower('ABC')", "abs(-5)", "5 + 0", "'a' || 'bc'", "+5"])

    def atom(self) -> str:
        rng = self.rng
        column = rng.choice(self.columns)
        left = column
        if (
            column not in ("rowid", "id")
            and rng.random() < 0.12
            and not (self.in_or and not self.lists_are_typed)
        ):
            left = f"{column} collate {rng.choice(['binary', 'nocase', 'rtrim'])}"
        kind = rng.random()
        if kind < 0.5:
            operator = rng.choice(["=", "==", "<>", "!=", "<", "<=", ">", ">=", "is", "is not"])
            right = self.value()
            if rng.random() < 0.12:
                right += f" collate {rng.choice(['binary', 'nocase', 'rtrim'])}"
            return f"{left} {operator} {right}"
        if kind < 0.6:
            return f"{left} between {self.value()} and {self.value()}"
        if kind < 0.72:
            values = ", ".join(self.value() for _ in range(rng.randrange(1, 5)))
            return f"{left} {rng.choice(['in', 'in', 'not in'])} ({values})"
        if kind < 0.79:
            # Before 3.38 SQLite hands a virtual table the values one by one and compares text by rules of its own.
            types = (
                "itrx"
                if self.lists_are_typed
                else {"t": "t", "c": "t", "b": "x", "x": "x"}.get(column[0], "itrx")
            )
            return f"{left} in (select h{rng.choice(types)} from h where rowid < {rng.randrange(2, 30)})"
        if kind < 0.85:
            return f"{column} {rng.choice(['is null', 'is not null', 'notnull', 'isnull'])}"
        if kind < 0.93:
            if rng.random() < 0.3:
                return self.row(column)
            pattern = rng.choice(["a%", "%C", "5%", "_", "%", "ab_ ", "[a-c]*", "*5*", "A*"])
            return f"{column} {rng.choice(['like', 'glob', 'not like'])} {literal(pattern)}"
        return rng.choice(
            [
                f"length({column}) > 1",
                f"not {column}",
                f"{column} is true",
                f"{column} is not false",
                f"{column}",
            ]
        )

    def row(self, column: str) -> str:
        """A comparison of two columns at once."""
        other = self.rng.choice(["i", "t", "r"])
        if self.rng.random() < 0.5:
            operator = self.rng.choice(["=", "<>", "<", ">=", "is", "is not"])
            return f"({column}, {other}) {operator} ({self.value()}, {self.value()})"
        if not self.lists_are_typed:
            return f"({column}, {other}) in (values ({self.value()}, {self.value()}))"
        if self.rng.random() < 0.5:
            rows = "values " + ", ".join(
                f"({self.value()}, {self.value()})" for _ in range(self.rng.randrange(1, 4))
            )
        else:
            # SQLite compares by the virtual table's column alone, so that other types in the list would be other rows.
            types = {"t": "t", "i": "i", "r": "r", "n": "i", "c": "t"}
            first, second = types.get(column[0], "x"), types[other]
            rows = f"select h{first}, h{second} from h where rowid < {self.rng.randrange(2, 30)}"
        return f"({column}, {other}) {self.rng.choice(['in', 'in', 'not in'])} ({rows})"

    def condition(self) -> str:
        parts = []
        for _ in range(self.rng.choice([1, 1, 1, 2, 2, 3])):
            kind = self.rng.random()
            if kind < 0.8:
                parts.append(self.atom())
            elif kind < 0.9:
                # Old versions make one IN of an OR, also where collations differ.
                self.in_or = True
                parts.append(f"({self.atom()} or {self.atom()})")
                self.in_or = False
            else:
                parts.append(f"not ({self.atom()})")
        return " and ".join(parts)


def answer(conn: Any, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(sql, params)]


def compare_conditions(conn: Any, seed: int, count: int, key: str = "") -> Counter[str]:
    """Random conditions: in a read, in a search by LIMIT, in a search with k, which may refuse."""
    told: Counter[str] = Counter()
    version = tuple(int(part) for part in answer(conn, "select sqlite_version()")[0][0].split("."))
    lists_are_typed = version >= (3, 38, 0)
    for case in range(count):
        rng = random.Random(seed * 1_000_003 + case)
        conditions = Conditions(rng, lists_are_typed, key)
        where, params = conditions.condition(), conditions.params
        q, k = rng.randrange(len(QUERIES)), rng.choice([1, 3, 10, 200])
        nearest = f"select id, d{q} from o where d{q} is not null and ({where}) order by d{q}, id limit {k}"
        search = f"select rowid, distance from v where a match '{QUERIES[q]}' and {where}"
        for kind, ours, theirs in (
            (
                "read",
                f"select rowid from v where {where} order by rowid",
                f"select id from o where {where} order by id",
            ),
            ("limit", f"{search} order by distance, rowid limit {k}", nearest),
            ("k", f"{search} and k = {k}", nearest),
        ):
            expected = answer(conn, theirs, params)
            try:
                found = answer(conn, ours, params)
            except Exception as error:
                if kind != "k" or not REFUSALS.search(str(error)):
                    raise AssertionError(
                        f"seed {seed}, case {case}: {ours} with {params}: {error}"
                    ) from error
                told["k refused"] += 1
                continue
            told[kind] += 1
            if found != expected:
                raise AssertionError(
                    f"seed {seed}, case {case}: {ours} with {params}\n  {found}\n  expected {expected}"
                )
    return told


OWN = (
    "",
    "",
    "{v}i > 3",
    "{v}t <> 'abc'",
    "{v}rowid > 20",
    "{v}rowid = 6",
    "{v}tn = 'ABC'",
    "{v}n between 0 and 10",
    "{v}x is not null",
    "{v}i > 0 and {v}t like 'a%'",
    "({v}i > 3 or {v}t like 'a%')",
    "{v}i is not true and {v}rowid % 3 < 2",
)
OUTSIDE = (
    "id = 6",
    "id in (3, 6, 9, 12, 40, 77)",
    "id % 2 = 0",
    "id > 50",
    "t = 'abc'",
    "t <> 'abc'",
    "i > 3",
    "i = 5",
    "i is null",
    "i is not 5",
    "d > 20",
    "d < 90",
    "d between 10 and 60",
    "t = 'abc' or i = 5",
    "t like 'a%'",
    "i in (1, 5, 10)",
    "i between 1 and 5",
    "id = 6 and i = 5",
    "t is not null",
    "length(t) = 3",
    "id = (select max(id) from p)",
)
# {S}: the search as a table of id, d, t, i.
SHAPES = (
    "select id, d from {S} where {O}",
    "select * from (select * from {S} where {O}) where {O2}",
    "select p.id, h.d from p left join {S} as h on h.id = p.id",
    "select p.id, h.d from p left join {S} as h on h.id = p.id and h.i > 2",
    "select p.id, h.d from p left join {S} as h on h.id = p.id where h.i is not null",
    "select p.id, h.d from p join {S} as h on h.id = p.id",
    "select p.id, h.d from p cross join {S} as h on h.id = p.id",
    "select p.id, h.d from {S} as h cross join p on h.id = p.id",
    "select p.id, h.d from p cross join {S} as h where h.id = p.id and p.id > 20 and h.i < 8",
    "select h.id, p.id from {S} as h left join p on p.id = h.id",
    "select h.id, p.id from {S} as h left join p on p.id = h.id where p.id is null",
    "select h.id, p.id from {S} as h join p on p.pi = h.i",
    "select h.id, p.id from p cross join {S} as h on p.pi = h.i",
    "select h.id, p.id from p cross join {S} as h on p.pt = h.t",
    "select h.id, p.id from p cross join {S} as h on p.pi = h.t",
    "select h.id, p.id from p cross join {S} as h on p.px = h.t and p.pi < h.i",
    "select id from p where exists (select 1 from {S} as h where h.id = p.id)",
    "select id from p where exists (select 1 from {S} as h where h.i = p.pi)",
    "select id from p where id in (select id from {S})",
    "select id from p where id not in (select id from {S} where {O})",
    "select id, (select d from {S} as h where h.id = p.id) from p",
    "select id, (select count(*) from {S} as h where h.i = p.pi) from p",
    "select max(d), min(d), count(*), count(i), max(id) from {S}",
    "select max(d) from {S}",
    "select max(d), count(*) from {S} where {O}",
    "select id, d, row_number() over (order by d desc, id) from {S}",
    "select id, row_number() over (order by d, id) from {S} where {O}",
    "select id from {S} order by d desc, id limit 3",
    "select id from {S} where {O} order by d, id limit 2",
    "select i, count(*), max(d) from {S} group by i having count(*) > 0",
    "select id from {S} where {O} union all select id from {S} where {O2}",
    "select id from {S} intersect select id from {S} where {O}",
    "select h.id, g.id from {S} as h join {S} as g on g.id = h.id",
    "select h.id, g.id from {S} as h left join {S} as g on g.i = h.i and g.id <> h.id",
    "select distinct t from {S} where {O}",
    "with w as (select * from {S}) select w.id, u.d from w left join w as u on u.id = w.id where w.id > 10",
)
# The search in the FROM of the join itself. {A}: `v.a match ... and v.k = ...` and its own condition; {M}: the same rows.
DIRECT = (
    (
        "select p.id, v.distance from p cross join v on v.rowid = p.id where {A}",
        "select p.id, v.d from p join {M} as v on v.id = p.id",
    ),
    (
        "select p.id, v.distance from v join p on p.id = v.rowid where {A}",
        "select p.id, v.d from p join {M} as v on v.id = p.id",
    ),
    (
        "select p.id, v.distance from p join v on p.id = v.rowid and {A}",
        "select p.id, v.d from p join {M} as v on v.id = p.id",
    ),
    (
        "select p.id, v.distance from p left join v on v.rowid = p.id and {A}",
        "select p.id, v.d from p left join {M} as v on v.id = p.id",
    ),
    (
        "select p.id, v.distance from v left join p on v.rowid = p.id where {A}",
        "select p.id, v.d from {M} as v left join p on v.id = p.id",
    ),
    (
        "select p.id, v.rowid from p cross join v where v.i = p.pi and {A}",
        "select p.id, v.id from p join {M} as v on v.i = p.pi",
    ),
    (
        "select p.id, v.rowid from v, p where v.i < p.pi and v.t = p.pt and {A}",
        "select p.id, v.id from p join {M} as v on v.i < p.pi and v.t = p.pt",
    ),
    (
        "select p.id, v.rowid from p cross join v on v.t = p.pi where {A}",
        "select p.id, v.id from p join {M} as v on v.t = p.pi",
    ),
    (
        "select p.id, v.rowid from p cross join v on v.t < p.px and v.i <> p.pi where {A}",
        "select p.id, v.id from p join {M} as v on v.t < p.px and v.i <> p.pi",
    ),
    (
        "select p.id, v.rowid from p cross join v on v.t < p.pi where {A}",
        "select p.id, v.id from p join {M} as v on v.t < p.pi",
    ),
    (
        "select p.id, (select group_concat(id) from (select v.rowid as id from v where {A} and v.i <> p.pi)) from p"
        " where p.id < 0",
        "select p.id, null from p where p.id < 0",
    ),
    ("select count(*), max(v.distance) from v where {A}", "select count(*), max(v.d) from {M} as v"),
    ("select v.rowid from v where {A} order by distance desc", "select v.id from {M} as v order by d desc"),
)


def compare_shapes(conn: Any, seed: int, count: int) -> Counter[str]:
    """Random queries round searches with k, against the same on the search's rows in a table of their own."""
    told: Counter[str] = Counter()
    for case in range(count):
        rng = random.Random(seed * 1_000_003 + case)
        q, k, own = rng.randrange(len(QUERIES)), rng.choice([1, 3, 7, 20, 60]), rng.choice(OWN)
        conn.execute("drop table if exists temp.m")
        conn.execute("create temp table m(id integer primary key, d real, t text, i integer)")
        there = own.format(v="") or "true"
        conn.execute(
            f"insert into m select id, d{q}, t, i from o where d{q} is not null and {there} order by d{q}, id limit {k}"
        )
        asked = f"v.a match '{QUERIES[q]}' and v.k = {k}" + (f" and {own.format(v='v.')}" if own else "")
        core = f"select rowid as id, distance as d, t, i from v where a match '{QUERIES[q]}' and k = {k}" + (
            f" and {own.format(v='')}" if own else ""
        )
        outside, more = rng.choice(OUTSIDE), rng.choice(OUTSIDE)
        if rng.random() < 0.3:
            ours, theirs = rng.choice(DIRECT)
            ours, theirs = ours.format(A=asked), theirs.format(M="m")
        else:
            shape = rng.choice(SHAPES)
            way = rng.choice(["inline", "inline", "with", "view"])
            theirs = shape.format(S="m", O=outside, O2=more)
            if way == "inline":
                ours = shape.format(S=f"({core})", O=outside, O2=more)
            elif way == "with" and not shape.startswith("with"):
                ours = f"with s as ({core}) " + shape.format(S="s", O=outside, O2=more)
            else:
                conn.execute("drop view if exists temp.s")
                conn.execute(f"create temp view s as {core}")
                ours = shape.format(S="s", O=outside, O2=more)
        key = lambda row: [(value is not None, str(type(value)), value) for value in row]  # noqa: E731
        expected = sorted(answer(conn, theirs), key=key)
        try:
            found = sorted(answer(conn, ours), key=key)
        except Exception as error:
            # Two searches in one statement: whose the condition is cannot be told.
            if own in OWN[-2:] and REFUSALS.search(str(error)):
                told["refused"] += 1
                continue
            raise AssertionError(f"seed {seed}, case {case}: {ours}: {error}") from error
        told["shapes"] += 1
        if found != expected:
            raise AssertionError(
                f"seed {seed}, case {case}: {ours}\n  against {theirs}\n  {found}\n  expected {expected}"
            )
    return told
