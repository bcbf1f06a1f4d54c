#!/usr/bin/env bash
# Runs the C++ tests and the Python tests with our code compiled for a sanitizer. Needs `make dev` first.
#
#   tools/sanitize.sh asan|ubsan|tsan [pytest arguments, default: tests]
set -euo pipefail
cd "$(dirname "$0")/.."

kind=$1
shift
build=build/$kind
site=$PWD/$build/site
export PATH="$PWD/.venv/bin:$PATH"

echo "== Building with the preset $kind"
cmake --preset "$kind" -G Ninja -DPython_EXECUTABLE="$PWD/.venv/bin/python" \
    -Dpybind11_DIR="$(.venv/bin/python -m pybind11 --cmakedir)" >"build/$kind.log"
cmake --build "$build"

echo "== C++ tests"
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
ctest --test-dir "$build" --output-on-failure

# An environment whose vssnative is this build, and whose other packages are those of .venv. Paths in a .pth file are
# added without reading the .pth files that lie there, so the editable vssnative of .venv stays out.
echo "== Python tests"
rm -rf "$site"
cmake --install "$build" --prefix "$site" >/dev/null
cp -r python/vssnative/. "$site/vssnative/"
[ -d "$build/venv" ] || .venv/bin/python -m venv --without-pip "$build/venv"
packages=$("$build/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n%s\n' "$site" "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    >"$packages/vssnative-$kind.pth"

case $kind in
    asan) runtime=libasan.so ;;
    ubsan) runtime=libubsan.so ;;
    tsan) runtime=libtsan.so ;;
    *) echo "usage: tools/sanitize.sh asan|ubsan|tsan" >&2 && exit 2 ;;
esac
# Python frees little at exit, so leaks would be its own. The C++ runtime comes with the sanitizer's, before both.
export ASAN_OPTIONS=detect_leaks=0
[ $# -gt 0 ] || set -- tests
LD_PRELOAD="$(g++ -print-file-name=$runtime) $(g++ -print-file-name=libstdc++.so.6)" \
    PYTHONMALLOC=malloc "$build/venv/bin/python" -m pytest -p no:cacheprovider "$@"
