"""``EmbeddedIndex``: embeddings declared in a model's Meta, migrated as Django's own indexes are."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.ddl_references import Statement, Table

from ..._catalog.records import load_embeddings, renamed_template, template_columns
from ...errors import ConfigurationError
from ...migrations import add_embeddings, drop_embeddings

_DEFAULTS: dict[str, Any] = {
    "template": None,
    "model": "minilm",
    "store": "vss",
    "chunk": None,
    "full_text": False,
}


class EmbeddedIndex(models.Index):
    """Embeddings of a model's fields: ``indexes = [EmbeddedIndex(fields=["title", "body"])]``.

    ``makemigrations`` and ``migrate`` add and drop them; ``manage.py vss_sync`` fills them.

    Args:
        fields: names of fields, each with vectors of its own.
        template: instead of `fields`, one text made of several: ``"{title}\\n{body}"``.
        model, store, chunk, full_text: as for ``vssnative.add_embeddings``; values that a migration can write down.
        name: the name under which the file records them; made of the table and the fields otherwise.

    Raises:
        ConfigurationError: neither fields nor a template, or both.
    """

    suffix = "emb"

    def __init__(
        self,
        *,
        fields: Any = (),
        template: str | None = None,
        model: str = "minilm",
        store: str = "vss",
        chunk: Any = None,
        full_text: bool | str = False,
        name: str | None = None,
    ) -> None:
        if bool(fields) == (template is not None):
            raise ConfigurationError(
                'EmbeddedIndex: give either fields=["title", "body"] or template="{title}\\n{body}"'
            )
        if not isinstance(model, str):
            raise ConfigurationError(
                f'EmbeddedIndex: a migration writes the model down, so give its name, or "module:attribute", not {model!r}'
            )
        self.template = template
        self.model = model
        self.store = store
        self.chunk = chunk
        self.full_text = full_text
        super().__init__(
            fields=list(fields) if template is None else list(template_columns(template)), name=name
        )

    def deconstruct(self) -> Any:
        path, args, kwargs = super().deconstruct()
        if self.template is not None:
            del kwargs["fields"]
        kwargs.update(
            {name: getattr(self, name) for name, value in _DEFAULTS.items() if getattr(self, name) != value}
        )
        return "vssnative.integrations.django.EmbeddedIndex", args, kwargs

    def arguments(self, model: Any) -> dict[str, Any]:
        """Arguments of ``vssnative.add_embeddings`` beside the table."""
        columns = {name: model._meta.get_field(name).column for name in self.fields}
        options = {
            name: getattr(self, name) for name, value in _DEFAULTS.items() if getattr(self, name) != value
        }
        if self.template is None:
            options["columns"] = list(columns.values())
        else:
            options["template"] = renamed_template(
                self.template, {name.lower(): column for name, column in columns.items()}
            )
        return {**options, "name": self.name}

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **_: Any) -> Any:
        # On the way back over a field that was renamed its name comes after the index: see EmbeddingsEditor.alter_field.
        fields = {field.name for field in model._meta.get_fields()}
        options = self.arguments(model) if fields.issuperset(self.fields) else {}
        return EmbeddingsStatement(schema_editor, model._meta.db_table, self.name, options)

    def remove_sql(self, model: Any, schema_editor: Any, **_: Any) -> Any:
        return EmbeddingsStatement(schema_editor, model._meta.db_table, self.name, None)


class EmbeddingsStatement(Statement):
    """What stands among a schema editor's statements for a call of ours; see ``schema``."""

    def __init__(self, schema_editor: Any, table: str, name: str, options: dict[str, Any] | None) -> None:
        # On another database there is nothing to do; on SQLite this is never run as SQL.
        super().__init__("SELECT 1", table=Table(table, schema_editor.quote_name))
        self.name = name
        self.options = options

    def describe(self) -> str:
        """For ``sqlmigrate``."""
        if self.options is None:
            return f"-- vssnative.drop_embeddings({self.name!r})"
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"-- vssnative.add_embeddings({self.parts['table'].table!r}, {given})"

    def run(self, connection: Any) -> None:
        """Add or drop the embeddings. Adding what is there already, and dropping what is not, changes nothing."""
        if self.options == {}:
            return
        if self.options is not None:
            add_embeddings(connection, self.parts["table"].table, **self.options)
        elif any(one.name.lower() == self.name.lower() for one in load_embeddings(connection)):
            drop_embeddings(connection, self.name)
