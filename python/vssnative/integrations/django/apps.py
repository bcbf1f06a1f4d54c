"""The application: what happens when Django starts, and when a connection is opened."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import connections
from django.db.backends.signals import connection_created

from ..._connection import load
from . import found
from .checks import check_databases, check_extension
from .schema import install_editor


class VssNativeConfig(AppConfig):
    """Loads vss0 into SQLite connections as they are opened, and keeps embeddings across changes of the schema."""

    name = "vssnative.integrations.django"
    label = "vssnative"
    verbose_name = "vssnative"

    def ready(self) -> None:
        connection_created.connect(_on_connection, dispatch_uid="vssnative")
        checks.register(check_extension)
        checks.register(check_databases, checks.Tags.database)
        for connection in connections.all():
            install_editor(connection)


def _on_connection(connection: Any, **_: Any) -> None:
    if connection.vendor == "sqlite":
        install_editor(connection)
        load(connection)
        found.register(connection)
