"""``Embedded``: embeddings that a mapped class, or a ``Table``, declares."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.orm import Mapper
from sqlalchemy.schema import SchemaItem

from ..._catalog.records import EmbeddingConfig, load_embeddings, renamed_template, template_columns
from ..._catalog.schema import installed_version, set_meta
from ..._connection import execute
from ...errors import ConfigurationError, VssWarning
from ...migrations import add_embeddings, drop_embeddings
from ...migrations.embeddings import declared_key
from .driving import is_connected, on_driver


class Embedded(SchemaItem):
    """Declares that columns of a table are embedded, and that their vectors are kept in step by ``sync``.

        class Post(Base):
            ...
            embeddings = Embedded("title", "summary", model="minilm")

    or in ``__table_args__``, or in a ``Table``. ``metadata.create_all`` adds the embeddings to tables that have none yet,
    ``drop_all`` takes them away; Alembic's autogenerate writes both, and changes, into revisions.

    Args:
        columns: names of attributes, or of columns, each with vectors of its own.
        template, model, store, chunk, full_text, name: as for ``vssnative.add_embeddings``. Autogenerate can write a
            model down that is given by its name.

    Raises:
        ConfigurationError: neither columns nor a template, or both.
    """

    __visit_name__ = "vssnative_embedded"

    def __init__(
        self,
        *columns: str,
        template: str | None = None,
        model: Any = "minilm",
        store: str = "vss",
        chunk: Any = None,
        full_text: bool | str = False,
        name: str | None = None,
    ) -> None:
        if bool(columns) == (template is not None):
            raise ConfigurationError(
                'Embedded: give either columns, Embedded("title", "summary"), or template="{title}\\n{summary}"'
            )
        for column in columns:
            if not isinstance(column, str):
                raise ConfigurationError(f"Embedded: expected names of columns, got {column!r}")
        self.columns = columns
        self.template = template
        self.model = model
        self.store = store
        self.chunk = chunk
        self.full_text = full_text
        self.name = name
        self.table: sa.Table | None = None
        self._mapper: Mapper[Any] | None = None

    def __repr__(self) -> str:
        given = [repr(column) for column in self.columns]
        given += [
            f"{name}={getattr(self, name)!r}"
            for name, default in _DEFAULTS.items()
            if getattr(self, name) != default
        ]
        return f"Embedded({', '.join(given)})"

    def _set_parent(self, parent: Any, **_: Any) -> None:
        if not isinstance(parent, sa.Table):
            raise ConfigurationError(f"Embedded belongs to a Table or a mapped class, not to {parent!r}")
        self.table = parent
        declared = _declared.setdefault(parent, [])
        if self in declared:
            return
        if not declared:
            sa.event.listen(parent, "after_create", _after_create_table)
            sa.event.listen(parent, "before_drop", _before_drop)
        declared.append(self)
        if not sa.event.contains(parent.metadata, "after_create", _after_create_all):
            sa.event.listen(parent.metadata, "after_create", _after_create_all)

    @property
    def embeddings_name(self) -> str:
        """The name under which the file records them."""
        assert self.table is not None
        return self.name or self.table.name

    def arguments(self) -> dict[str, Any]:
        """Arguments of ``vssnative.add_embeddings`` beside the table: names of columns; defaults left out.

        Raises:
            ConfigurationError: there is no such attribute or column.
        """
        options: dict[str, Any] = {}
        if self.template is None:
            options["columns"] = [self._column(name) for name in self.columns]
        else:
            names = {name: self._column(name) for name in template_columns(self.template)}
            options["template"] = self.template
            if any(name != column for name, column in names.items()):
                lower = {name.lower(): column for name, column in names.items()}
                options["template"] = renamed_template(self.template, lower)
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if name != "template" and value != default:
                options[name] = value
        return options

    def _column(self, name: str) -> str:
        assert self.table is not None
        if self._mapper is not None and name in self._mapper.columns:
            column: Any = self._mapper.columns[name]
            # A joined subclass has columns of its bases too: each is embedded where its table is.
            if column.table is self.table:
                return str(column.name)
        if name in self.table.c:
            return str(self.table.c[name].name)
        there = ", ".join(self.table.c.keys())
        raise ConfigurationError(f"Embedded: table {self.table.name} has no column {name!r}; it has {there}")


_DEFAULTS: dict[str, Any] = {
    "template": None,
    "model": "minilm",
    "store": "vss",
    "chunk": None,
    "full_text": False,
    "name": None,
}


# Not in Table.info, which Alembic writes into revisions.
_declared: WeakKeyDictionary[sa.Table, list[Embedded]] = WeakKeyDictionary()


def declared_on(table: sa.Table) -> Sequence[Embedded]:
    """The embeddings that a table, or the class mapped to it, declares."""
    return _declared.get(table, ())


@sa.event.listens_for(Mapper, "instrument_class")
def _on_class(mapper: Mapper[Any], class_: type[Any]) -> None:
    """Attach what the class body, or a mixin, declares to the class's own table."""
    for base in class_.__mro__:
        if base is not class_ and sa.inspect(base, raiseerr=False) is not None:
            return  # a mapped class, which has its own
        for value in vars(base).values():
            if isinstance(value, Embedded):
                if not isinstance(mapper.local_table, sa.Table):
                    raise ConfigurationError(f"Embedded: {class_.__name__} is not mapped to a table")
                _attach(value, base is class_, mapper)


