"""System checks: ``manage.py check``, and ``check --database default`` for what is in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, router

from ..._catalog.records import load_embeddings
from ..._connection import load
from ..._sync import status
from ..._words import counted
from ...errors import VssError
from .indexes import EmbeddedIndex


def check_extension(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """E001: vss0 cannot be loaded into SQLite as this Python has it."""
    if not any(
        settings.get("ENGINE", "").endswith(("sqlite3", "spatialite"))
        for settings in connections.settings.values()
    ):
        return []
    connection = sqlite3.connect(":memory:")
    try:
        load(connection)
    except VssError as error:
        return [
            Error(
                "vss0 cannot be loaded into SQLite.",
                hint=f"{error} Run `vssnative doctor`.",
                id="vssnative.E001",
            )
        ]
    finally:
        connection.close()
    return []


def check_databases(app_configs: Any, databases: Sequence[str] | None, **_: Any) -> list[CheckMessage]:
    """W001 to W004: what is declared, beside what the databases have."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        declared = list(_declared(app_configs, alias))
        connection: Any = connections[alias]
        if connection.vendor != "sqlite":
            found += [
                Warning(
                    f"{index.name} is not there: database {alias!r} is {connection.vendor}.",
                    hint="EmbeddedIndex is for SQLite.",
                    obj=model,
                    id="vssnative.W001",
                )
                for model, index in declared
            ]
            continue
        found += _in_file(connection, declared)
    return found


def _declared(app_configs: Any, alias: str) -> Iterator[tuple[Any, EmbeddedIndex]]:
    for config in apps.get_app_configs() if app_configs is None else app_configs:
        for model in config.get_models():
            if router.allow_migrate_model(alias, model) and model._meta.managed:
                for index in model._meta.indexes:
                    if isinstance(index, EmbeddedIndex):
                        yield model, index


def _in_file(connection: Any, declared: Sequence[tuple[Any, EmbeddedIndex]]) -> Iterator[CheckMessage]:
    if not declared:
        return
    connection.ensure_connection()
    there = {one.name.lower() for one in load_embeddings(connection)}
    states = {one.name.lower(): one for one in status(connection)}
    for model, index in declared:
        if index.name.lower() not in there:
            yield Warning(
                f"The embeddings {index.name} are not in database {connection.alias!r}.",
                hint="Run makemigrations and migrate.",
                obj=model,
                id="vssnative.W002",
            )
            continue
        state = states[index.name.lower()]
        if state.problem is not None:
            yield Warning(state.problem, hint="Run manage.py vss_sync.", obj=model, id="vssnative.W003")
        elif state.embedded == 0 and state.pending > 0:
            yield Warning(
                f"The embeddings {index.name} were never synced: {counted(state.pending, 'row', 'is')} waiting, so searches find nothing.",
                hint="Run manage.py vss_sync once, or keep manage.py vss_worker running.",
                obj=model,
                id="vssnative.W004",
            )
