#!/usr/bin/env bash
# Runs each libFuzzer program for FUZZ_SECONDS (60), starting from its corpus. Inputs that reach new code are collected in
# build/fuzz/corpus/<name>; an input that breaks something is build/fuzz/<name>-crash-... Needs `make dev` first.
#
#   tools/fuzz.sh [target ...]
#   FUZZ_FAISS=1 tools/fuzz.sh fuzz_faiss_image      with Faiss itself under AddressSanitizer, in build/fuzz-faiss
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/fuzz options=()
[ -z "${FUZZ_FAISS:-}" ] || { build=build/fuzz-faiss options=(-DVSSNATIVE_SANITIZE_FAISS=ON -DVSSNATIVE_SYSTEM_FAISS=OFF); }
export PATH="$PWD/.venv/bin:$PATH"
export UBSAN_OPTIONS=print_stacktrace=1

[ $# -gt 0 ] || set -- $(basename -s .cpp -a vendor/sqlite-vss/fuzz/fuzz_*.cpp)
echo "== Building with the preset fuzz"
cmake --preset fuzz -B "$build" -G Ninja "${options[@]}" >"$build.log"
cmake --build "$build" --target "$@"
for name in "$@"; do
    seeds=vendor/sqlite-vss/fuzz/corpus/${name#fuzz_}
    mkdir -p "$build/corpus/$name"
    dictionary=vendor/sqlite-vss/fuzz/${name#fuzz_}.dict
    fuzzing=(-entropic=0) # its bookkeeping takes longer than some executions
    [ ! -f "$dictionary" ] || fuzzing+=("-dict=$dictionary")
    echo "== $name"
    "$build/vendor/sqlite-vss/fuzz/$name" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -print_final_stats=1 \
        "${fuzzing[@]}" -artifact_prefix="$build/$name-" "$build/corpus/$name" "$seeds"
done
