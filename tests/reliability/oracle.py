"""What a vss0 table must hold and answer, kept as plain Python beside it.

Vectors are small whole numbers, so that squared distances and inner products are exact in any order of summation:
answers are compared for equality, ties and their order by rowid included.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

DIM_A, DIM_B = 6, 3
COLUMNS = (
    f"a({DIM_A}), b({DIM_B}) metric_type=INNER_PRODUCT, company text, year integer, user_id integer partition key,"
    " +note text"
)
NAMES = ("a", "b", "company", "year", "user_id", "note")

Vector = tuple[int, ...]
Execute = Callable[..., Iterable[Sequence[Any]]]
"""``conn.execute`` of any driver."""


def blob(vector: Vector | None) -> bytes | None:
    return None if vector is None else np.array(vector, np.float32).tobytes()


@dataclass(frozen=True)
class Row:
    a: Vector | None = None
    b: Vector | None = None
    company: str | None = None
    year: int | None = None
    user_id: int | None = None
    note: str | None = None

    def values(self) -> tuple[Any, ...]:
        """As SQL gets and gives them, in the order of NAMES."""
        return (blob(self.a), blob(self.b), self.company, self.year, self.user_id, self.note)

    def changed(self, **values: Any) -> Row:
        return replace(self, **values)


def random_row(random: np.random.Generator, nulls: bool = True) -> Row:
    def vector(dim: int) -> Vector | None:
        return None if nulls and random.random() < 0.15 else tuple(map(int, random.integers(-8, 9, dim)))

    company = ["acme", "bolt", "cog", None][int(random.integers(4))]
    return Row(
        vector(DIM_A),
        vector(DIM_B),
        company,
        int(random.integers(1990, 2020)),
        int(random.integers(5)),
        f"note {int(random.integers(1000))}",
    )


def create(execute: Execute, table: str = "t", celled: bool = False) -> None:
    """``celled``: cells from ten rows on, a few rows each, so that they are made, split and merged all the time."""
    execute(f'create virtual table "{table}" using vss0({COLUMNS})')
    if celled:
        execute(f"update \"{table}_config\" set value = 10 where key glob 'cells_from*'")
        execute(f"update \"{table}_config\" set value = 4 where key glob 'cell_rows*'")
        # Of one column the 4-bit codes are kept, though its vectors are short; the other's are made when searched.
        execute(f"insert into \"{table}_config\"(key, value) values('slot_codes0', 1)")
        # A renamed table reads its configuration anew.
        execute(f'alter table "{table}" rename to "{table}_other"')
        execute(f'alter table "{table}_other" rename to "{table}"')


def insert(execute: Execute, rowid: int, row: Row, table: str = "t", verb: str = "insert") -> None:
    execute(
        f'{verb} into "{table}"(rowid, {", ".join(NAMES)}) values(?, ?, ?, ?, ?, ?, ?)',
        (rowid, *row.values()),
    )


@dataclass
class Oracle:
    """The rows that a table must hold."""

    rows: dict[int, Row] = field(default_factory=dict)

    def copy(self) -> Oracle:
        return Oracle(dict(self.rows))

    def nearest(
        self, column: str, query: Vector, k: int, where: Callable[[int, Row], bool] | None = None
    ) -> list[tuple[int, float]]:
        ids = [
            i
            for i, row in self.rows.items()
            if getattr(row, column) is not None and (not where or where(i, row))
        ]
        if not ids:
            return []
        rowids = np.array(ids, np.int64)
        matrix = np.array([getattr(self.rows[i], column) for i in ids], np.float64)
        wanted = np.array(query, np.float64)
        distances = ((matrix - wanted) ** 2).sum(axis=1) if column == "a" else -(matrix @ wanted)
        order = np.lexsort((rowids, distances))[:k]
        return [(int(rowids[i]), float(distances[i])) for i in order]

    def check_rows(self, execute: Execute, table: str = "t") -> None:
        sql = f"select rowid, {', '.join(NAMES)} from {table} order by rowid"
        found = [tuple(row) for row in execute(sql)]
        assert found == [(i, *row.values()) for i, row in sorted(self.rows.items())]

    def check_searches(self, execute: Execute, table: str = "t", seed: int = 0, searches: int = 2) -> None:
        """Searches of both columns without and with filters, all equal to brute force."""
        random = np.random.default_rng(seed)
        for _ in range(searches):
            k = int(random.choice([1, 3, 10, 1000]))
            year = int(random.integers(1990, 2020))
            some = (
                sorted(int(i) for i in random.choice(list(self.rows), min(len(self.rows), 5)))
                if self.rows
                else []
            )
            filters: list[tuple[str, tuple[Any, ...], Callable[[int, Row], bool] | None]] = [
                ("1", (), None),
                ("company = ?", ("acme",), lambda i, row: row.company == "acme"),
                (
                    "year < ? and user_id = 2",
                    (year,),
                    lambda i, row, year=year: row.year is not None and row.year < year and row.user_id == 2,
                ),
                (
                    "rowid in (select value from json_each(?))",
                    (json.dumps([*some, 10**9]),),
                    lambda i, row, some=some: i in some,
                ),
            ]
            for column, dim in (("a", DIM_A), ("b", DIM_B)):
                query = tuple(map(int, random.integers(-8, 9, dim)))
                for where, params, matches in filters:
                    sql = f"select rowid, distance from {table} where {column} match ? and k = ? and recall = 1.0"
                    found = list(map(tuple, execute(f"{sql} and {where}", (blob(query), k, *params))))
                    assert found == self.nearest(column, query, k, matches), (column, where, k)
                    self.check_approximate(execute, column, query, k, where, params, matches, table)

    def check_approximate(
        self,
        execute: Execute,
        column: str,
        query: Vector,
        k: int,
        where: str = "1",
        params: tuple[Any, ...] = (),
        matches: Callable[[int, Row], bool] | None = None,
        table: str = "t",
    ) -> None:
        """By the default recall: k matching rows, each once and at its true distance, nearer ones first."""
        sql = f"select rowid, distance from {table} where {column} match ? and k = ? and {where}"
        found = list(map(tuple, execute(sql, (blob(query), k, *params))))
        true = self.nearest(column, query, len(self.rows), matches)
        words = (column, where, k, "default recall")
        assert len(found) == min(k, len(true)), words
        assert len({rowid for rowid, _ in found}) == len(found) and set(found) <= set(true), words
        assert found == sorted(found, key=lambda pair: (pair[1], pair[0])), words

    def check(self, execute: Execute, table: str = "t", seed: int = 0) -> None:
        """Rows, searches, and the invariants of the shadow tables."""
        self.check_rows(execute, table)
        self.check_searches(execute, table, seed)
        check_invariants(execute, table)


def check_invariants(execute: Execute, table: str = "t") -> None:
    """What storage.h promises of the shadow tables after every transaction, read without vss0, and vss0's own check.

    ``table`` may be qualified, as in ``temp.t``.
    """
    schema, _, name = table.rpartition(".")
    prefix = f'{schema or "main"}."{name}_'
    # First, since it brings what the transaction has gathered into the tables.
    [(words,)] = execute("select vss_check(?, ?)", (name, schema or "main"))
    assert words == "ok", words
    config = dict(execute(f'select key, value from {prefix}config"'))
    for c, dim in enumerate((DIM_A, DIM_B)):
        slot_bytes = 16 + (dim * 4 + 7) // 8 * 8
        slots_of_block, slots_of_segment = config[f"block_slots{c}"], config[f"segment_slots{c}"]
        claims = {
            slot: rowid
            for rowid, slot in execute(f'select _rowid, _slot{c} from {prefix}rows"')
            if slot is not None
        }
        [(claimed,)] = execute(f'select count(_slot{c}) from {prefix}rows"')
        assert claimed == len(claims), "two rows name one slot"
        live: dict[int, int] = {}
        freed: set[int] = set()
        unused: set[int] = set()
        blocks: set[int] = set()
        per_segment: dict[int, int] = {}
        for block, data in execute(f'select block, data from {prefix}vectors{c}"'):
            assert len(data) == slots_of_block * slot_bytes
            blocks.add(block)
            for i in range(slots_of_block):
                rowid, _, state = struct.unpack_from("<qII", data, i * slot_bytes)
                slot = block * slots_of_block + i
                if state == 1:
                    live[slot] = rowid
                    per_segment[slot // slots_of_segment] = per_segment.get(slot // slots_of_segment, 0) + 1
                elif state == 2:
                    freed.add(slot)
                else:
                    assert state == 0
                    unused.add(slot)
        assert live == claims
        segments = dict(execute(f'select segment, live from {prefix}segments{c}" where data is null'))
        assert segments == per_segment
        versions = [
            version for (version,) in execute(f'select version from {prefix}segments{c}" where data is null')
        ]
        assert len(set(versions)) == len(versions) or len(versions) < 2
        listed = {slot for (slot,) in execute(f'select slot from {prefix}free{c}"')}
        assert not listed & live.keys()
        assert freed <= listed
        assert {slot for slot in listed if slot // slots_of_block in blocks} <= freed | unused


def loaded(
    random: np.random.Generator, execute: Execute, n: int = 60, table: str = "t", celled: bool = False
) -> Oracle:
    """A new table of n random rows, rowids 1 to n, and its oracle. The caller commits."""
    create(execute, table, celled)
    oracle = Oracle()
    for i in range(1, n + 1):
        oracle.rows[i] = random_row(random)
        insert(execute, i, oracle.rows[i], table)
    return oracle
