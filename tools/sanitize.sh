#!/usr/bin/env bash
# Runs the C++ tests and the Python tests with our code compiled for a sanitizer; asan brings the undefined behaviour
# checks along. Needs `make dev` first.
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
# With no tests named all of them; with SANITIZE_PYTHON_ONLY=1 the C++ tests are taken as done, and not built.
targets=(all)
[ -z "${SANITIZE_PYTHON_ONLY:-}" ] || targets=(vss0 _core)
cmake --build "$build" --target "${targets[@]}"

echo "== C++ tests"
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
[ -n "${SANITIZE_PYTHON_ONLY:-}" ] || ctest --test-dir "$build" --output-on-failure

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
    asan) runtimes=(libasan.so libubsan.so) ;;
    ubsan) runtimes=(libubsan.so) ;;
    tsan) runtimes=(libtsan.so) ;;
    *) echo "usage: tools/sanitize.sh asan|ubsan|tsan" >&2 && exit 2 ;;
esac
# Python frees little at exit, so leaks would be its own. The C++ runtime comes with the sanitizer's, before both.
export ASAN_OPTIONS=detect_leaks=0
[ $# -gt 0 ] || set -- tests
preload=""
for runtime in "${runtimes[@]}" libstdc++.so.6; do
    preload+="$(g++ -print-file-name="$runtime") "
done
# A report that ends the process must not end up in pytest's own file for what tests print.
LD_PRELOAD=$preload \
    PYTHONMALLOC=malloc "$build/venv/bin/python" -m pytest -p no:cacheprovider --capture=sys "$@"
