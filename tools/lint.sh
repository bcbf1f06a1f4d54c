#!/usr/bin/env bash
# Every check that reads the code without running it. Needs `make dev` first (tools, and build/dev's compile commands).
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

step() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

tracked() { git ls-files --cached --others --exclude-standard -- "$@"; }

format_cpp() { tracked 'vendor/*.cpp' 'vendor/*.h' 'src/*.cpp' 'src/*.h' 'benchmarks/*.cpp' | xargs clang-format --dry-run -Werror; }

# The sources of build/dev whose folder is ours; NEON kernels are not compiled here. Two at a time.
tidy() {
    tracked 'vendor/sqlite-vss/src/*.cpp' 'src/*.cpp' | grep -vE '_neon(bf16)?\.cpp$' |
        xargs -P 2 -n 4 clang-tidy -p build/dev --quiet --warnings-as-errors='*' 2>build/clang-tidy.log
}

step "ruff check" .venv/bin/ruff check python tests benchmarks tools examples
step "ruff format" .venv/bin/ruff format --check python tests benchmarks tools examples
step "mypy" .venv/bin/mypy
step "imports" .venv/bin/lint-imports
step "includes" .venv/bin/python tools/check_includes.py
step "binary" .venv/bin/python tools/check_binary.py build/dev
step "clang-format" format_cpp
step "clang-tidy" tidy

if [ ${#failed[@]} -gt 0 ]; then
    printf 'lint: failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "lint: all passed"
