"""Django's schema editor for SQLite, with embeddings: it rebuilds, renames and drops tables, and their triggers with them."""

from __future__ import annotations

from typing import Any

from ..._catalog.records import load_embeddings
from ..._catalog.source import describe
from ..._catalog.triggers import create_triggers
from ..._connection import execute, load
from ..._sync import RebuiltTable
from ...migrations import drop_embeddings
from .indexes import EmbeddedIndex, EmbeddingsStatement


class EmbeddingsEditor:
    """Comes before a schema editor of SQLite in the order of methods."""

    connection: Any
    collect_sql: bool
    collected_sql: list[str]

    def execute(self, sql: Any, params: Any = ()) -> Any:
        if not isinstance(sql, EmbeddingsStatement):
            return super().execute(sql, params)  # type: ignore[misc]
        if self.collect_sql:
            self.collected_sql.append(sql.describe())
        else:
            sql.run(self.connection)
        return None

    def _remake_table(self, model: Any, *args: Any, **kwargs: Any) -> None:
        if self.collect_sql:
            super()._remake_table(model, *args, **kwargs)  # type: ignore[misc]
            return
        rebuilt = RebuiltTable.before(self._loaded(), model._meta.db_table)
        super()._remake_table(model, *args, **kwargs)  # type: ignore[misc]
        # A field that was renamed is followed by a change of the index, in a later operation.
        rebuilt.put_back(self.connection, strict=False)

    def alter_field(self, model: Any, old_field: Any, new_field: Any, *args: Any, **kwargs: Any) -> None:
        super().alter_field(model, old_field, new_field, *args, **kwargs)  # type: ignore[misc]
        if self.collect_sql or old_field.column == new_field.column:
            return
        there = {embedding.name.lower() for embedding in load_embeddings(self._loaded())}
        for index in new_field.model._meta.indexes:
            if isinstance(index, EmbeddedIndex) and index.name.lower() not in there:
                self.execute(index.create_sql(new_field.model, self))

    def delete_model(self, model: Any, handle_autom2m: bool = True) -> None:
        # Without it the table is dropped in the course of a rebuild.
        if handle_autom2m and not self.collect_sql:
            for embedding in load_embeddings(self._loaded()):
                if embedding.source.lower() == model._meta.db_table.lower():
                    drop_embeddings(self.connection, embedding.name)
        super().delete_model(model, handle_autom2m)  # type: ignore[misc]

    def alter_db_table(
        self, model: Any, old_db_table: str, new_db_table: str, *args: Any, **kwargs: Any
    ) -> None:
        super().alter_db_table(model, old_db_table, new_db_table, *args, **kwargs)  # type: ignore[misc]
        if self.collect_sql:
            return
        for embedding in load_embeddings(self._loaded()):
            if embedding.source.lower() == old_db_table.lower():
                execute(
                    self.connection,
                    "update vssnative_embeddings set source = ? where id = ?",
                    (new_db_table, embedding.id),
                )
                [now] = load_embeddings(self.connection, embedding.name)
                create_triggers(self.connection, now, describe(self.connection, new_db_table))

    def _loaded(self) -> Any:
        load(self.connection)
        return self.connection


def install_editor(connection: Any) -> None:
    """Have a connection's schema editor know of embeddings."""
    editor = connection.SchemaEditorClass
    if connection.vendor == "sqlite" and not issubclass(editor, EmbeddingsEditor):
        connection.SchemaEditorClass = type(editor.__name__, (EmbeddingsEditor, editor), {})