def _attach(declared: Embedded, own: bool, mapper: Mapper[Any]) -> None:
    if not own:  # a mixin's is shared by several classes
        declared = Embedded(*declared.columns, **{name: getattr(declared, name) for name in _DEFAULTS})
    declared._mapper = mapper
    declared._set_parent(mapper.local_table)


def _after_create_table(table: sa.Table, connection: Any, **_: Any) -> None:
    _add_missing(connection, declared_on(table))


def _after_create_all(metadata: sa.MetaData, connection: Any, **_: Any) -> None:
    """Tables that were there before ``create_all`` get their embeddings too."""
    _add_missing(connection, [one for table in metadata.tables.values() for one in declared_on(table)])


def _add_missing(connection: Any, wanted: Sequence[Embedded]) -> None:
    if not is_connected(connection):
        return
    for declared in wanted:
        if not _is_in_main(declared.table, connection):
            raise ConfigurationError(
                f"{declared!r}: table {declared.table} is in an attached database, and embeddings are kept in the main one;"
                " open that file by an engine of its own"
            )

    def work(raw: Any) -> None:
        there = {embedding.name.lower(): embedding for embedding in load_embeddings(raw)}
        for declared in wanted:
            assert declared.table is not None
            if declared.embeddings_name.lower() not in there:
                if has_table(raw, declared.table.name):
                    mark_declared(raw, add_embeddings(raw, declared.table.name, **declared.arguments()))
            elif there[declared.embeddings_name.lower()].source.lower() != declared.table.name.lower():
                source = there[declared.embeddings_name.lower()].source
                warnings.warn(
                    f"create_all: {declared!r} of {declared.table.name} was not added, as the file has embeddings"
                    f" {declared.embeddings_name} of table {source}; give it another name=",
                    VssWarning,
                    stacklevel=2,
                )

    on_driver(connection, work)


def mark_declared(raw: Any, embedding: EmbeddingConfig) -> None:
    """Record that embeddings came from a declaration: autogenerate takes them away when the declaration is gone."""
    set_meta(raw, declared_key(embedding.id), 1)


def is_marked(raw: Any) -> frozenset[int]:
    """The numbers of embeddings that came from a declaration."""
    if not installed_version(raw):
        return frozenset()
    rows = execute(raw, "select key from vssnative_meta where key glob 'declared:*'")
    return frozenset(int(key.partition(":")[2]) for (key,) in rows)


def has_table(raw: Any, name: str) -> bool:
    """Whether the main database has a table of that name."""
    sql = "select 1 from main.sqlite_master where type = 'table' and name = ? collate nocase"
    return bool(execute(raw, sql, (name,)))


def _is_in_main(table: Any, connection: Any) -> bool:
    return connection.schema_for_object(table) in (None, "main")


def _before_drop(table: sa.Table, connection: Any, **_: Any) -> None:
    if not is_connected(connection) or not _is_in_main(table, connection):
        return

    def work(raw: Any) -> None:
        for embedding in load_embeddings(raw):
            if embedding.source.lower() == table.name.lower():
                drop_embeddings(raw, embedding.name)

    on_driver(connection, work)
