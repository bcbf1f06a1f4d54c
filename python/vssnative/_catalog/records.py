"""Embeddings and their generations as recorded in the file."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from .._advice import Advice, command
from .._connection import Connection, driver_error, execute
from .._sql import quote_identifier
from ..embedding.chunking import Chunking
from ..errors import MigrationError, UnknownNameError
from .schema import SCHEMA_VERSION, SUFFICIENT_VERSION, ensure_schema, installed_version


@dataclass(frozen=True)
class Field:
    """One text per row, and the vector column that holds its vectors.

    Attributes:
        name: the column's name, or ``content`` for a template.
        columns: columns of the user's table that make the text, in the order of their first use.
        template: how they make it, for example ``"{title}\\n{summary}"``; None for the bare column.
        vector_column: its column in the vss0 table.
    """

    name: str
    columns: tuple[str, ...]
    template: str | None
    vector_column: str

    @property
    def blob_column(self) -> str:
        """The column that holds its vectors in the user's own table, where those are asked for."""
        return f"{self.name}_embedding"


@dataclass(frozen=True)
class Generation:
    """One set of vectors: all made by one model, from the same fields, split the same way."""

    id: int
    embedding: int
    state: str
    model: dict[str, Any]
    model_name: str
    model_digest: str
    dim: int
    metric: str
    fields: tuple[Field, ...]
    chunk: Chunking | None
    vss_table: str | None

    @property
    def work(self) -> tuple[object, ...]:
        """What decides about its vectors, whatever columns they are in: equal where those of one are those of the other."""
        texts = tuple((field.name, field.columns, field.template) for field in self.fields)
        return self.model_digest, texts, self.chunk

    def field(self, name: str) -> Field:
        """The field of that name.

        Raises:
            MigrationError: there is none.
        """
        for field in self.fields:
            if field.name.lower() == name.lower():
                return field
        raise MigrationError(
            f"no embedded column {name!r}; there are {', '.join(f.name for f in self.fields)}"
        )


@dataclass(frozen=True)
class FullText:
    """A full-text index that is kept beside the vectors: its FTS5 table, the columns that it is of, and what cuts them into
    words, as FTS5 writes it; None for its own choice, ``unicode61``."""

    table: str
    columns: tuple[str, ...]
    tokenizer: str | None = None


@dataclass(frozen=True)
class EmbeddingConfig:
    """What one call of add_embeddings set up, with its generations, oldest first."""

    id: int
    name: str
    source: str
    key_columns: tuple[str, ...]
    keyed: bool
    store: str
    paused: bool
    generations: tuple[Generation, ...]
    full_text: FullText | None = None

    @property
    def active(self) -> Generation:
        """The generation that searches use."""
        return next(g for g in self.generations if g.state == "active")

    @property
    def live(self) -> tuple[Generation, ...]:
        """The generations that are kept in step with the table: the active one, and one that is being built."""
        return tuple(g for g in self.generations if g.state in ("active", "building"))

    @property
    def watched(self) -> tuple[str, ...]:
        """Columns of the user's table whose changes matter."""
        return tuple(dict.fromkeys(column for g in self.live for f in g.fields for column in f.columns))

    @property
    def key_table(self) -> str:
        """Our table that gives numbers to rows which have no integer key."""
        return f"vssnative_keys_{self.id}"

    @property
    def uses_vss(self) -> bool:
        return self.store in ("vss", "both")

    @property
    def uses_columns(self) -> bool:
        return self.store in ("column", "both")

    def row_id_sql(self, alias: str) -> str:
        """SQL for the row number, given the alias of the user's table in ``rows_sql``."""
        return "vssnative_key.id" if self.keyed else f"{alias}.{quote_identifier(self.key_columns[0])}"

    def rows_sql(self, alias: str, schema: str = "main.") -> str:
        """A FROM clause over the user's table under `alias`, from which ``row_id_sql`` can be selected.

        Within triggers no schema may be named: there `schema` is empty.
        """
        table = f"{schema}{quote_identifier(self.source)} as {alias}"
        if not self.keyed:
            return table
        on = " and ".join(
            f"vssnative_key.k{number} = {alias}.{quote_identifier(column)}"
            for number, column in enumerate(self.key_columns)
        )
        return f"{table} join {schema}{self.key_table} as vssnative_key on {on}"

    def matching_sql(self, where: str) -> str:
        """A SELECT of the row numbers for which a condition of the user's on their own table holds.

        It may end in a comment, hence the line break.
        """
        table = f"main.{quote_identifier(self.source)}"
        if not self.keyed:
            return f"select {quote_identifier(self.key_columns[0])} from {table} where ({where}\n)"
        # The condition stands alone with the user's table: a column of theirs may be called as one of ours. Outside
        # of it their columns have our names: SQLite takes t."TRUE" for no column.
        key = ", ".join(
            f"{quote_identifier(column)} as vssnative_k{number}"
            for number, column in enumerate(self.key_columns)
        )
        on = " and ".join(
            f"vssnative_key.k{number} = t.vssnative_k{number}" for number in range(len(self.key_columns))
        )
        return (
            f"select vssnative_key.id from (select {key} from {table} where ({where}\n)) as t"
            f" join main.{self.key_table} as vssnative_key on {on}"
        )


