"""Entry point of the command ``vssnative``; without the extra ``cli`` it says what to install."""

from __future__ import annotations

import sys

from ._extras import need
from .errors import MissingDependencyError


def main() -> None:
    """Run the command. Ctrl-C before it has begun, while modules are imported, ends it without a word."""
    try:
        for package in ("typer", "rich"):
            need(package, "cli", "commands of vssnative")
        from ._cli import main as run
    except MissingDependencyError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
