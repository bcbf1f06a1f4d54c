"""The end of the process while daemon threads are inside native code: its exit status is the program's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Each endless work of a thread is given a file of its own.
WORKS = {
    "embed": "vssnative.embed([f'some text {number}' for number in range(64)], 'minilm')",
    "sync": "conn.execute('update posts set body = body || ?', (' x',)); vssnative.sync(conn)",
    "worker": "vssnative.Worker(path, poll=0.001).run()",
    "vss_embed in SQL": "conn.execute('select vss_embed(?, ?)', (f'text {number}', 'minilm')).fetchall()",
    "add": "index.add(range(3000), [[float(i), 1.0, 0.5] for i in range(3000)], replace=True)",
    "search": "index.search([[float(i), 1.0, 0.5] for i in range(300)], k=5)",
}

PROGRAM = """
import sys, threading, time
import vssnative

path, work = sys.argv[1:]
started = threading.Semaphore(0)


def run(path):
    conn = vssnative.connect(path, isolation_level=None)
    vssnative.load(conn, embed=True)
    conn.execute("create table posts(id integer primary key, body text)")
    conn.executemany("insert into posts(body) values (?)", [(f"post number {i}",) for i in range(40)])
    vssnative.add_embeddings(conn, "posts", ["body"], model="minilm")
    vssnative.sync(conn)
    index = vssnative.Index(conn, "v")
    index.add(range(3000), [[float(i), 1.0, 0.5] for i in range(3000)])
    started.release()
    number = 0
    while True:
        number += 1
        exec(work)


for number in range(2):
    threading.Thread(target=run, args=(f"{path}.{number}",), daemon=True).start()
for _ in range(2):
    assert started.acquire(timeout=120)
time.sleep(0.3)
print("the end", flush=True)
"""


@pytest.mark.parametrize("work", WORKS)
def test_daemon_threads_at_the_end_of_the_process(work: str, tmp_path: Path) -> None:
    for attempt in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / f"{attempt}.db"), WORKS[work]],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.stdout == "the end\n", done.stderr
        assert done.returncode == 0 and "terminate" not in done.stderr, (done.returncode, done.stderr)