# All that is recorded, in one statement: each search reads it. Rows are (layout, embeddings, generation).
_RECORDED = """select layout.value,
    e.id, e.name, e.source, e.key_columns, e.keyed, e.store, e.paused,
    (select value from main.vssnative_meta where key = 'full_text:' || e.id),
    g.id, g.embedding, g.state, g.model, g.model_name, g.model_digest, g.dim, g.metric, g.fields, g.chunk, g.vss_table
    from main.vssnative_meta layout left join main.vssnative_embeddings e
    left join main.vssnative_generations g on g.embedding = e.id
    where layout.key = 'schema_version' order by e.id, g.id"""


def load_embeddings(
    conn: Connection, table: str | None = None, *, to_read: bool = False
) -> list[EmbeddingConfig]:
    """The recorded embeddings; with `table`, those of that name or of that table.

    Args:
        to_read: nothing will be written; see ``installed_version``.

    Raises:
        MigrationError: `table` has none.
        SchemaVersionError: the file was written by a newer version.
    """
    found: list[EmbeddingConfig] = []
    for _, rows in groupby(_recorded(conn, to_read), key=lambda row: row[1]):
        first, *others = rows
        if first[1] is not None:
            generations = tuple(_generation(row[9:]) for row in (first, *others) if row[9] is not None)
            found.append(
                EmbeddingConfig(
                    first[1],
                    first[2],
                    first[3],
                    tuple(json.loads(first[4])),
                    bool(first[5]),
                    first[6],
                    bool(first[7]),
                    generations,
                    _full_text(first[8]),
                )
            )
    if table is None:
        return found
    wanted = table.lower()
    matches = [e for e in found if e.name.lower() == wanted] or [
        e for e in found if e.source.lower() == wanted
    ]
    matches = matches or [
        replace(e, source=named) for e in found if (named := _watched_table(conn, e)).lower() == wanted
    ]
    if not matches:
        there = ", ".join(e.name for e in found) or "none"
        raise UnknownNameError(
            f"no embeddings on {table!r} (recorded here: {there})",
            advice=Advice(
                "vssnative.add_embeddings adds them",
                f"{command('add-embeddings', table)} -c COLUMN adds them",
            ),
        )
    return matches


def _recorded(conn: Connection, to_read: bool) -> list[tuple[Any, ...]]:
    """``_RECORDED``; nothing where the file has no tables of ours."""
    try:
        rows = execute(conn, _RECORDED)
    except driver_error(conn):
        rows = []
    version = rows[0][0] if rows else None
    if isinstance(version, int) and SUFFICIENT_VERSION <= version <= SCHEMA_VERSION:
        return rows
    version = installed_version(conn, to_read=to_read)
    if 0 < version < SUFFICIENT_VERSION:
        ensure_schema(conn)
    return execute(conn, _RECORDED) if version else []


