"""Searches that answer with mapped objects."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, Session, scoped_session

from ..._catalog.records import EmbeddingConfig, load_embeddings
from ..._connection import begin, execute, in_transaction, load
from ..._search import Result, Results, embed_ahead
from ..._search import search as search_table
from ..._sync import sync
from ...errors import ConfigurationError, MigrationError, QueryError
from .driving import asynchronous_session, is_asynchronous, on_driver
from .embedded import declared_on

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

_Mapped = TypeVar("_Mapped")
# Older SQLite takes 999 values in a statement.
_MOST_VALUES = 900
_FRESH_SECONDS = 5.0


@dataclass(frozen=True)
class Found(Generic[_Mapped]):
    """A mapped object that was found.

    Attributes:
        object: the object, in the session.
        distance: smaller is nearer, see ``Result``.
        result: all that ``vssnative.search`` returns of the row.
    """

    object: _Mapped
    distance: float
    result: Result


class FoundList(list[Found[_Mapped]]):
    """What was found, nearest first.

    Attributes:
        results: as ``vssnative.search`` returns them, with ``pending`` and ``next_page``.
    """

    def __init__(self, found: Sequence[Found[_Mapped]], results: Results) -> None:
        super().__init__(found)
        self.results = results

    @property
    def objects(self) -> list[_Mapped]:
        """The objects alone."""
        return [found.object for found in self]


@overload
def search(
    session: Session | scoped_session[Any],
    model: type[_Mapped],
    query: Any = None,
    k: int = 10,
    *,
    where: Any = None,
    params: Any = (),
    name: str | None = None,
    load_options: Sequence[Any] = (),
    **options: Any,
) -> FoundList[_Mapped]: ...
@overload
def search(
    session: AsyncSession | async_scoped_session[Any],
    model: type[_Mapped],
    query: Any = None,
    k: int = 10,
    *,
    where: Any = None,
    params: Any = (),
    name: str | None = None,
    load_options: Sequence[Any] = (),
    **options: Any,
) -> Awaitable[FoundList[_Mapped]]: ...
def search(
    session: Any,
    model: type[_Mapped],
    query: Any = None,
    k: int = 10,
    *,
    where: Any = None,
    params: Any = (),
    name: str | None = None,
    load_options: Sequence[Any] = (),
    **options: Any,
) -> FoundList[_Mapped] | Awaitable[FoundList[_Mapped]]:
    """``vssnative.search`` over a mapped class's table, within the session's transaction.

    Pending changes are flushed first, as by any query. The objects come by one SELECT, in the snapshot that the search
    itself reads. As with any query, an object that the session holds already keeps the values that it has.

    Args:
        session: a ``Session``, or an ``AsyncSession``, for which the answer is awaited; also subclasses and
            ``scoped_session``.
        model: a mapped class. Its table has embeddings, or that of a class it inherits from; only rows of the class
            itself are found.
        query, k: as for ``vssnative.search``.
        where: an expression of SQLAlchemy, ``(Post.company == "acme") & Post.author.has(active=True)``; or SQL over the
            embedded table, with `params`.
        name: the embeddings' name, where the table has several.
        load_options: for the SELECT of the objects, for example ``[selectinload(Post.tags)]``.
        options: as for ``vssnative.search``; `similar_to` may be an object of the class, or its key.

    Returns:
        Objects, nearest first.

    Raises:
        ConfigurationError: `session` or `model` is none.
        As ``vssnative.search``.
    """
    arguments = _Arguments(model, query, k, where, params, name, tuple(load_options), options)
    if is_asynchronous(session):
        return asynchronous_session(session).run_sync(_search, arguments)  # type: ignore[no-any-return]
    if isinstance(session, scoped_session):
        session = session()
    if not isinstance(session, Session):
        raise ConfigurationError(
            f"search: expected a Session or AsyncSession, got {type(session).__module__}.{type(session).__qualname__}"
        )
    return _search(session, arguments)


@dataclass(frozen=True)
class _Arguments:
    model: Any
    query: Any
    k: int
    where: Any
    params: Any
    name: str | None
    load_options: tuple[Any, ...]
    options: dict[str, Any]


def _search(session: Session, arguments: _Arguments) -> FoundList[Any]:
    mapper = sa.inspect(arguments.model, raiseerr=False)
    if not isinstance(mapper, Mapper):
        raise ConfigurationError(f"search: expected a mapped class, got {arguments.model!r}")
    session.flush()
    connection = session.connection(bind_arguments={"mapper": mapper})
    on_driver(connection, load)
    embedding = on_driver(connection, lambda raw: _embedding_of(raw, mapper, arguments.name))
    key = _key_columns(mapper, embedding)
    options = dict(arguments.options)
    if options.get("similar_to") is not None:
        options["similar_to"] = _stored_key(mapper, key, options["similar_to"], connection.dialect)
    where, params = _condition(mapper, embedding, key, arguments)
    fresh = options.pop("fresh", False)
    if fresh:
        on_driver(
            connection,
            lambda raw: sync(
                raw,
                embedding.name,
                where=where,
                params=params,
                timeout=_FRESH_SECONDS if fresh is True else float(fresh),
                embedder=options.get("embedder"),
            ),
        )
    ahead = on_driver(connection, lambda raw: embed_ahead(raw, embedding.name, arguments.query, options))
    with _snapshot(connection):
        results = on_driver(
            connection,
            lambda raw: search_table(
                raw, embedding.name, arguments.query, arguments.k, where, params, **ahead
            ),
        )
        objects = _load(session, arguments, key, [_values(result) for result in results])
    found = [
        Found(objects[_values(result)], result.distance, result)
        for result in results
        if _values(result) in objects
    ]
    return FoundList(found, results)


def _stored_key(mapper: Mapper[Any], key: Sequence[Any], given: Any, dialect: Any) -> Any:
    """A key as SQLite stores it: of a mapped object, or values of the attributes' types (a UUID)."""
    if isinstance(given, mapper.class_):
        values = [getattr(given, attribute.key) for attribute in key]
    elif sa.inspect(given, raiseerr=False) is not None:
        raise QueryError(f"similar_to: expected a {mapper.class_.__name__} or its key, got {given!r}")
    else:
        values = list(given) if isinstance(given, tuple) else [given]
        if len(values) != len(key) or all(isinstance(one, (str, int, float, bytes)) for one in values):
            return given
    stored = []
    for attribute, value in zip(key, values, strict=True):
        process = attribute.type.dialect_impl(dialect).bind_processor(dialect)
        as_given = not isinstance(given, mapper.class_) and isinstance(value, (str, int, float, bytes))
        stored.append(value if process is None or as_given else process(value))
    return tuple(stored)


