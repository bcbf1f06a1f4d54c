#!/usr/bin/env bash
# mypy --strict of a user's program (tests/typing) where only a wheel of the package is installed, and the compiled
# module compared with its stub. Needs `make dev` first.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== wheel"
.venv/bin/python -m pip wheel -q --no-deps --no-build-isolation -Cbuild-dir="build/release" -w "$work" .
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check mypy "$work"/*.whl
cp -r tests/typing "$work/program"
cd "$work/program"
echo "== mypy --strict"
"$work/venv/bin/python" -m mypy --strict user_program.py
echo "== the program"
"$work/venv/bin/python" -W error user_program.py
echo "== the stub of the compiled module"
"$work/venv/bin/python" -m mypy.stubtest vssnative._core --allowlist stubtest_allowlist.txt
