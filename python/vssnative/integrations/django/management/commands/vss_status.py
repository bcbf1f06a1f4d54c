"""``manage.py vss_status``: how far the vectors are."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .....errors import VssError
from ...calls import status
from . import add_arguments, table_of


class Command(BaseCommand):
    help = "Shows for each set of embeddings the model, and rows that are embedded, waiting and given up."

    def add_arguments(self, parser: Any) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            states = status(table_of(options["table"]), using=options["database"])
        except VssError as error:
            raise CommandError(str(error)) from error
        if not states:
            self.stdout.write("No embeddings. Declare an EmbeddedIndex in a model's Meta.indexes.")
            return
        lines = [("name", "table", "model", "embedded", "waiting", "given up")]
        lines += [
            (one.name, one.table, one.model, f"{one.embedded:,}", f"{one.pending:,}", f"{one.dead:,}")
            for one in states
        ]
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        for line in lines:
            self.stdout.write(
                "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            )
        for one in states:
            if one.problem is not None:
                self.stdout.write(self.style.WARNING(one.problem))
