"""Random programs of statements on a vss0 table, each step compared with a plain Python model.

Two connections and a second process share one file; transactions, savepoints, renames, VACUUM and reopening happen at
any time. After each step the searches, and at each end of a transaction the rows and the shadow tables, are
checked on the connection that acted; the others must see what was committed before, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import vssnative
from tests.reliability.campaign import IS_LONG, count, scaled
from tests.reliability.oracle import DIM_A, DIM_B, NAMES, Oracle, Row, blob, create, insert

ROWIDS = st.integers(0, 40)
VECTORS_A = st.lists(st.integers(-8, 8), min_size=DIM_A, max_size=DIM_A).map(tuple)
VECTORS_B = st.lists(st.integers(-8, 8), min_size=DIM_B, max_size=DIM_B).map(tuple)
ROWS = st.builds(
    Row,
    a=st.none() | VECTORS_A,
    b=st.none() | VECTORS_B,
    company=st.sampled_from(["acme", "bolt", "cog", None]),
    year=st.none() | st.integers(1990, 2020),
    user_id=st.none() | st.integers(0, 4),
    note=st.none() | st.text(max_size=5).filter(lambda text: "\0" not in text),
)

OTHER_PROCESS = """
import json, sys, vssnative
conn = vssnative.connect(sys.argv[1], isolation_level=None, timeout=0)
for line in sys.stdin:
    sql, parameters = json.loads(line)
    values = [bytes.fromhex(p["blob"]) if isinstance(p, dict) else p for p in parameters]
    try:
        rows = conn.execute(sql, values).fetchall()
        answer = [[{"blob": v.hex()} if isinstance(v, bytes) else v for v in row] for row in rows]
    except Exception as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
