"""Entry point of the command ``vssnative``; without the extra ``cli`` it says what to install."""

from __future__ import annotations

import sys

from .errors import MissingDependencyError
from .extras import need


def main() -> None:
    """Run the command."""
    try:
        for package in ("typer", "rich"):
            need(package, "cli", "commands of vssnative")
    except MissingDependencyError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
