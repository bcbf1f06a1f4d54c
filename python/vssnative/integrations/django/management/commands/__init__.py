"""Commands of ``manage.py``, and what they share."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS


def add_arguments(parser: Any) -> None:
    """Which embeddings, of which database."""
    parser.add_argument(
        "table",
        nargs="?",
        help="A model, app.Model, or the name of embeddings or of a table; all without it.",
    )
    parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help='The database ("default").')


def table_of(named: str | None) -> str | None:
    """The table of ``app.Model``; other names as they are."""
    if named is None or "." not in named:
        return named
    try:
        return str(apps.get_model(named)._meta.db_table)
    except (LookupError, ValueError) as error:
        raise CommandError(str(error)) from error
