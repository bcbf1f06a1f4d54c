#!/usr/bin/env bash
# Runs each libFuzzer program for FUZZ_SECONDS (60), starting from its corpus. Inputs that reach new code are collected in
# build/fuzz/corpus/<name>; an input that breaks something is build/fuzz/<name>-crash-... Needs `make dev` first.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/fuzz
export PATH="$PWD/.venv/bin:$PATH"
export UBSAN_OPTIONS=print_stacktrace=1

echo "== Building with the preset fuzz"
cmake --preset fuzz -G Ninja >"build/fuzz.log"
cmake --build "$build"
for source in vendor/sqlite-vss/fuzz/fuzz_*.cpp; do
    name=$(basename "$source" .cpp)
    seeds=vendor/sqlite-vss/fuzz/corpus/${name#fuzz_}
    mkdir -p "$build/corpus/$name"
    echo "== $name"
    "$build/vendor/sqlite-vss/fuzz/$name" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$build/$name-" "$build/corpus/$name" "$seeds"
done
