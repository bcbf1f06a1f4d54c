"""``manage.py vss_worker``: keep vectors in step, until it is stopped."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from ....._catalog.records import load_embeddings
from ....._sync import Worker
from .....errors import VssError
from . import add_arguments, table_of


class Command(BaseCommand):
    help = "Embeds rows as they change, until it is stopped. SIGINT and SIGTERM end it cleanly; several may run at once."

    def add_arguments(self, parser: Any) -> None:
        add_arguments(parser)
        parser.add_argument(
            "--poll", type=float, default=0.5, help="Seconds between looks at the queue (0.5)."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        if connection.vendor != "sqlite" or connection.is_in_memory_db():
            raise CommandError(
                f"database {options['database']!r} is no SQLite file that another process could open"
            )
        table = table_of(options["table"])
        if options["verbosity"] > 0:
            self.stdout.write(f"Working on {connection.settings_dict['NAME']}. Quit with CONTROL-C.")
        try:
            if table is not None:  # a name that is not there would be looked for, for ever
                connection.ensure_connection()
                load_embeddings(connection, table)
            Worker(str(connection.settings_dict["NAME"]), table, poll=options["poll"]).run()
        except VssError as error:
            raise CommandError(str(error)) from error
