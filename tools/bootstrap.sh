#!/usr/bin/env bash
# Looks for what the machine itself must bring, and installs the Debian packages that are missing where it may (root and
# apt). Elsewhere it prints the one command to run. Nothing else on the machine is changed.
#
#   tools/bootstrap.sh build [test] [lint] [fuzz] [browser]
set -euo pipefail

PYTHON=${PYTHON:-python3}
missing=()

need() { missing+=("$1"); }

has_header() { printf '#include <%s>\n' "$1" | g++ -std=c++20 -fsyntax-only -x c++ - 2>/dev/null; }

check_python() {
    if ! "$PYTHON" -c 'import sys' 2>/dev/null; then
        if [ "$PYTHON" != python3 ]; then
            echo "vssnative: PYTHON=$PYTHON cannot be run" >&2
            exit 1
        fi
        need python3 && need python3-venv && need python3-dev
        return
    fi
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
        echo "vssnative needs Python 3.10 or newer; $PYTHON is $("$PYTHON" -V 2>&1). Name another: make PYTHON=..." >&2
        exit 1
    fi
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null || need python3-venv
    "$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || need python3-dev
}

check_build() {
    check_python
    command -v g++ >/dev/null || need g++
    if command -v g++ >/dev/null; then
        has_header sqlite3ext.h || need libsqlite3-dev
    else
        need libsqlite3-dev
    fi
}

check_test() {
    if ! command -v g++ >/dev/null || ! has_header doctest/doctest.h; then
        need doctest-dev
    fi
    # The tests load vss0 in the shell of the machine's SQLite.
    command -v sqlite3 >/dev/null || need sqlite3
}

check_lint() {
    command -v git >/dev/null || need git
    command -v clang-format >/dev/null || need clang-format
    command -v clang-tidy >/dev/null || need clang-tidy
    command -v run-clang-tidy >/dev/null || need clang-tools
}

check_browser() { command -v chromium >/dev/null || need chromium; }

# libFuzzer and the sanitizers' runtime are a package of their own, which clang only recommends. Where there is no clang yet,
# that of Debian's own version: 14 in Debian 12, 19 in Debian 13.
check_fuzz() {
    command -v clang++ >/dev/null || need clang
    [ -e "$(clang++ -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-x86_64.a" ] ||
        [ -e "$(clang++ -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-$(uname -m).a" ] ||
        need "libclang-rt$(clang++ -dumpversion 2>/dev/null | grep -oE '^[0-9]+' | sed 's/^/-/')-dev"
}

for part in "$@"; do
    "check_$part"
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

command="apt-get install --no-install-recommends ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "vssnative: these are missing (by their names in Debian): ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "vssnative: missing packages. Run this, then try again:" >&2
    echo "    sudo $command" >&2
    exit 1
fi
echo "== Installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# The lists may never have been fetched, or be too old for the archive.
if ! apt-get install -y -q --no-install-recommends "${missing[@]}"; then
    apt-get update -q
    apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