def _watched_table(conn: Connection, embedding: EmbeddingConfig) -> str:
    """The table that the triggers are on: they go along when it is renamed. Empty where they are lost."""
    sql = "select tbl_name from main.sqlite_master where type = 'trigger' and name = ?"
    rows = execute(conn, sql, (f"vssnative_{embedding.id}_insert",))
    return str(rows[0][0]) if rows else ""


def load_embedding(conn: Connection, table: str, *, to_read: bool = False) -> EmbeddingConfig:
    """The one embedding of that name, or of that table. `to_read` as for ``load_embeddings``.

    Raises:
        MigrationError: there is none, or there are several and the table's name does not say which.
    """
    matches = load_embeddings(conn, table, to_read=to_read)
    if len(matches) > 1:
        names = ", ".join(e.name for e in matches)
        raise UnknownNameError(f"{table!r} has several embeddings ({names}); give the name of one of them")
    return matches[0]


def fields_to_json(fields: tuple[Field, ...]) -> str:
    return json.dumps(
        [
            {
                "name": f.name,
                "columns": list(f.columns),
                "template": f.template,
                "vector_column": f.vector_column,
            }
            for f in fields
        ]
    )


def template_columns(template: str) -> tuple[str, ...]:
    """The column names in a template, each once.

    Raises:
        MigrationError: it holds none, or more than plain ``{column}`` placeholders.
    """
    names: list[str] = []
    try:
        for _, name, spec, conversion in string.Formatter().parse(template):
            if name is None:
                continue
            if not name or spec or conversion or any(c in name for c in ".[]") or name.isdigit():
                written = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                raise MigrationError(
                    f"template {template!r}: only plain placeholders such as {{title}} are understood, not {{{written}}}"
                )
            names.append(name)
    except ValueError as error:
        raise MigrationError(f"template {template!r}: {error}") from error
    if not names:
        raise MigrationError(
            f"template {template!r} names no column; write for example '{{title}}\\n{{summary}}'"
        )
    return tuple(dict.fromkeys(names))


def renamed_template(template: str, names: Mapping[str, str]) -> str:
    """A template with other names of columns, by the former ones in lower case.

    Raises:
        MigrationError: a name that no template can say.
    """
    parts = []
    for text, name, _, _ in string.Formatter().parse(template):
        parts.append(text.replace("{", "{{").replace("}", "}}"))
        if name is not None:
            parts.append("{" + names.get(name.lower(), name) + "}")
    made = "".join(parts)
    wanted = tuple(dict.fromkeys(names.get(name.lower(), name) for name in template_columns(template)))
    if template_columns(made) != wanted:
        raise MigrationError(f"template {template!r}: it cannot name {', '.join(wanted)}")
    return made


def _generation(row: tuple[Any, ...]) -> Generation:
    chunk = json.loads(row[9]) if row[9] is not None else None
    fields = tuple(
        Field(f["name"], tuple(f["columns"]), f["template"], f["vector_column"]) for f in json.loads(row[8])
    )
    return Generation(
        row[0],
        row[1],
        row[2],
        json.loads(row[3]),
        row[4],
        row[5],
        row[6],
        row[7],
        fields,
        _recorded_chunking(chunk) if chunk else None,
        row[10],
    )


def _recorded_chunking(chunk: dict[str, int]) -> Chunking:
    # Earlier versions recorded overlaps that no sync could work with: no vector was made by such a rule.
    return Chunking(chunk["tokens"], min(chunk["overlap"], chunk["tokens"] // 2))


def _full_text(value: str | None) -> FullText | None:
    if value is None:
        return None
    recorded = json.loads(value)
    return FullText(recorded["table"], tuple(recorded["columns"]), recorded.get("tokenizer"))
