"""What runs in the processes of the kill tests."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from pathlib import Path

import vssnative
from vssnative import Settings
from vssnative.embedding.hashing import HashEmbedder
from vssnative.embedding.protocol import Float32Matrix

LEASE_SECONDS = 1.0


class SlowEmbedder(HashEmbedder):
    """Long enough in a call for a kill to meet it there, too."""

    def embed_documents(self, texts: Sequence[str]) -> Float32Matrix:
        time.sleep(0.005)
        return super().embed_documents(texts)


def work(path: str) -> None:
    """A worker with small batches, so that many commits are there to be killed in."""
    settings = Settings(batch_texts=16, lease_seconds=LEASE_SECONDS, backoff=0.01)
    vssnative.Worker(path, poll=0.01, settings=settings, embedder=SlowEmbedder(16)).run()


def write(path: str, seed: int, stop: Event, report: str) -> None:
    """An app without the extension, with the default timeout of Python's driver, that writes without pause."""
    chance = random.Random(seed)
    conn = sqlite3.connect(path)
    statements = 0
    longest = 0.0
    errors: list[str] = []
    while not stop.is_set():
        row = chance.randrange(1, 400)
        text = f"{chance.choice(['red', 'green', 'blue'])} {chance.randrange(200)}"
        sql, params = chance.choice(
            [
                (
                    "insert or replace into posts(id, slug, title) values (?, ?, ?)",
                    (row, f"s{row % 50}", text),
                ),
                ("insert into posts(title) values (?)", (text,)),
                ("update posts set title = ? where id = ?", (text, row)),
                ("update posts set body = ? where id between ? and ? + 3", (text, row, row)),
                ("update or replace posts set id = id + 1 where id = ?", (row,)),
                ("delete from posts where id = ?", (row,)),
            ]
        )
        started = time.monotonic()
        try:
            conn.execute(sql, params)
            if chance.random() < 0.1:
                conn.rollback()
            else:
                conn.commit()
        except sqlite3.IntegrityError:
            conn.rollback()
        except sqlite3.OperationalError as error:
            errors.append(str(error))
            conn.rollback()
        longest = max(longest, time.monotonic() - started)
        statements += 1
        time.sleep(chance.random() * 0.005)
    conn.close()
    Path(report).write_text("\n".join([str(statements), f"{longest:.3f}", *errors]))