def _values(result: Result) -> tuple[Any, ...]:
    return result.key if isinstance(result.key, tuple) else (result.key,)


@contextlib.contextmanager
def _snapshot(connection: sa.Connection) -> Iterator[None]:
    """The transaction that is open on the driver's connection, or one of ours, so that what follows reads one state."""

    def begin_here(raw: Any) -> bool:
        if in_transaction(raw):
            return False
        begin(raw, "DEFERRED")
        return True

    def end(raw: Any) -> None:
        if in_transaction(raw):
            execute(raw, "COMMIT")

    ours = on_driver(connection, begin_here)
    try:
        yield
    finally:
        if ours:
            on_driver(connection, end)


def _embedding_of(raw: Any, mapper: Mapper[Any], name: str | None) -> EmbeddingConfig:
    """The embeddings of a class: those named; those it declares; those of its table, or of one that it inherits from.

    Raises:
        MigrationError: there are none, or several.
    """
    tables = [one.local_table for one in mapper.iterate_to_root() if isinstance(one.local_table, sa.Table)]
    recorded = load_embeddings(raw)
    for table in tables:
        found = [one for one in recorded if one.source.lower() == table.name.lower()]
        if name is not None:
            found = [one for one in found if one.name.lower() == name.lower()]
        elif len(found) > 1:
            plain = [one for one in found if one.name.lower() == table.name.lower()]
            if not plain:
                names = ", ".join(one.name for one in found)
                raise MigrationError(f"{table.name} has several embeddings ({names}); say which, name=...")
            found = plain
        if found:
            return found[0]
    names = ", ".join(dict.fromkeys(table.name for table in tables))
    declared = any(declared_on(table) for table in tables)
    hint = (
        "they are declared: metadata.create_all(engine) adds them, or a revision of Alembic"
        if declared
        else "declare them, embeddings = Embedded(...), or call add_embeddings"
    )
    wanted = "embeddings" if name is None else f"embeddings {name!r}"
    raise MigrationError(f"{mapper.class_.__name__}: table {names} has no {wanted} in this file; {hint}")


