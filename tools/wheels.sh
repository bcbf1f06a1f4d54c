#!/usr/bin/env bash
# Wheels for many Linux distributions, in dist/, by cibuildwheel in its containers. Needs Docker (or Podman:
# CIBW_CONTAINER_ENGINE=podman) and `make dev` first. What to build is in pyproject.toml.
#
#   tools/wheels.sh [arguments of cibuildwheel]
#
# The containers have no apt to fetch Faiss's source with, and headers of a SQLite that is too old. Both are taken from this
# machine, whose files cibuildwheel shows its containers under /host.
set -euo pipefail
cd "$(dirname "$0")/.."

inputs=$PWD/build/wheels
headers=$(cmake -LA -N build/dev | sed -n 's/^SQLITE_INCLUDE_DIR:PATH=//p')
mkdir -p "$inputs/include"
cp "$headers/sqlite3.h" "$headers/sqlite3ext.h" "$inputs/include/"
cmake -DDIRECTORY="$inputs" -P cmake/FetchFaiss.cmake

export VSSNATIVE_FAISS_ARCHIVE=/host$inputs/faiss_1.7.3.orig.tar.gz
export CMAKE_INCLUDE_PATH=/host$inputs/include
.venv/bin/pip install -q build cibuildwheel
.venv/bin/python -m build --sdist --outdir dist
sdist=$(ls -t dist/vssnative-*.tar.gz | head -1)
.venv/bin/cibuildwheel --platform linux --output-dir dist "$@" "$sdist"