conn.close()
"""


class OtherProcess:
    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER_PROCESS, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        sent = [{"blob": p.hex()} if isinstance(p, bytes) else p for p in parameters]
        self._process.stdin.write(json.dumps([sql, sent]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if isinstance(answer, str):
            raise sqlite3.OperationalError(answer)
        return [tuple(bytes.fromhex(v["blob"]) if isinstance(v, dict) else v for v in row) for row in answer]

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        code = self._process.wait(timeout=60)
        self._process.stdout.close()
        assert code == 0


TOTALS = {"statements": 0, "programs": 0, "celled programs": 0, "checks": 0}


class TableMachine(RuleBasedStateMachine):
    @initialize(
        wal=st.booleans(),
        rows=st.lists(ROWS, max_size=40),
        second_process=st.integers(0, 3),
        celled=st.booleans(),
    )
    def open(self, wal: bool, rows: list[Row], second_process: int, celled: bool) -> None:
        TOTALS["programs"] += 1
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "test.db"
        self.name = "t"
        self.conns = [self._connect(wal) for _ in range(2)]
        create(self._do, celled=celled)
        TOTALS["celled programs"] += celled
        self.now = Oracle()  # as the writer sees it
        for i, row in enumerate(rows):
            insert(self._do, i, row)
            self.now.rows[i] = row
        self.committed = self.now.copy()
        self.savepoints: list[tuple[str, Oracle, str]] = []
        self.committed_name = self.name
        self.process = OtherProcess(self.path) if second_process == 0 else None
        self.steps = 0

    def _connect(self, wal: bool = False) -> sqlite3.Connection:
        return vssnative.connect(self.path, wal=wal, isolation_level=None, timeout=0)

    def _do(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """A statement of the writer."""
        TOTALS["statements"] += 1
        return self.conns[0].execute(sql, parameters).fetchall()

    @property
    def in_transaction(self) -> bool:
        return self.conns[0].in_transaction

    def _settle(self) -> None:
        """Outside a transaction every statement commits."""
        if not self.in_transaction:
            self.committed = self.now.copy()
            self.committed_name = self.name
            self.savepoints = []

    # --- statements ---

    @rule(rowid=ROWIDS, row=ROWS, verb=st.sampled_from(["insert", "insert or ignore", "replace"]))
    def insert_row(self, rowid: int, row: Row, verb: str) -> None:
        if rowid in self.now.rows and verb == "insert":
            with contextlib.suppress(sqlite3.IntegrityError):
                insert(self._do, rowid, row, self.name, verb)
                raise AssertionError("a second row of one rowid")
            return
        insert(self._do, rowid, row, self.name, verb)
        if verb != "insert or ignore" or rowid not in self.now.rows:
            self.now.rows[rowid] = row
        self._settle()

    @rule(rows=st.lists(ROWS, min_size=1, max_size=30), first=ROWIDS, fails=st.booleans())
    def insert_many(self, rows: list[Row], first: int, fails: bool) -> None:
        """One statement; where it fails at its last row, none of it happened."""
        values = ["(" + ", ".join([str(first + i), *("?" * 6)]) + ")" for i in range(len(rows))]
        bound = [value for row in rows for value in row.values()]
        if fails:
            bound[-6] = b"odd"
        sql = f'replace into "{self.name}"(rowid, {", ".join(NAMES)}) values ' + ", ".join(values)
        try:
            self._do(sql, tuple(bound))
        except sqlite3.Error:
            assert fails
            return
        assert not fails
        self.now.rows |= {first + i: row for i, row in enumerate(rows)}
        self._settle()

    @rule(rowid=ROWIDS, row=ROWS, names=st.sets(st.sampled_from(NAMES), min_size=1))
    def update_columns(self, rowid: int, row: Row, names: set[str]) -> None:
        ordered = sorted(names)
        values = [dict(zip(NAMES, row.values(), strict=True))[name] for name in ordered]
        sets = ", ".join(f"{name} = ?" for name in ordered)
        self._do(f'update "{self.name}" set {sets} where rowid = ?', (*values, rowid))
        if rowid in self.now.rows:
            self.now.rows[rowid] = self.now.rows[rowid].changed(
                **{name: getattr(row, name) for name in ordered}
            )
        self._settle()

    @rule(old=ROWIDS, new=ROWIDS, replaces=st.booleans())
    def update_rowid(self, old: int, new: int, replaces: bool) -> None:
        clause = "or replace" if replaces else ""
        clashes = old in self.now.rows and new in self.now.rows and new != old
        try:
            self._do(f'update {clause} "{self.name}" set rowid = ? where rowid = ?', (new, old))
        except sqlite3.IntegrityError:
            assert clashes and not replaces
            return
        assert replaces or not clashes
        if old in self.now.rows:
            self.now.rows[new] = self.now.rows.pop(old)
        self._settle()

    @rule(rowids=st.lists(ROWIDS, max_size=20))
    def delete_rows(self, rowids: list[int]) -> None:
        self._do(
            f'delete from "{self.name}" where rowid in (select value from json_each(?))',
            (json.dumps(rowids),),
        )
        for rowid in rowids:
            self.now.rows.pop(rowid, None)
        self._settle()

    @rule(company=st.sampled_from(["acme", "bolt"]))
    def delete_by_filter(self, company: str) -> None:
        self._do(f'delete from "{self.name}" where company = ?', (company,))
        self.now.rows = {i: row for i, row in self.now.rows.items() if row.company != company}
        self._settle()

    @rule(query=VECTORS_A, k=st.integers(0, 5))
    def delete_nearest(self, query: tuple[int, ...], k: int) -> None:
        sql = f'delete from "{self.name}" where rowid in (select rowid from "{self.name}" where a match ? and k = ?)'
        self._do(sql, (blob(query), k))
        for rowid, _ in self.now.nearest("a", query, k):
            del self.now.rows[rowid]
        self._settle()

    @rule(
        rows=st.lists(st.tuples(ROWIDS, VECTORS_A), min_size=1, max_size=20, unique_by=lambda pair: pair[0])
    )
    def bulk_upsert(self, rows: list[tuple[int, tuple[int, ...]]]) -> None:
        index = vssnative.Index(self.conns[0], self.name, "a")
        ids = np.array([rowid for rowid, _ in rows], np.int64)
        TOTALS["statements"] += 1
        index.add(ids, np.array([vector for _, vector in rows], np.float32), replace=True)
        for rowid, vector in rows:
            self.now.rows[rowid] = self.now.rows.get(rowid, Row()).changed(a=vector)
        self._settle()

    @rule(rowids=st.lists(ROWIDS, min_size=1, max_size=20, unique=True))
    def bulk_remove(self, rowids: list[int]) -> None:
        TOTALS["statements"] += 1
        vssnative.Index(self.conns[0], self.name, "a").remove(rowids)
        for rowid in rowids:
            row = self.now.rows.get(rowid)
            if row is not None:
                if row.b is None:
                    del self.now.rows[rowid]
                else:
                    self.now.rows[rowid] = row.changed(a=None)
        self._settle()

    # --- transactions ---

    @precondition(lambda self: not self.in_transaction)
    @rule(kind=st.sampled_from(["begin", "begin immediate"]))
    def begin(self, kind: str) -> None:
        self._do(kind)

    @precondition(lambda self: self.in_transaction)
    @rule()
    def commit(self) -> None:
        self._do("commit")
        self._settle()

    @precondition(lambda self: self.in_transaction)
    @rule()
    def rollback(self) -> None:
        self._do("rollback")
        self.now = self.committed.copy()
        self.name = self.committed_name
        self.savepoints = []

    @rule(name=st.sampled_from(["s1", "s2"]))
    def savepoint(self, name: str) -> None:
        self._do(f"savepoint {name}")
        self.savepoints.append((name, self.now.copy(), self.name))

    @precondition(lambda self: self.savepoints)
    @rule(data=st.data())
    def rollback_to(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, _, _ in self.savepoints]))
        self._do(f"rollback to {name}")
        while self.savepoints[-1][0] != name:
            self.savepoints.pop()
        self.now = self.savepoints[-1][1].copy()
        self.name = self.savepoints[-1][2]

    @precondition(lambda self: self.savepoints)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, _, _ in self.savepoints]))
        self._do(f"release {name}")
        while self.savepoints.pop()[0] != name:
            pass
        self._settle()

    # --- the table and the file ---

    @rule()
    def rename(self) -> None:
        new = "u" if self.name == "t" else "t"
        self._do(f'alter table "{self.name}" rename to "{new}"')
        self.name = new
        self._settle()

    @precondition(lambda self: not self.in_transaction)
    @rule()
    def vacuum(self) -> None:
        self._do("vacuum")

    @precondition(lambda self: not self.in_transaction)
    @rule()
    def change_writer(self) -> None:
        """The other connection, which only read so far, writes from now on."""
        self.conns.reverse()

    @rule()
    def reopen(self) -> None:
        """The writer closes, whatever it was doing, which rolls back; another takes its place."""
        self.conns[0].close()
        self.conns[0] = self._connect()
        self.now = self.committed.copy()
        self.name = self.committed_name
        self.savepoints = []

    @precondition(lambda self: self.process is not None and not self.in_transaction)
    @rule(rowid=ROWIDS, row=ROWS)
    def another_process_writes(self, rowid: int, row: Row) -> None:
        assert self.process is not None
        TOTALS["statements"] += 1
        insert(self.process.execute, rowid, row, self.name, "replace")
        self.now.rows[rowid] = row
        self._settle()

    # --- what must hold ---

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "steps"):
            return
        self.steps += 1
        TOTALS["checks"] += 1
        table = f'"{self.name}"'
        self.now.check_searches(self._execute(0), table, seed=self.steps, searches=1)
        self.committed.check_searches(
            self._execute(1), f'"{self.committed_name}"', seed=self.steps, searches=1
        )
        if self.steps % 4 == 0 or not self.in_transaction:
            self.now.check_rows(self._execute(0), table)
        if not self.in_transaction:
            self.now.check(self._execute(1), self.name, seed=self.steps)
            if self.process is not None:
                self.now.check_searches(self.process.execute, table, seed=self.steps, searches=1)

    def _execute(self, i: int) -> Any:
        return self.conns[i].execute

    def teardown(self) -> None:
        if not hasattr(self, "steps"):
            return
        try:
            if self.in_transaction:
                self.commit()
            self.now.check(self._execute(1), self.name)
            assert self.conns[1].execute("pragma integrity_check").fetchall() == [("ok",)]
        finally:
            for conn in self.conns:
                conn.close()
            if self.process is not None:
                self.process.close()
            shutil.rmtree(self.folder)


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(
    max_examples=int(os.environ.get("VSSNATIVE_STATE_MACHINE", scaled(15, 400))),
    stateful_step_count=scaled(30, 50),
    deadline=None,
    derandomize=not IS_LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


def teardown_module() -> None:
    count("state machine", **TOTALS)
