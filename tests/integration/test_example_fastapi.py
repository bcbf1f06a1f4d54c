"""examples/fastapi_notes: the notes app, asked as a client would."""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_notes"


@pytest.fixture
def app_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setenv("NOTES_MODEL", "hash:64")
    for name in ("app", "models"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("app")


@pytest.fixture
async def client(app_module: ModuleType, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = app_module.create_app(str(tmp_path / "notes.db"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notes") as client,
    ):
        yield client


async def in_step(client: httpx.AsyncClient) -> None:
    for _ in range(2000):
        state = (await client.get("/status")).json()
        if state["pending"] == 0:
            assert state["dead"] == 0 and state["embedded"] == state["rows"]
            return
        await asyncio.sleep(0.01)
    raise AssertionError(state)


async def add(client: httpx.AsyncClient, **note: Any) -> int:
    answer = await client.post("/notes", json=note)
    assert answer.status_code == 201
    return int(answer.json()["id"])


async def test_notes_are_written_found_changed_and_deleted(client: httpx.AsyncClient) -> None:
    heron = await add(client, title="a heron stood in the pond", folder="birds")
    await add(client, title="red shoes", body="to walk in", folder="things")
    await add(client, title="a second heron", folder="birds")
    await in_step(client)
    found = (await client.get("/search", params={"q": "heron pond", "k": 2})).json()
    assert found[0]["id"] == heron and not found[0]["stale"] and found[0]["score"] > 0
    things = (await client.get("/search", params={"q": "heron", "folder": "things"})).json()
    assert [note["title"] for note in things] == ["red shoes"]
    alike = (await client.get(f"/similar/{heron}", params={"k": 1})).json()
    assert [note["title"] for note in alike] == ["a second heron"]
    changed = {"title": "a yellow submarine", "body": "below", "folder": "boats"}
    assert (await client.put(f"/notes/{heron}", json=changed)).json() == {"id": heron, **changed}
    await in_step(client)
    assert (await client.get("/search", params={"q": "yellow submarine"})).json()[0]["id"] == heron
    assert (await client.get(f"/notes/{heron}")).json()["folder"] == "boats"
    assert (await client.delete(f"/notes/{heron}")).status_code == 204
    found = (await client.get("/search", params={"q": "yellow submarine"})).json()
    assert heron not in {note["id"] for note in found}


async def test_what_is_not_there_is_said_so(client: httpx.AsyncClient) -> None:
    for method, url in (("GET", "/notes/9"), ("DELETE", "/notes/9"), ("GET", "/similar/9")):
        answer = await client.request(method, url)
        assert (answer.status_code, answer.json()["detail"]) == (404, "there is no note 9")
    assert (await client.put("/notes/9", json={"title": "x"})).status_code == 404
    assert (await client.get("/search", params={"q": " "})).status_code == 422
    assert (await client.get("/search")).status_code == 422
    assert (await client.post("/notes", json={})).status_code == 422


@pytest.mark.filterwarnings("ignore:search of notes found nothing")  # before the first note is embedded
async def test_readers_beside_writers_see_no_lock(client: httpx.AsyncClient) -> None:
    async def write(number: int) -> None:
        id = await add(client, title=f"note word{number}", folder=str(number % 3))
        answer = await client.put(f"/notes/{id}", json={"title": f"changed word{number}"})
        assert answer.status_code == 200

    async def read(number: int) -> None:
        for _ in range(10):
            answer = await client.get("/search", params={"q": f"word{number}", "k": 3})
            assert answer.status_code == 200

    await asyncio.gather(*(write(n) for n in range(40)), *(read(n) for n in range(8)))
    await in_step(client)
    for number in (3, 17):
        found = (await client.get("/search", params={"q": f"changed word{number}", "k": 1})).json()
        assert found[0]["title"] == f"changed word{number}"


async def test_another_program_may_write_the_file(client: httpx.AsyncClient, tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "notes.db")
    with conn:
        conn.execute("insert into notes(title, body, folder) values ('from elsewhere', '', 'x')")
    conn.close()
    await in_step(client)
    found = (await client.get("/search", params={"q": "elsewhere", "k": 1})).json()
    assert found[0]["title"] == "from elsewhere"


def test_the_schema_goes_down_again(app_module: ModuleType, tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    path = str(tmp_path / "notes.db")
    app_module.upgrade(path)
    config = Config()
    config.set_main_option("script_location", str(EXAMPLE / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.check(config)  # models and migrations agree
    command.downgrade(config, "base")
    conn = sqlite3.connect(path)
    left = {row[0] for row in conn.execute("select name from sqlite_master where type = 'table'")}
    conn.close()
    assert "notes" not in left and not [name for name in left if name.startswith("vss_")]


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    """As `uvicorn --workers 4` on a file that does not exist yet."""
    path = str(tmp_path / "notes.db")
    program = "import sys, app; print('ready', flush=True); sys.stdin.readline(); app.upgrade(sys.argv[1])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, path],
            cwd=EXAMPLE,
            env={**os.environ, "NOTES_MODEL": "hash:64"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    conn = sqlite3.connect(path)
    assert conn.execute("select version_num from alembic_version").fetchall() == [("0002",)]
    assert conn.execute("select count(*) from vssnative_embeddings").fetchall() == [(1,)]
    conn.close()
