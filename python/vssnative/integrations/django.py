"""Django: vss0 in every SQLite connection, embeddings as an operation of a migration, searches that answer with objects.

INSTALLED_APPS = [..., "vssnative.integrations.django"]

class Migration(migrations.Migration):
    operations = [AddEmbeddings("Post", columns=["title", "summary"])]

for post in search(Post, "sqlite vector search", k=5):
    print(post.title, post.vss_distance)
"""

from __future__ import annotations

from typing import Any, TypeVar

from django.apps import AppConfig
from django.db import connections, models, router
from django.db.backends.signals import connection_created
from django.db.migrations.operations.base import Operation

from .._search import search as search_table
from ..connection import load
from ..errors import QueryError
from ..migrations import add_embeddings, drop_embeddings
from ..sql import quote_identifier

_Model = TypeVar("_Model", bound=models.Model)


class VssNativeConfig(AppConfig):
    """The application: loads vss0 into SQLite connections as they are opened."""

    name = "vssnative.integrations.django"
    label = "vssnative"
    verbose_name = "vssnative"

    def ready(self) -> None:
        connection_created.connect(_on_connection, dispatch_uid="vssnative")


class AddEmbeddings(Operation):
    """A migration's operation: gives a model's table embeddings, and takes them away on the way back.

    Args:
        model_name: the model, in the migration's own application.
        options: as for ``vssnative.add_embeddings``; `columns` are the names of fields, or of columns.
    """

    reversible = True
    reduces_to_sql = False

    def __init__(self, model_name: str, **options: Any) -> None:
        self.model_name = model_name
        self.options = options

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


def search(
    model: type[_Model], query: str, k: int = 10, *, using: str | None = None, **options: Any
) -> list[_Model]:
    """``vssnative.search`` over a model's table.

    Args:
        using: the database's alias; the one for reading the model otherwise.
        options: as for ``vssnative.search``; `where` can be a ``Q``.

    Returns:
        Objects, nearest first, each with ``vss_distance`` and ``vss_result`` (see ``Result``).

    Raises:
        As ``vssnative.search``.
    """
    alias = using or router.db_for_read(model)
    connection = connections[alias]
    connection.ensure_connection()
    key = model._meta.pk
    assert key is not None
    if isinstance(options.get("where"), models.Q):
        if options.get("params"):
            raise QueryError("where: a Q brings its values, leave params out")
        options["where"], options["params"] = _condition(model, alias, options["where"])
    found = search_table(connection, options.pop("name", model._meta.db_table), query, k, **options)
    keys = [key.to_python(result.key) for result in found]
    objects = model._base_manager.using(alias).in_bulk(keys)
    answers = []
    for result, value in zip(found, keys, strict=True):
        one = objects.get(value)
        if one is not None:
            one.vss_distance = result.distance
            one.vss_result = result
            answers.append(one)
    return answers


def _condition(model: type[_Model], alias: str, condition: models.Q) -> tuple[str, list[Any]]:
    """A Q as SQL over the table: its rows' keys, whatever other tables it looks into."""
    matching = model._base_manager.using(alias).filter(condition).order_by().values("pk")
    sql, values = matching.query.get_compiler(using=alias).as_sql()
    key = quote_identifier(model._meta.pk.column)
    return f"{key} in ({sql % (('?',) * len(values))})", list(values)


def _column(model: Any, name: str) -> str:
    columns = {field.name: field.column for field in model._meta.concrete_fields}
    return str(columns.get(name, name))


def _on_connection(connection: Any, **_: Any) -> None:
    if connection.vendor == "sqlite":
        load(connection)
