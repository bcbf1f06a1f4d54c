"""Records what sqlite-vss 0.1.2 answers to scripts.py, as answers.json beside this file.

Run once, in an environment of its own, after `apt-get install libblas3 liblapack3 libgomp1` and
`pip install pysqlite3-binary sqlite-vss==0.1.2`:

    python tests/compat/sqlite_vss_tables/record.py

Scripts run in a process of their own, because some statements crash it. That is recorded as well, and the script is run
again without the statement.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pysqlite3.dbapi2
from run import answers_of
from scripts import SCRIPTS


def load(connection: Any) -> None:
    import sqlite_vss

    connection.enable_load_extension(True)
    sqlite_vss.load(connection)


def record(name: str) -> list[dict[str, Any]]:
    crashes: list[int] = []
    while True:
        run = subprocess.run(
            [sys.executable, __file__, name, *map(str, crashes)], capture_output=True, text=True, check=False
        )
        answers: list[dict[str, Any]] = [json.loads(line) for line in run.stdout.splitlines()]
        if len(answers) == len(SCRIPTS[name]):
            return answers
        if run.returncode >= 0:
            raise SystemExit(run.stderr)
        crashes.append(len(answers))


def main() -> None:
    lines = []
    for name in SCRIPTS:
        inner = ",\n".join("  " + json.dumps(answer) for answer in record(name))
        lines.append(f"{json.dumps(name)}: [\n{inner}]")
    Path(__file__).with_name("answers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        left_out = frozenset(map(int, sys.argv[2:]))
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "a.db")
            for answer in answers_of(pysqlite3.dbapi2, SCRIPTS[sys.argv[1]], path, load, left_out):
                sys.stdout.write(json.dumps(answer) + "\n")
                sys.stdout.flush()
    else:
        main()
