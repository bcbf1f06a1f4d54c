"""``manage.py vss_sync``: bring vectors in step with rows."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from vssnative._words import counted

from .....errors import VssError
from ...calls import sync
from . import add_arguments, table_of


class Command(BaseCommand):
    help = "Embeds rows that are new or changed, until none are waiting. Stop it whenever you like: it goes on from there."

    def add_arguments(self, parser: Any) -> None:
        add_arguments(parser)
        parser.add_argument("--limit", type=int, help="Rows to work on at most.")
        parser.add_argument("--timeout", type=float, help="Seconds after which to end.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = sync(
                table_of(options["table"]),
                using=options["database"],
                limit=options["limit"],
                timeout=options["timeout"],
                progress=options["verbosity"] > 0 and self.stdout.isatty(),
            )
        except VssError as error:
            raise CommandError(str(error)) from error
        if options["verbosity"] > 0:
            self.stdout.write(
                f"{counted(done.rows, 'row')}, {counted(done.texts, 'text')} embedded,"
                f" {counted(done.remaining, 'row')} waiting, {done.seconds:.1f} s"
            )
        if done.dead:
            raise CommandError(
                f"{counted(done.dead, 'row', 'was')} given up; manage.py vss_status shows which embeddings"
            )
