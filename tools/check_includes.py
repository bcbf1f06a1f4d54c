"""The extension's folders are layers: each includes only what stands below it. Prints the includes that do not.

A folder may include its own files, those of the layers after it in LAYERS, and, within `index`, its root; kinds of
index do not know each other, and nobody else knows them but the file that lists them. Exits with 1 where one is found.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# From the top, which SQLite calls, to the bottom.
LAYERS = ("sqlite", "index", "storage", "kernels", "base")
SOURCES = Path(__file__).parent.parent / "vendor" / "sqlite-vss" / "src"
# The one file outside of their folders that names the kinds of index.
KINDS = Path("sqlite/index_kinds.cpp")
INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


def is_allowed(path: Path, included: Path) -> bool:
    here, there = path.parts[0], included.parts[0]
    if here not in LAYERS or there not in LAYERS:
        return there == "vss0.h"
    if there == "index" and len(included.parts) > 2:
        # Kinds of index know the seam; the seam knows no kind.
        return path.parts[:2] == included.parts[:2] or path == KINDS
    return LAYERS.index(here) <= LAYERS.index(there)


def main() -> int:
    faults = []
    checked = 0
    for path in sorted(SOURCES.rglob("*.[hc]*")):
        relative = path.relative_to(SOURCES)
        for name in INCLUDE.findall(path.read_text(encoding="utf-8")):
            checked += 1
            if not is_allowed(relative, Path(name)):
                faults.append(f"{relative} includes {name}")
    print(
        "\n".join([*faults, f"{checked} includes, {len(faults)} against the layers ({' -> '.join(LAYERS)})"])
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
