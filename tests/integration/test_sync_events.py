"""Events reach the listener, the log, and OpenTelemetry where it is installed."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import vssnative
from vssnative import Event, Settings

events_module = sys.modules[Event.__module__]


@pytest.fixture
def posts(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("create table posts(id integer primary key, title text)")
    db.executemany("insert into posts(title) values (?)", [("secret one",), (b"secret blob",)])
    db.commit()
    vssnative.add_embeddings(db, "posts", columns=["title"], model="hash:16")
    return db


def test_events_and_log_tell_what_happened_but_no_text(
    posts: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Event] = []
    with caplog.at_level(logging.DEBUG, "vssnative.sync"):
        vssnative.sync(posts, on_event=seen.append, settings=Settings(backoff=0.001))
    kinds = [event.kind for event in seen]
    assert kinds[0] == "batch" and kinds.count("failed") == 3 and kinds.count("dead") == 1
    assert {event.embedding for event in seen} == {"posts"}
    [dead] = [event for event in seen if event.kind == "dead"]
    assert dead.details == {
        "row_id": 2,
        "field": "title",
        "reason": "column title holds a blob, expected text",
    }
    assert [r.levelname for r in caplog.records if "dead" in r.getMessage()] == ["WARNING"]
    assert len(caplog.records) == len(seen)
    assert "secret" not in caplog.text


def test_spans_where_opentelemetry_is_installed(
    posts: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans: list[tuple[str, dict[str, Any]]] = []

    class Tracer:
        @contextlib.contextmanager
        def start_as_current_span(self, name: str, attributes: dict[str, Any]) -> Iterator[None]:
            spans.append((name, attributes))
            yield

    monkeypatch.setattr(events_module, "_tracers", [Tracer()])
    vssnative.sync(posts, settings=Settings(backoff=0.001))
    assert ("vssnative.embed", {"texts": 1, "model": "hash:16"}) in spans
    assert spans[-1][0] == "vssnative.commit"
