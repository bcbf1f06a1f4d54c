"""Tables and columns of the user's that were renamed.

SQLite rewrites our triggers when it renames what they name, so they tell the new names: statements that differ from those of
the record in quoted names alone were rewritten, and nothing that they had to note was missed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from .._connection import Connection, execute
from ..errors import MigrationError
from . import full_text, triggers
from .records import EmbeddingConfig, Field, Generation, fields_to_json, renamed_template
from .source import Source, describe

_PARTS = re.compile(r'"(?:[^"]|"")*"|[^"]+')
_OF_FIELDS = ("vssnative_provenance", "vssnative_passages", "vssnative_dead_letters")


def followed(conn: Connection, embedding: EmbeddingConfig, *, labels: bool = True) -> EmbeddingConfig:
    """The embedding with the names that its table and columns have now; it changes nothing in the file.

    Args:
        labels: False leaves what the file's own records go by: the names of fields, and the full-text index.
    """
    tables = {table for table, _ in triggers.installed_triggers(conn, embedding).values()}
    if len(tables) == 1 and not _was_put_aside(conn, embedding, *tables):
        embedding = replace(embedding, source=tables.pop())
    try:
        source = describe(conn, embedding.source)
    except MigrationError:
        return embedding
    return renamed(embedding, _renamed_columns(conn, embedding, source), labels=labels)


def _was_put_aside(conn: Connection, embedding: EmbeddingConfig, table: str) -> bool:
    """Whether the table with the triggers is an old copy: another one has taken the name, and can carry the embedding.

    So it is after ``ALTER TABLE t RENAME TO t_old; CREATE TABLE t ...`` where the old table is kept: programs go on writing to
    the name.
    """
    if table.lower() == embedding.source.lower():
        return False
    try:
        source = describe(conn, embedding.source)
    except MigrationError:
        return False
    there = {column.lower() for column in source.columns}
    return (
        source.keyed == embedding.keyed
        and tuple(column.name for column in source.key) == embedding.key_columns
        and all(column.lower() in there for column in embedding.watched)
    )


def follow(conn: Connection, embedding: EmbeddingConfig) -> EmbeddingConfig:
    """``followed``, and recorded so. In the caller's transaction."""
    now = followed(conn, embedding)
    if now != embedding:
        record(conn, embedding, now)
        triggers.create_triggers(conn, now, describe(conn, now.source))
    return now


def renamed(embedding: EmbeddingConfig, names: Mapping[str, str], *, labels: bool = True) -> EmbeddingConfig:
    """The embedding after some of its table's columns got other names.

    Vectors stay in the columns of the vss0 table that they are in.

    Args:
        names: what they are called now, by what they were called in lower case. Vectors in columns of the table itself are
            named by their texts': of such embeddings nothing is renamed.
        labels: as for ``followed``.
    """
    if not names or embedding.uses_columns:
        return embedding
    try:
        generations = tuple(_renamed_generation(one, names, labels) for one in embedding.generations)
    except MigrationError:  # a name that no template can say
        return embedding
    words = embedding.full_text
    if words is not None and labels:
        words = replace(words, columns=tuple(names.get(column.lower(), column) for column in words.columns))
    key = tuple(names.get(column.lower(), column) for column in embedding.key_columns)
    return replace(embedding, key_columns=key, generations=generations, full_text=words)


def record(conn: Connection, before: EmbeddingConfig, now: EmbeddingConfig) -> None:
    """Record new names, and rebuild the full-text index, whose columns are named as the table's.

    In the caller's transaction; triggers are the caller's to renew.
    """
    execute(
        conn,
        "update vssnative_embeddings set source = ?, key_columns = ? where id = ?",
        (now.source, json.dumps(list(now.key_columns)), now.id),
    )
    for old, new in zip(before.generations, now.generations, strict=True):
        if old.fields == new.fields:
            continue
        execute(
            conn,
            "update vssnative_generations set fields = ? where id = ?",
            (fields_to_json(new.fields), new.id),
        )
        names = {a.name: b.name for a, b in zip(old.fields, new.fields, strict=True) if a.name != b.name}
        # By way of names that no column has: one may take the name that another gave up.
        steps = [(name, f"\n{name}") for name in names] + [(f"\n{a}", b) for a, b in names.items()]
        for table in _OF_FIELDS:
            for field, name in steps:
                execute(
                    conn,
                    f"update {table} set field = ? where generation = ? and field = ?",
                    (name, new.id, field),
                )
    if now.full_text is not None and now.full_text != before.full_text:
        full_text.record(conn, now.id, now.full_text)
        full_text.rebuild(conn, now)


def _renamed_generation(generation: Generation, names: Mapping[str, str], labels: bool) -> Generation:
    return replace(
        generation, fields=tuple(_renamed_field(field, names, labels) for field in generation.fields)
    )


def _renamed_field(field: Field, names: Mapping[str, str], labels: bool) -> Field:
    columns = tuple(names.get(column.lower(), column) for column in field.columns)
    if field.template is None:
        name = names.get(field.name.lower(), field.name) if labels else field.name
        return replace(field, name=name, columns=columns)
    return replace(field, columns=columns, template=renamed_template(field.template, names))


def _renamed_columns(conn: Connection, embedding: EmbeddingConfig, source: Source) -> dict[str, str]:
    """What the triggers call columns now, by their former names in lower case; some of these the table has no more.

    Empty where a trigger differs in more than names, or does not tell of all.
    """
    there = {column.lower() for column in source.columns}
    gone = {name.lower() for name in (*embedding.watched, *embedding.key_columns)} - there
    if not gone:
        return {}
    key = tuple(
        replace(column, name=name) for column, name in zip(source.key, embedding.key_columns, strict=False)
    )
    expected = triggers.trigger_statements(embedding, replace(source, key=key))
    installed = triggers.installed_triggers(conn, embedding)
    if installed.keys() != expected.keys() or len(source.key) != len(embedding.key_columns):
        return {}
    names: dict[str, str] = {}
    for trigger, (_, sql) in installed.items():
        now, before = _PARTS.findall(sql), _PARTS.findall(expected[trigger])
        if len(now) != len(before):
            return {}
        for new, old in zip(now, before, strict=True):
            if new == old:
                continue
            former, name = _unquoted(old).lower(), _unquoted(new)
            quoted = old.startswith('"') and new.startswith('"')
            if not quoted or name.lower() not in there or names.setdefault(former, name) != name:
                return {}
    return names if names.keys() >= gone else {}


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"')
