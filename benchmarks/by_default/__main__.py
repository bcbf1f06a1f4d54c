"""Measure packages at their default settings, each step in a process of its own.

    cd benchmarks && python -m by_default --data real-50000x384 --folder /tmp/peers [--peer sqlite-vec ...] [--steps ...]
    cd benchmarks && python -m by_default --table --folder /tmp/peers

Kinds of data: real-50000x384 and real-300x384 (benchmarks/data.py), normal-ROWSxDIM, clusters-ROWSxDIM. Steps:

load      import, open, store every row and commit; seconds by the clock and of processors, size of the files
cold      a new process: import (beside numpy), open and the first search; medians of three
warm      one query at a time on one processor, after as many that do not count: median microseconds, recall
batch     1,000 queries in one call where there is one, on all processors; fewer where a search is slow
filter    as warm, under `year < ?`, which 50 %, 1 % and 0.1 % of the rows match
change    delete half of the rows, size of the files after it, recall after it; update one row, and search for it
          in another process

Results are added to FOLDER/results.jsonl. `--table` prints the newest of each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .kinds import QUERIES, SHARES, YEARS, Data, get, recall
from .peers import ALL, Peer

STEPS = ("load", "cold", "warm", "batch", "filter", "change")
ODD = 1  # delete_odd deletes rows 1, 3, 5, ...


def seconds_of(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(data: Data, search: Any, limit: float, most: int) -> tuple[float, list[list[int]]]:
    """Median seconds of one search, as many as fit into `limit` seconds; before them as many that do not count."""
    results: list[list[int]] = []
    for _ in range(2):
        results, took, end = [], [], time.perf_counter() + limit
        for query in data.queries[:most]:
            start = time.perf_counter()
            results.append(search(query))
            took.append(time.perf_counter() - start)
            if took[-1] + start > end and len(took) >= 10:
                break
    return statistics.median(took), results


def load(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    rows, dim = data.matrix.shape
    before = resource.getrusage(resource.RUSAGE_SELF)

    def work() -> None:
        opened = peer(folder, dim, rows)
        opened.fill(data)
        opened.close()

    took = seconds_of(work)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"load_s": took, "load_cpu_s": cpu, "size": size(folder) / data.matrix.nbytes}


def cold(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    rows, dim = data.matrix.shape

    def work() -> None:
        peer(folder, dim, rows).search(data.queries[0])

    return {"cold_ms": seconds_of(work) * 1e3}


def warm(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    opened = peer(folder, data.matrix.shape[1], len(data.matrix))
    took, found = timed(data, opened.search, 1.0, QUERIES)
    everything = np.ones(len(data.matrix), bool)
    return {"warm_us": took * 1e6, "recall": recall(data, data.queries[: len(found)], found, everything)}


def batch(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    opened = peer(folder, data.matrix.shape[1], len(data.matrix))
    once = seconds_of(lambda: opened.batch(data.queries[:20])) / 20
    count = QUERIES if once < 0.004 else 100
    found: list[list[int]] = []
    took = seconds_of(lambda: found.extend(opened.batch(data.queries[:count])))
    some = np.ones(len(data.matrix), bool)
    return {"batch_qs": count / took, "batch_recall": recall(data, data.queries[:100], found[:100], some)}


def filters(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    opened = peer(folder, data.matrix.shape[1], len(data.matrix))
    result = {}
    for share in SHARES:
        below = int(share * YEARS)
        matching = data.years < below
        if not matching.any():
            continue
        took, found = timed(data, lambda query: opened.filtered(query, below), 0.5, 100)  # noqa: B023
        result[f"filter_{share}_us"] = took * 1e6
        result[f"filter_{share}_recall"] = recall(data, data.queries[: len(found)], found, matching)
        result[f"filter_{share}_rows"] = min(len(ids) for ids in found) / min(10, int(matching.sum()))
    return result


def change(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    rows, dim = data.matrix.shape
    opened = peer(folder, dim, rows)
    deleting = seconds_of(lambda: opened.delete_odd(rows))
    opened.close()
    del opened
    result = {"delete_s": deleting, "size_after": size(folder) / data.matrix.nbytes}
    opened = peer(folder, dim, rows)
    even = np.arange(rows) % 2 != ODD
    _, found = timed(data, opened.search, 0.3, 100)
    result["recall_after"] = recall(data, data.queries[: len(found)], found, even)
    new = data.queries[-1] * np.float32(1.01)
    result["update_ms"] = seconds_of(lambda: opened.update(0, new)) * 1e3
    opened.close()
    return result


def look(peer: type[Peer], folder: Path, data: Data) -> dict[str, Any]:
    opened = peer(folder, data.matrix.shape[1], len(data.matrix))
    return {"sees_update": opened.search(data.queries[-1] * np.float32(1.01))[0] == 0}


def step(name: str, kind: str, peer: str, root: Path) -> None:
    """In a process of its own."""
    data = get(kind, root / "data")
    if name == "warm":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    work = {"load": load, "cold": cold, "warm": warm, "batch": batch, "filter": filters, "change": change}
    made = (work | {"look": look})[name]
    try:
        result = made(ALL[peer], root / kind / peer.replace(" ", ""), data)
    except NotImplementedError:
        result = {}
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)  # what a library does at the end of the process is not measured


def run(name: str, kind: str, peer: str, root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "by_default", "--step", name, "--data", kind, "--peer", peer]
    done = subprocess.run(
        [*command, "--folder", str(root)], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    if done.returncode != 0:
        print(done.stderr[-1500:])
        return {f"{name}_failed": done.stderr.strip().splitlines()[-1][:200]}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def measure(names: list[str], kind: str, peer: str, root: Path) -> None:
    folder = root / kind / peer.replace(" ", "")
    result: dict[str, Any] = {}
    for name in names:
        if name == "load":
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            result |= run(name, kind, peer, root)
        elif name == "cold":
            runs = [run(name, kind, peer, root) for _ in range(3)]
            times = [answer["cold_ms"] for answer in runs if "cold_ms" in answer]
            result |= {"cold_ms": statistics.median(times)} if times else runs[0]
        elif name == "change":
            copy = root / "before"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            result |= run(name, kind, peer, root) | run("look", kind, peer, root)
            shutil.rmtree(folder)
            copy.rename(folder)
        else:
            result |= run(name, kind, peer, root)
    line = {"data": kind, "peer": peer, **{k: _rounded(v) for k, v in result.items()}}
    print(json.dumps(line), flush=True)
    with (root / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def tables(root: Path) -> None:
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for text in (root / "results.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        newest.setdefault((line["data"], line["peer"]), {}).update(line)
    for kind in dict.fromkeys(kind for kind, _ in newest):
        print(f"\n{kind}\n")
        print(
            "| package | load, s | file / vectors | cold, ms | warm, us | recall | batch, queries/s |", end=""
        )
        print(" filter 50 %; 1 %; 0.1 %, us | delete half, s | file after | update, ms |")
        print("|" + "---|" * 11)
        for (data, peer), line in newest.items():
            if data != kind:
                continue
            filtered = "; ".join(_filtered(line, share) for share in SHARES)
            cells = [
                _plain(line, key) for key in ("load_s", "size", "cold_ms", "warm_us", "recall", "batch_qs")
            ]
            cells += [filtered, *(_plain(line, key) for key in ("delete_s", "size_after", "update_ms"))]
            print("| " + " | ".join([peer, *cells]) + " |")


def _plain(line: dict[str, Any], key: str) -> str:
    value = line.get(key)
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _filtered(line: dict[str, Any], share: float) -> str:
    if f"filter_{share}_us" not in line:
        return "-"
    text = _plain(line, f"filter_{share}_us")
    reached, rows = line[f"filter_{share}_recall"], line[f"filter_{share}_rows"]
    return text + (f" ({reached:.2f})" if reached < 0.945 else "") + (" too few rows" if rows < 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="real-50000x384")
    parser.add_argument("--peer", nargs="*", default=list(ALL), choices=list(ALL), metavar="NAME")
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=STEPS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.table:
        tables(arguments.folder)
    elif arguments.step:
        step(arguments.step, arguments.data, arguments.peer[0], arguments.folder)
    else:
        get(arguments.data, arguments.folder / "data")
        for peer in arguments.peer:
            measure(arguments.steps, arguments.data, peer, arguments.folder)


if __name__ == "__main__":
    main()