def _key_columns(mapper: Mapper[Any], embedding: EmbeddingConfig) -> list[Any]:
    """The attributes of the class that are the embedded table's primary key."""
    for one in mapper.iterate_to_root():
        table = one.local_table
        if isinstance(table, sa.Table) and table.name.lower() == embedding.source.lower():
            by_name = {column.name.lower(): column for column in table.c}
            try:
                columns = [by_name[name.lower()] for name in embedding.key_columns]
                return [
                    getattr(mapper.class_, mapper.get_property_by_column(column).key) for column in columns
                ]
            except (KeyError, sa.orm.exc.UnmappedColumnError) as error:  # type: ignore[attr-defined,unused-ignore]
                raise QueryError(
                    f"{mapper.class_.__name__} does not map the primary key"
                    f" ({', '.join(embedding.key_columns)}) of table {table.name}"
                ) from error
    raise QueryError(f"{mapper.class_.__name__} is not mapped to table {embedding.source}")


def _condition(
    mapper: Mapper[Any], embedding: EmbeddingConfig, key: Sequence[Any], arguments: _Arguments
) -> tuple[Any, Any]:
    """``where`` and ``params`` for the search: the rows of the class for which the caller's condition holds."""
    where: Any = arguments.where
    params = arguments.params
    subclass = (
        mapper.inherits is not None
        or getattr(mapper.local_table, "name", "").lower() != embedding.source.lower()
    )
    if (where is None or isinstance(where, str)) and not subclass:
        return where, params
    own: list[Any] = [sa.column(sa.sql.quoted_name(name, True)) for name in embedding.key_columns]
    matching = sa.select(*key).select_from(arguments.model)
    if where is not None and not isinstance(where, str):
        if isinstance(where, (list, tuple)):
            where = sa.and_(*where)
        if not isinstance(where, sa.ClauseElement) and not hasattr(where, "__clause_element__"):
            raise QueryError(
                f"where: expected an expression of SQLAlchemy, or SQL as a text, got a {type(where).__name__}"
            )
        if params:
            raise QueryError("where: a SQLAlchemy expression brings its values, leave params out")
        matching, where = matching.where(where), None
    condition: Any = (own[0] if len(own) == 1 else sa.tuple_(*own)).in_(matching)
    if where is None:
        return condition, ()
    raise QueryError(
        f"where: {arguments.model.__name__} shares table {embedding.source} with other classes, so its condition must"
        " be an expression of SQLAlchemy; sqlalchemy.text(...) takes SQL"
    )


def _load(
    session: Session, arguments: _Arguments, key: Sequence[Any], wanted: Sequence[tuple[Any, ...]]
) -> dict[tuple[Any, ...], Any]:
    """Objects by their key as SQLite stores it."""
    plain: list[Any] = [sa.type_coerce(column, sa.types.NullType()) for column in key]
    found: dict[tuple[Any, ...], Any] = {}
    portion = _MOST_VALUES // len(key)
    for first in range(0, len(wanted), portion):
        part = wanted[first : first + portion]
        among = plain[0].in_([one[0] for one in part]) if len(key) == 1 else sa.tuple_(*plain).in_(part)
        labelled = [column.label(f"vssnative_k{number}") for number, column in enumerate(plain)]
        statement = sa.select(arguments.model, *labelled).where(among).options(*arguments.load_options)
        for row in session.execute(statement, execution_options={"autoflush": False}).unique():
            found[tuple(row[1:])] = row[0]
    return found
