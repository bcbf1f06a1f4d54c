"""A load run: 30 seconds of clients that search, read, write, and wait until what they wrote is found.

    python examples/fastapi_notes/load.py [--seconds 30] [--notes 2000] [--readers 8] [--writers 2]

It starts the application with uvicorn on a file of its own, fills it with docstrings of Python's standard library (embedded by
MiniLM), and prints requests, errors, percentiles, and staleness: the time from the answer to a write until a search no
longer returns the note as stale. Exits with 1 if a request failed, or if something was stale for longer than the worker's pause.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from app import PAUSE, upgrade

import vssnative
from vssnative._demo import collect_posts


class Load:
    """Counts what the clients see."""

    def __init__(self, client: httpx.AsyncClient, seconds: float, texts: list[tuple[str, str]]) -> None:
        self.client = client
        self.texts = texts
        self.until = time.monotonic() + seconds
        self.times: dict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []
        self.staleness: list[float] = []
        # Of notes that were changed: when the answer to their last change came.
        self.changed: dict[int, float] = {}

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    async def call(
        self, kind: str, method: str, url: str, allowed: tuple[int, ...] = (), **options: Any
    ) -> Any:
        began = time.monotonic()
        try:
            response = await self.client.request(method, url, **options)
        except httpx.HTTPError as error:
            self.errors.append(f"{method} {url}: {error!r}")
            return None
        self.times[kind].append(time.monotonic() - began)
        if response.is_success:
            return response.json() if response.content else {}
        if response.status_code not in allowed:
            self.errors.append(f"{method} {url}: {response.status_code} {response.text[:200]}")
        return None

    def look(self, found: list[dict[str, Any]] | None, asked: float) -> None:
        """Note what was stale in an answer. Asked before the change was answered, it may be."""
        for one in found or []:
            changed = self.changed.get(one["id"])
            if one["stale"] and changed is not None and changed <= asked:
                self.staleness.append(time.monotonic() - changed)

    async def read(self) -> None:
        while self.goes_on:
            title, body = random.choice(self.texts)
            dice = random.random()
            asked = time.monotonic()
            if dice < 0.6:
                words = " ".join((body or title).split()[:8])
                options = {"folder": random.choice("abcd")} if dice < 0.2 else {}
                self.look(await self.call("search", "GET", "/search", params={"q": words, **options}), asked)
            elif dice < 0.9:
                # Writers delete notes: 404 is an answer.
                url = f"/similar/{random.randint(1, len(self.texts))}"
                self.look(await self.call("similar", "GET", url, (404,)), asked)
            else:
                await self.call("status", "GET", "/status")

    async def write(self) -> None:
        while self.goes_on:
            title, body = random.choice(self.texts)
            word = f"zz{random.getrandbits(48):x}"
            note = {"title": f"{title} {word}", "body": body, "folder": random.choice("abcd")}
            dice = random.random()
            number = random.randint(1, len(self.texts))
            if dice < 0.5:
                answer = await self.call("create", "POST", "/notes", json=note)
            elif dice < 0.9:
                answer = await self.call("change", "PUT", f"/notes/{number}", (404,), json=note)
            else:
                self.changed.pop(number, None)
                await self.call("delete", "DELETE", f"/notes/{number}", (404,))
                continue
            if answer is not None:
                await self.until_found(answer["id"], note["title"])

    async def until_found(self, id: int, title: str) -> None:
        written = self.changed[id] = time.monotonic()
        while True:
            found = await self.call("search", "GET", "/search", params={"q": title, "k": 5})
            mine = next((one for one in found or [] if one["id"] == id), None)
            if self.changed.get(id) != written:
                return  # another client changed or deleted it
            if mine is not None and not mine["stale"]:
                self.staleness.append(time.monotonic() - written)
                return
            if time.monotonic() - written > 60:
                self.errors.append(f"note {id} was not found within a minute")
                return
            await asyncio.sleep(0.02)


def fill(path: str, texts: list[tuple[str, str]]) -> None:
    """Notes, embedded before the run begins."""
    with vssnative.Pool(path) as pool:
        upgrade(path)
        with pool.transaction() as conn:
            conn.executemany(
                "insert into notes(title, body, folder) values (?, ?, ?)",
                [(title, body, random.choice("abcd")) for title, body in texts],
            )
        with pool.connection() as conn:
            vssnative.sync(conn, progress=sys.stderr.isatty())


async def run(arguments: argparse.Namespace, path: str) -> int:
    texts = [(post.title, f"{post.summary} {post.description or ''}".strip()) for post in collect_posts()]
    random.seed(1)
    texts = random.sample(texts, min(arguments.notes, len(texts)))
    print(f"filling {path} with {len(texts):,} notes")
    await asyncio.to_thread(fill, path, texts)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"],
        cwd=HERE,
        env={**os.environ, "NOTES_DB": path},
    )
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            base_url=url, timeout=60, limits=httpx.Limits(max_connections=100)
        ) as client:
            while True:
                try:
                    await client.get("/search", params={"q": "warm up"})
                    break
                except httpx.HTTPError:
                    await asyncio.sleep(0.1)
            load = Load(client, arguments.seconds, texts)
            began = time.monotonic()
            readers = [load.read() for _ in range(arguments.readers)]
            await asyncio.gather(*readers, *(load.write() for _ in range(arguments.writers)))
            report(load, time.monotonic() - began, arguments)
    finally:
        server.terminate()
        server.wait()
    late = max(load.staleness, default=0) > PAUSE
    return 1 if load.errors or late or not load.staleness else 0


def report(load: Load, seconds: float, arguments: argparse.Namespace) -> None:
    requests = sum(map(len, load.times.values()))
    print(
        f"{requests:,} requests in {seconds:.1f} s by {arguments.readers} readers and {arguments.writers} writers,"
        f" {len(load.errors)} errors"
    )
    for kind, times in sorted(load.times.items()):
        shown = ", ".join(f"{name} {1000 * at(times, share):.0f}" for name, share in SHARES)
        print(f"  {kind:8} {len(times):6,}   ms: {shown}, longest {1000 * max(times):.0f}")
    if load.staleness:
        shown = ", ".join(f"{name} {1000 * at(load.staleness, share):.0f}" for name, share in SHARES)
        longest = 1000 * max(load.staleness)
        print(f"  staleness, {len(load.staleness):,} times seen, ms: {shown}, longest {longest:.0f}")
        print(f"  the worker's pause is {1000 * PAUSE:.0f} ms")
    for error in load.errors[:10]:
        print("  ", error)


SHARES = (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99))


def at(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--notes", type=int, default=2000)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--writers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(asyncio.run(run(arguments, str(Path(folder) / "notes.db"))))


if __name__ == "__main__":
    main()
