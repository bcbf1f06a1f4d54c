"""Operations of migrations, for embeddings that are not declared by an ``EmbeddedIndex``, and for changes of model."""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations.base import Operation

from ...migrations import add_embeddings, drop_embeddings
from ...migrations.generations import change_or_go_back


class AddEmbeddings(Operation):
    """Gives a model's table embeddings, and takes them away on the way back.

    Args:
        model_name: the model, in the migration's own application.
        columns: names of fields, or of columns.
        template, model, store, chunk, name, full_text: as for ``vssnative.add_embeddings``.
    """

    reversible = True
    reduces_to_sql = False

    def __init__(
        self,
        model_name: str,
        columns: Any = None,
        template: str | None = None,
        model: str = "minilm",
        store: str = "vss",
        chunk: Any = None,
        name: str | None = None,
        full_text: bool | str = False,
    ) -> None:
        self.model_name = model_name
        given = {
            "columns": (columns, None),
            "template": (template, None),
            "model": (model, "minilm"),
            "store": (store, "vss"),
            "chunk": (chunk, None),
            "name": (name, None),
            "full_text": (full_text, False),
        }
        self.options = {key: value for key, (value, default) in given.items() if value != default}

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return self.__class__.__qualname__, [self.model_name], dict(self.options)

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay as they are."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        options = dict(self.options)
        if options.get("columns") is not None:
            options["columns"] = [_column(model, name) for name in options["columns"]]
        add_embeddings(schema_editor.connection, model._meta.db_table, **options)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            drop_embeddings(schema_editor.connection, self.options.get("name") or model._meta.db_table)

    def describe(self) -> str:
        return f"Add embeddings to {self.model_name}"


class ChangeModel(Operation):
    """Begins to build new vectors beside the old; ``vss_sync`` fills and switches them. Back, it does the reverse.

    Where the embeddings are those of an ``EmbeddedIndex``, put it in place of the RemoveIndex and AddIndex that
    ``makemigrations`` writes, with these two as ``state_operations`` of a ``SeparateDatabaseAndState``.

    Args:
        name: the embeddings' name: that of the index, or of the table.
        old, new: arguments of ``vssnative.change_model``: ``{"model": "minilm"}``.
    """

    reversible = True
    reduces_to_sql = False

    def __init__(self, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
        self.name = name
        self.old = old
        self.new = new

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return self.__class__.__qualname__, [self.name, self.old, self.new], {}

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models stay as they are."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            change_or_go_back(schema_editor.connection, self.name, self.new)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "sqlite":
            change_or_go_back(schema_editor.connection, self.name, self.old)

    def describe(self) -> str:
        return f"Change the model of the embeddings {self.name}"


def _column(model: Any, name: str) -> str:
    columns = {field.name: field.column for field in model._meta.concrete_fields}
    return str(columns.get(name, name))


# Migrations name the package.
for _operation in (AddEmbeddings, ChangeModel):
    _operation.__module__ = __package__
