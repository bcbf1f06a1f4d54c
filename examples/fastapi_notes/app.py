"""Notes that are found by what they mean: FastAPI, SQLAlchemy on asyncio, Alembic, and a worker that keeps the vectors.

    uvicorn app:app

The file and the model are those of the environment: NOTES_DB (notes.db), NOTES_MODEL (minilm).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from alembic import command
from alembic.config import Config
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from models import Note
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

import vssnative
from vssnative import aio
from vssnative.integrations.sqlalchemy import install

HERE = Path(__file__).parent
# Seconds after which the worker looks at the queue by itself; it is woken by every change that this process makes.
PAUSE = 1.0


class NoteIn(BaseModel):
    title: str
    body: str = ""
    folder: str = "inbox"


class NoteOut(NoteIn):
    id: int


class Found(NoteOut):
    score: float
    stale: bool  # found by its earlier text


def upgrade(path: str) -> None:
    """Bring the file's schema up to date: Alembic, in a thread, as it is not asynchronous."""
    config = Config()
    config.set_main_option("script_location", str(HERE / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    command.upgrade(config, "head")


def create_app(path: str | None = None) -> FastAPI:
    """The application over one file."""
    path = path or os.environ.get("NOTES_DB", "notes.db")

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pool = await asyncio.to_thread(vssnative.Pool, path)  # WAL from here on
        await asyncio.to_thread(upgrade, path)
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}", connect_args={"timeout": 30}, pool_size=10
        )
        install(engine)
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        app.state.writing = asyncio.Lock()  # writers of this process wait here, in their order
        app.state.worker = vssnative.Worker(pool, poll=PAUSE)
        async with aio.background(app.state.worker):
            yield
        await engine.dispose()
        await aio.close(pool)

    app = FastAPI(title="Notes", lifespan=lifespan)
    app.include_router(router)
    return app


async def session_of(request: Request) -> AsyncIterator[AsyncSession]:
    """A session for reading."""
    async with request.app.state.sessions() as session:
        yield session


async def writing_session_of(request: Request) -> AsyncIterator[AsyncSession]:
    """A session for writing: committed at the end, and the worker wakes."""
    async with request.app.state.writing, request.app.state.sessions.begin() as session:
        yield session
    request.app.state.worker.wake()


# scope="function": the end of the session comes before the answer, so whoever has the answer sees the change.
Reading = Annotated[AsyncSession, Depends(session_of)]
Writing = Annotated[AsyncSession, Depends(writing_session_of, scope="function")]

from fastapi import APIRouter

router = APIRouter()


async def note_of(session: AsyncSession, id: int) -> Note:
    note = await session.get(Note, id)
    if note is None:
        raise HTTPException(404, f"there is no note {id}")
    return note


@router.post("/notes", status_code=201)
async def create(note: NoteIn, session: Writing) -> NoteOut:
    row = Note(**note.model_dump())
    session.add(row)
    await session.flush()
    return NoteOut(id=row.id, **note.model_dump())


@router.get("/notes/{id}")
async def read(id: int, session: Reading) -> NoteOut:
    return as_note(await note_of(session, id))


@router.put("/notes/{id}")
async def change(id: int, note: NoteIn, session: Writing) -> NoteOut:
    row = await note_of(session, id)
    for name, value in note.model_dump().items():
        setattr(row, name, value)
    return as_note(row)


@router.delete("/notes/{id}", status_code=204)
async def delete(id: int, session: Writing) -> None:
    await session.delete(await note_of(session, id))


@router.get("/search")
async def search(
    session: Reading,
    q: Annotated[str, Query(min_length=1, pattern=r"\S")],
    k: Annotated[int, Query(ge=1, le=100)] = 10,
    folder: str | None = None,
) -> list[Found]:
    """Notes by meaning and by words; k of them, whatever the folder."""
    where: dict[str, Any] = {} if folder is None else {"where": "folder = ?", "params": [folder]}
    return [as_found(result) for result in await aio.search(session, "notes", q, k, **where)]


@router.get("/similar/{id}")
async def similar(id: int, session: Reading, k: Annotated[int, Query(ge=1, le=100)] = 10) -> list[Found]:
    """Notes like a note. A note that is not embedded yet has none."""
    await note_of(session, id)
    try:
        return [as_found(result) for result in await aio.search(session, "notes", similar_to=id, k=k)]
    except vssnative.QueryError:
        return []


@router.get("/status")
async def status(session: Reading) -> dict[str, Any]:
    """How far the vectors are behind the notes."""
    [state] = await aio.status(session)
    return {"rows": state.rows, "embedded": state.embedded, "pending": state.pending, "dead": state.dead}


def as_note(row: Note) -> NoteOut:
    return NoteOut(id=row.id, title=row.title, body=row.body, folder=row.folder)


def as_found(result: vssnative.Result) -> Found:
    row = result.row
    return Found(
        id=result.key,
        title=row["title"],
        body=row["body"],
        folder=row["folder"],
        score=result.score,
        stale=result.stale,
    )


app = create_app()
